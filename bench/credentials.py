"""What a step credential costs from end to end: ``python -m bench.credentials [--json] [--calls N]``.

Each call is another one, as in life: minted and proved as the gateway does, then checked by the verifier that a hand
embeds, on one thread. Percentiles over all calls, in microseconds of the thread's processor time: what else the machine
does adds to a clock on the wall and not to this. Uses are kept in memory; one row keeps them in a file, and is by the
clock, as are those of remote hands, with nothing else waiting and with a backlog (``--pending``): see ``bench.claims``.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from handrail.hand import Verifier
from handrail.single_use import FileUses, MemoryUses

from bench import claims
from bench.crypto import OneKey
from gateway.canonical import canonical, sha256_canonical
from gateway.model import Binding
from keys.credentials import mint
from keys.proof import ProofKey

ORIGIN = "handrail.local/log"
URL = "https://crm.example/v1/notes"
ARGS = {"contact": "c-7", "text": "x" * 400}
IN_FILE = "verify, uses in a file"
FILE_CALLS = 200
"""Each of these waits for the disk."""


class Sender:
    """Mints and proves, as a gateway process does for an HTTP hand."""

    def __init__(self) -> None:
        self.signer = OneKey()
        self.key = ProofKey()
        digest = sha256_canonical(ARGS)
        self.binding = Binding("default", "p" * 64, "a", "crm", "add_note", digest, "b" * 64, "c" * 64)

    def jwks(self) -> dict[str, Any]:
        """As the gateway publishes it."""
        return {"keys": [{**self.signer.public.document(), "purpose": "step"}]}

    def mint(self) -> str:
        """One credential."""
        return mint(
            self.signer,
            issuer=ORIGIN,
            binding=self.binding,
            hand="crm",
            action="add_note",
            subject="alice",
            actor="alice-laptop",
            context_id="c" * 32,
            now=time.time(),
            lifetime_seconds=60,
            jkt=self.key.jkt,
        ).token


def percentiles(spent: list[float]) -> dict[str, float]:
    """``{p50, p99, max}`` in microseconds."""
    spent.sort()
    return {
        "p50": round(spent[len(spent) // 2] * 1e6, 1),
        "p99": round(spent[len(spent) * 99 // 100] * 1e6, 1),
        "max": round(spent[-1] * 1e6, 1),
    }


def measure(calls: int) -> dict[str, dict[str, float]]:
    """Part -> percentiles."""
    sender = Sender()
    canonical(ARGS)
    spent: dict[str, list[float]] = {"mint": [], "prove": [], "verify": [], "mint and verify": [], "all three": []}

    def timed(name: str, call: Callable[[], Any], clock: Callable[[], float] = time.thread_time) -> Any:
        began = clock()
        found = call()
        spent[name].append(clock() - began)
        return found

    def once(verifier: Verifier, verify: str, clock: Callable[[], float] = time.thread_time) -> None:
        token = timed("mint", sender.mint)
        proof = timed("prove", lambda: sender.key.prove(token, "POST", URL))
        headers = {"Authorization": f"DPoP {token}", "DPoP": proof}
        timed(verify, lambda: verifier.verify(headers, "add_note", ARGS, method="POST", url=URL), clock)

    in_memory = Verifier(sender.jwks(), issuer=ORIGIN, hand="crm", uses=MemoryUses(calls + 1))
    once(in_memory, "verify")  # loads what is kept
    for times in spent.values():
        times.clear()
    for _ in range(calls):
        once(in_memory, "verify")
        minted, proved, verified = (spent[name][-1] for name in ("mint", "prove", "verify"))
        spent["mint and verify"].append(minted + verified)
        spent["all three"].append(minted + proved + verified)
    with tempfile.TemporaryDirectory(prefix="handrail-bench-") as directory:
        in_file = Verifier(sender.jwks(), issuer=ORIGIN, hand="crm", uses=FileUses(Path(directory) / "used.sqlite"))
        spent[IN_FILE] = []
        for _ in range(min(calls, FILE_CALLS)):
            once(in_file, IN_FILE, time.perf_counter)
    return {name: percentiles(times) for name, times in spent.items()}


def measure_remote(calls: int, pending: int) -> dict[str, dict[str, float]]:
    """The same of looking for work, claiming and returning, without and with a backlog."""
    found = {}
    for waiting in (0, pending):
        with tempfile.TemporaryDirectory(prefix="handrail-bench-") as directory:
            spent = asyncio.run(claims.measure(Path(directory), calls, waiting))
        beside = f", {waiting:,} waiting in plans of {claims.STEPS_PER_PLAN}" if waiting else ""
        found[f"look for work{beside}"] = percentiles(spent.look)
        found[f"claim{beside}"] = percentiles(spent.claim)
        found[f"return{beside}"] = percentiles(spent.give_back)
    return found


def main() -> None:
    """Parse the flags, measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.credentials", description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000, help="how many credentials")
    parser.add_argument("--remote-calls", type=int, default=300, help="how many claims; 0 for none")
    parser.add_argument("--pending", type=int, default=10_000, help="steps that wait beside them")
    parser.add_argument("--json", action="store_true", help="for programs")
    arguments = parser.parse_args()
    found = measure(arguments.calls)
    if arguments.remote_calls:
        found |= measure_remote(arguments.remote_calls, arguments.pending)
    if arguments.json:
        print(json.dumps(found))
        return
    print("| part | p50 us | p99 us | most us |\n|---|---:|---:|---:|")
    for name, row in found.items():
        print(f"| {name} | {row['p50']:,.0f} | {row['p99']:,.0f} | {row['max']:,.0f} |")


if __name__ == "__main__":
    main()
