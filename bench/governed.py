"""A governed step against a bare proxy hop, in one run on one machine.

Three subjects call the same upstream: ``bare`` (bench/hop.py), ``inline`` (a signed one-step plan, answered with its
result and receipt) and ``ten`` (a signed plan of ten independent steps). At each number of connections they take
turns: bare, inline, ten, bare. Where the two bare rounds differ by more than a tenth, the machine was disturbed and
the whole turn is discarded. Afterwards every answer, a sample of receipts and the whole log are checked.
"""

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handrail import Client, Plan, Signer, Trust, VerificationError, verify_receipt

from bench.access import Access, governed_gateway
from bench.load import BenchError
from bench.processes import BODY, bare_hop, upstream
from bench.rounds import Round, Server, http_request, play

DISTURBED = 0.10
"""Two bare rounds around a turn may differ by this part of the faster one."""
RECEIPTS_CHECKED = 50
STEPS = {"inline": 1, "ten": 10}
"""Steps of each plan of a subject."""
ATTEMPTS = 4
"""Turns tried for each one wanted."""
BATCH_MAX = 20_000
"""Requests of one round at most: each is signed beforehand and must still be fresh when it is sent."""

Sign = Callable[[int], list[bytes]]


@dataclass(slots=True)
class Turn:
    """One accepted turn at one number of connections."""

    connections: int
    rounds: dict[str, Round]

    @property
    def bare_rate(self) -> float:
        """Requests per second of the bare hop: the mean of the rounds before and after."""
        return (self.rounds["bare"].requests_per_second + self.rounds["bare_again"].requests_per_second) / 2


@dataclass(slots=True)
class Measurement:
    """Everything one run found."""

    turns: list[Turn] = field(default_factory=list)
    discarded: int = 0
    receipt_ids: list[str] = field(default_factory=list)
    receipts_verified: int = 0
    entries_checked: int = 0
    steps_checked: int = 0


@dataclass(slots=True)
class Bench:
    """The servers of one run and how its requests are made."""

    hop: Server
    gateway: Server
    access: Access
    directory: Path
    seconds: float
    measurement: Measurement

    def bare_requests(self, count: int) -> list[bytes]:
        """Equal GETs; the hop keeps nothing of them."""
        return [http_request("GET", "/item/pear")] * count

    def plan_requests(self, count: int, steps: int) -> list[bytes]:
        """Unique, freshly signed plans of ``steps`` independent steps."""
        headers = (("Authorization", f"Bearer {self.access.agent_token}"), ("Content-Type", "application/jose"))
        return [
            http_request("POST", "/v1/plans?wait=30", headers, signed_plan(self.access.signer, steps).encode("ascii"))
            for _ in range(count)
        ]

    async def turn(self, connections: int, counts: dict[str, int]) -> Turn | None:
        """One turn, or ``None`` where it has to be discarded. Requests are made before the first round and answers are
        checked after the last one, so that the rounds follow each other closely.

        Raises:
            BenchError: an answer is not the one that was asked for.
        """
        order = ("bare", "inline", "ten", "bare_again")
        requests = {subject: self.requests(subject, counts[subject.removesuffix("_again")]) for subject in order}
        played = {subject: await self.round(subject, connections, requests[subject]) for subject in order}
        for subject, (_, answers) in played.items():
            self.check(subject, answers)
        rounds = {subject: figures for subject, (figures, _) in played.items()}
        first, second = (rounds[name].requests_per_second for name in ("bare", "bare_again"))
        if abs(first - second) > DISTURBED * max(first, second):
            return None
        return Turn(connections, rounds)

    def requests(self, subject: str, count: int) -> list[bytes]:
        """What a round of ``subject`` sends."""
        if subject.startswith("bare"):
            return self.bare_requests(count)
        return self.plan_requests(count, STEPS[subject])

    async def round(
        self, subject: str, connections: int, requests: Sequence[bytes]
    ) -> tuple[Round, list[tuple[int, bytes]]]:
        """One round, unchecked."""
        server = self.hop if subject.startswith("bare") else self.gateway
        return await play(server, subject, connections, requests, STEPS.get(subject, 1), self.directory)

    def check(self, subject: str, answers: Sequence[tuple[int, bytes]]) -> None:
        """Judge every answer of a round; raises :class:`BenchError` at the first wrong one."""
        if subject.startswith("bare"):
            wrong = [answer for answer in answers if answer != (200, BODY.encode())]
            if wrong:
                raise BenchError(f"the bare hop answered {wrong[0]!r}")
            return
        for status, body in answers:
            self.measurement.receipt_ids.extend(checked_receipts(status, body, STEPS[subject]))
        self.measurement.steps_checked += len(answers) * STEPS[subject]

    async def calibrate(self, connections: int) -> dict[str, int]:
        """How many requests fill a round of the wanted length, from a short warming round each."""
        counts = {}
        for subject, probe in (("bare", 400), ("inline", 200), ("ten", 40)):
            figures, answers = await self.round(
                subject, connections, self.requests(subject, max(probe, connections * 4))
            )
            self.check(subject, answers)
            wanted = int(figures.requests_per_second * self.seconds)
            counts[subject] = min(BATCH_MAX, max(connections * 8, wanted))
        return counts


