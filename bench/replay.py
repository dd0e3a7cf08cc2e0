"""Recorded decisions replayed by ``handrail policy replay`` against a real gateway, and where the time goes.

``python -m bench.replay [--decisions N] [--json]``. Records are generated: the shipped policies decide them, the log
seals and commits to them. The replay then runs as its users run it (pages over HTTP, one evaluator process a core) and
must find no difference. The parts are measured alone afterwards, in this process: reading and unsealing,
evaluating, comparing.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import structlog

from bench.access import Access, governed_gateway
from bench.load import BenchError
from bench.policy import POLICIES, plan
from bench.processes import HERE
from gateway.app import build
from gateway.commitments import commit
from gateway.entries import EntryDraft, EntryType
from gateway.evaluation import FIELD, Evaluation, parse, record
from gateway.model import Decision, Effect
from gateway.policy.bundle import load
from gateway.policy.judges import judging
from gateway.policy.replay import BATCH_MAX, Judge, ReplayReport
from gateway.ports import Append
from gateway.service import Gateway
from gateway.settings import PolicySettings

CHUNK = 2_000
SUBJECTS = 500
"""Data subjects that the records belong to: each has a key of its own."""
ACTIONS = ("git_status", "git_log", "git_commit", "git_push")
SIDE_EFFECTS = {"git_commit": "reversible", "git_push": "external"}
KINDS = {
    Effect.ALLOW: EntryType.POLICY_ALLOWED,
    Effect.DENY: EntryType.POLICY_DENIED,
    Effect.ASK: EntryType.APPROVAL_REQUESTED,
}


def policy_input(number: int) -> dict[str, Any]:
    """One step: half of them reads, some changes, some inside the root and some not."""
    asked = plan(1)
    action = ACTIONS[number % len(ACTIONS)]
    asked["plan"] = {**asked["plan"], "id": f"{number:064x}", "context_id": f"c{number % SUBJECTS}"}
    asked["steps"][0] |= {
        "action": action,
        "args": {"repo_path": "/repo" if number % 3 else f"/elsewhere/{number}", "message": f"change number {number}"},
    }
    roles = {"/repo_path": "path", "/message": "content"}
    side_effects = SIDE_EFFECTS.get(action, "none")
    asked["hands"]["git"]["actions"] = {action: {"side_effects": side_effects, "idempotent": False, "args": roles}}
    return asked


async def generate(gateway: Gateway, judge: Judge, count: int) -> None:
    """Decide and record ``count`` inputs as the pipeline would."""
    for first in range(0, count, CHUNK):
        inputs = [policy_input(number) for number in range(first, min(first + CHUNK, count))]
        decided = await asyncio.gather(
            *(judge.judge(inputs[at : at + BATCH_MAX]) for at in range(0, len(inputs), BATCH_MAX))
        )
        found = [decisions for batch in decided for decisions in batch]
        await asyncio.gather(*(gateway.log.append(Append([draft(*one)])) for one in zip(inputs, found, strict=True)))


def draft(asked: Mapping[str, Any], decisions: Mapping[str, Decision]) -> EntryDraft:
    """The entry of one decision, with its evaluation."""
    (decision,) = decisions.values()
    subject = f"default/bench/{asked['plan']['context_id']}"
    return EntryDraft(
        KINDS[decision.effect],
        "default",
        context_id=asked["plan"]["context_id"],
        plan_id=asked["plan"]["id"],
        step_id=decision.step_id,
        principal="bench",
        hand="git",
        action=asked["steps"][0]["action"],
        effect=str(decision.effect),
        reasons=tuple(reason.code for reason in decision.reasons),
        policy_digest=decision.policy_digest,
        fields={FIELD: commit(record(asked, decisions), subject)},
    )


def replayed(access: Access, expected: int) -> tuple[float, float]:
    """Seconds of a whole replay by the command, and of the processor in it and its evaluators.

    Raises:
        BenchError: it failed, found a difference, or did not decide every record.
    """
    command = [sys.executable, "-m", "bench.serve", "policy", "replay", "--bundle", str(POLICIES), "--since", "1d",
               "--json", "--url", access.url]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HANDRAIL_")}
    environment["HANDRAIL_API_KEY"] = access.auditor_token
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=environment, cwd=HERE.parent, capture_output=True, text=True, check=False)
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise BenchError(f"the replay ended with {done.returncode}: {done.stdout[-2000:]} {done.stderr[-2000:]}")
    report = json.loads(done.stdout)
    if (report["decisions"], report["unchanged"]) != (expected, expected):
        raise BenchError(f"the replay compared {report['decisions']} of {expected}, {report['unchanged']} unchanged")
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def parts(gateway: Gateway, judge: Judge, workers: int) -> dict[str, float]:
    """Seconds of each part alone over the whole recording."""
    found: dict[str, float] = {}
    values: list[bytes] = []
    after: int | None = None
    began = time.perf_counter()
    while True:
        page = await gateway.log.reads.evaluations("default", since=None, until=None, after=after, limit=1000)
        values += [one.value for one in page.evaluations if one.value is not None]
        if (after := page.next) is None:
            break
    found["read_and_unseal"] = time.perf_counter() - began
    began = time.perf_counter()
    evaluations: list[Evaluation] = [parse(value) for value in values]
    found["parse"] = time.perf_counter() - began
    batches = [evaluations[at : at + BATCH_MAX] for at in range(0, len(evaluations), BATCH_MAX)]
    pending = iter(batches)
    answers: dict[int, Any] = {}

    async def ask() -> None:
        for batch in pending:
            answers[id(batch)] = await judge.judge([one.policy_input for one in batch])

    began = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(workers)))
    found["evaluate"] = time.perf_counter() - began
    report = ReplayReport(judge.digest)
    began = time.perf_counter()
    for batch in batches:
        for evaluation, decisions in zip(batch, answers[id(batch)], strict=True):
            report.add(evaluation, decisions, judge.literals)
    found["compare"] = time.perf_counter() - began
    return found


async def measure(count: int, directory: Path) -> dict[str, Any]:
    """One run."""
    workers = os.cpu_count() or 1
    # Records are made with room to spare: a busy machine must not put time-outs among them.
    limits = PolicySettings(deadline_milliseconds=2000)
    async with (
        judging(load(POLICIES), "embedded", workers=workers, limits=limits) as judge,
        governed_gateway(directory, 9) as access,
    ):
        gateway = build(access.settings)
        await gateway.prepare()
        try:
            began = time.perf_counter()
            await generate(gateway, judge, count)
            generated = time.perf_counter() - began
            took, processor = await asyncio.to_thread(replayed, access, count)
            alone = await parts(gateway, judge, workers)
        finally:
            await gateway.close()
    return {
        "decisions": count,
        "cores": workers,
        "input_bytes": len(orjson.dumps(policy_input(0))),
        "generated_seconds": round(generated, 1),
        "replay_seconds": round(took, 1),
        "decisions_per_second": round(count / took),
        "processor_microseconds_per_decision": round(processor / count * 1e6, 1),
        "alone_microseconds_per_decision": {name: round(part / count * 1e6, 1) for name, part in alone.items()},
    }


def main() -> None:
    """Generate, replay, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    with tempfile.TemporaryDirectory(prefix="handrail-replay-") as directory:
        found = asyncio.run(measure(chosen.decisions, Path(directory)))
    if chosen.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{found['decisions']:,} decisions replayed in {found['replay_seconds']} s on {found['cores']} cores")
    print(f"  {found['processor_microseconds_per_decision']:.1f} us of the processor a decision, without the gateway")
    for name, microseconds in found["alone_microseconds_per_decision"].items():
        print(f"  {name:16} {microseconds:8.1f} us a decision, alone")


if __name__ == "__main__":
    main()
