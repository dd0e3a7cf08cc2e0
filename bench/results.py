"""What it costs to look for personal data in a result, in microseconds of a processor.

``python -m bench.results``
"""

import statistics
import time
from collections.abc import Callable, Iterator

from gateway.calls import HandResult
from gateway.manifest import EVERY_KIND
from gateway.personal_data import Scanner

PROSE = "The meeting was moved to Thursday; whoever cannot come tells the others by noon. "
ROWS = "4711;2026-11-26;Mr Doe;jo.doe@mail.example.org;+44 20 7946 0958;EUR 12.50\n"
UMLAUTS = "Größere Änderungen müssen künftig früher angekündigt werden, schließlich hängt vieles davon ab. "
HOSTILE = {"digits": "42 ", "addresses": "a@b.co ", "accounts": "DE00 ", "labels": "tel born ssn "}
ROUNDS = 20


def of_size(text: str, size: int) -> str:
    """``text`` again and again, of ``size`` characters."""
    return (text * (size // len(text) + 1))[:size]


def rows() -> Iterator[tuple[str, int, float, int]]:
    """What is in the result, its characters, the median in microseconds of a processor, and how many were found."""
    scanner = Scanner()
    for size in (1024, 102_400, 1_048_576):
        for name, text in {"prose": PROSE, "German prose": UMLAUTS, "a table of people": ROWS, **HOSTILE}.items():
            result = HandResult(({"type": "text", "text": of_size(text, size)},))
            found = scanner.scan(result, look=(EVERY_KIND,)).found
            cost = median(lambda result=result: scanner.scan(result, look=(EVERY_KIND,)))  # type: ignore[misc]
            yield name, size, cost, sum(found.values())


def median(work: Callable[[], object]) -> float:
    """Of a few rounds."""
    took = []
    for _ in range(ROUNDS):
        started = time.thread_time()
        work()
        took.append(time.thread_time() - started)
    return statistics.median(took) * 1e6


if __name__ == "__main__":
    for name, size, cost, found in rows():
        print(f"{size:>9,} characters  {name:<18} {cost:>11,.0f} us  {found:,} found")