def signed_plan(signer: Signer, steps: int) -> str:
    """A compact JWS over a plan of ``steps`` equal, independent reads in a context of its own."""
    plan = Plan()
    for _ in range(steps):
        plan.step("upstream", "item", {"name": "pear"})
    return signer.sign(plan)


def checked_receipts(status: int, body: bytes, steps: int) -> list[str]:
    """The receipt ids of one answer.

    Raises:
        BenchError: the plan is not done, or a step did not succeed, brought another body or has no receipt.
    """
    view = json.loads(body)
    if status != 200 or view.get("status") != "done" or len(view["steps"]) != steps:
        raise BenchError(f"the gateway answered {status}: {body[:1500]!r}")
    for step in view["steps"]:
        if step["status"] != "succeeded" or not step.get("receipt") or not _carries_body(step["result"]):
            raise BenchError(f"a step went wrong: {json.dumps(step)[:1500]}")
    return [step["receipt_id"] for step in view["steps"]]


def _carries_body(result: dict[str, Any]) -> bool:
    structured = result.get("structured")
    expected = json.loads(BODY)
    return structured == expected or (isinstance(structured, dict) and structured.get("body") == expected)


async def measure(
    connections: Sequence[int], turns: int, seconds: float, directory: Path, say: Callable[[str], None]
) -> Measurement:
    """Run everything; raises :class:`BenchError` where the figures could not be trusted."""
    measurement = Measurement()
    with upstream(directory) as upstream_port, bare_hop(directory, upstream_port) as (hop_pid, hop_port):
        async with governed_gateway(directory, upstream_port) as access:
            bench = Bench(
                Server(hop_pid, hop_port), Server(access.pid, access.port), access, directory, seconds, measurement
            )
            for number in connections:
                await _turns(bench, number, turns, say)
            say("checking receipts")
            measurement.receipts_verified = verify_sample(access, measurement.receipt_ids)
        say("checking the log")
        measurement.entries_checked = access.check_log()
    return measurement


async def _turns(bench: Bench, connections: int, turns: int, say: Callable[[str], None]) -> None:
    counts = await bench.calibrate(connections)
    accepted = 0
    for attempt in range(turns * ATTEMPTS):
        say(f"{connections} connections, turn {attempt + 1} ({accepted} of {turns} accepted)")
        turn = await bench.turn(connections, counts)
        if turn is None:
            bench.measurement.discarded += 1
            continue
        bench.measurement.turns.append(turn)
        accepted += 1
        if accepted == turns:
            return
    if not accepted:
        raise BenchError(
            f"at {connections} connections the bare hop's rate kept changing by over a tenth: the machine is not quiet"
        )
    say(f"{connections} connections: the machine is not quiet, only {accepted} of {turns} turns were accepted")


def verify_sample(access: Access, receipt_ids: Sequence[str]) -> int:
    """Fetch an even sample of receipts and verify each offline; returns how many."""
    stride = max(1, len(receipt_ids) // RECEIPTS_CHECKED)
    sample = list(receipt_ids[::stride])[:RECEIPTS_CHECKED]
    with Client(access.url, access.auditor_token) as client:
        trust = Trust.from_document(client.trust())
        for receipt_id in sample:
            try:
                verify_receipt(json.dumps(client.receipt(receipt_id)).encode(), trust)
            except VerificationError as error:
                raise BenchError(f"receipt {receipt_id} does not verify: {error}") from error
    return len(sample)


def summary(measurement: Measurement) -> list[dict[str, Any]]:
    """Per number of connections and subject: medians over the accepted turns, and ratios within each turn."""
    rows = []
    for connections in sorted({turn.connections for turn in measurement.turns}):
        turns = [turn for turn in measurement.turns if turn.connections == connections]
        for subject in ("bare", "inline", "ten"):
            rounds = [turn.rounds[subject] for turn in turns]
            rows.append(
                {
                    "connections": connections,
                    "subject": subject,
                    "turns": len(turns),
                    "requests_per_second": statistics.median(r.requests_per_second for r in rounds),
                    "steps_per_second": statistics.median(r.steps_per_second for r in rounds),
                    "ratio_to_bare": 1.0
                    if subject == "bare"
                    else statistics.median(turn.rounds[subject].steps_per_second / turn.bare_rate for turn in turns),
                    "p50_milliseconds": statistics.median(r.p50_milliseconds for r in rounds),
                    "p99_milliseconds": statistics.median(r.p99_milliseconds for r in rounds),
                    "p50_added_milliseconds": statistics.median(
                        turn.rounds[subject].p50_milliseconds - turn.rounds["bare"].p50_milliseconds for turn in turns
                    ),
                    "cpu_microseconds_per_step": statistics.median(r.cpu_microseconds_per_step for r in rounds),
                    "memory_bytes": max(r.memory_bytes for r in rounds),
                    "resident_bytes": max(r.resident_bytes[0] for r in rounds),
                    "worker_bytes": max((size for r in rounds for size in r.resident_bytes[1:]), default=0),
                    "grown_bytes": max(r.grown_bytes for r in rounds),
                    "requests": max(r.requests for r in rounds),
                }
            )
    return rows


def say_to_terminal(text: str) -> None:
    """One line of progress."""
    sys.stderr.write(f"bench: {text}\n")
