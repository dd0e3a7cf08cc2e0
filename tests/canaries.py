"""Planted secrets, and the search for them in everything that a home, a database or an answer holds.

``canaries`` is for any test: it makes values that nothing else holds, and at the end of the test searches the test's
own directory and the log of the process for each of them, in every encoding that an echo comes in. When the last test
is over, what all of them left in their directories is searched for all of the values. Secrets that the code under test
makes by itself are looked for in every run (``tests/planted``).
"""

import base64
import secrets
from collections.abc import Iterable, Iterator
from mmap import mmap
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
from sqlalchemy import Engine, inspect, text

from tests.planted.plugin import search


def forms(value: str) -> set[bytes]:
    """How a value can look in bytes. Written out here again: the search must not rest on what it searches for faults
    in."""
    raw = value.encode()
    found = {raw, raw.hex().encode(), raw.hex().upper().encode(), quote(value, safe="").encode()}
    for before in (b"", b"a", b"ab"):
        encoded = base64.b64encode(before + raw)[4 if before else 0 : -4]
        found |= {encoded, encoded.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def found_in(values: Iterable[str], where: bytes) -> list[str]:
    """The values that ``where`` holds, in whatever encoding."""
    return [value for value in values if any(form in where for form in forms(value))]


def rows_of(engine: Engine) -> bytes:
    """Every value of every table of a database."""
    with engine.connect() as connection:
        names = inspect(connection).get_table_names()
        rows = [row for name in names for row in connection.execute(text(f'SELECT * FROM "{name}"'))]
    return b"\n".join(_bytes(value) for row in rows for value in row)


def files_of(directory: Path) -> bytes:
    """Every file below a directory."""
    return b"\n".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


class Canaries:
    """Values of one test.

    Attributes:
        values: which were planted.
    """

    def __init__(self) -> None:
        self.values: list[str] = []

    def plant(self, kind: str = "plain") -> str:
        """A new value. ``awkward`` ones look different in each encoding."""
        awkward = f'+/ "\\<&%=?{secrets.token_hex(4)}' if kind == "awkward" else ""
        value = f"{PREFIX}{secrets.token_urlsafe(24)}{awkward}"
        self.values.append(value)
        return value

    def must_not_be_in(self, what: str, where: bytes) -> None:
        """Fail where one of the values is in ``where``."""
        assert found_in(self.values, where) == [], f"a planted secret is in {what}"


PREFIX: Final = "canary-"


@pytest.fixture(scope="session")
def every_canary() -> list[str]:
    """The values of all tests; none of them is in what any test left (``tests/planted`` searches it)."""
    planted: list[str] = []
    trail = {form[:8] for form in forms(PREFIX + "xxxxxx")}

    def look(content: bytes | mmap) -> list[str]:
        if all(content.find(form) < 0 for form in trail):
            return []
        return ["a planted secret"] * len(found_in(planted, bytes(content)))

    search.also.append(look)
    return planted


@pytest.fixture
def canaries(every_canary: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Canaries]:
    """Plant values outside of ``tmp_path``; at the end none of them may be in it, or in what the process printed."""
    planted = Canaries()
    yield planted
    every_canary.extend(planted.values)
    printed = capfd.readouterr()
    planted.must_not_be_in("what was printed", (printed.out + printed.err).encode())
    planted.must_not_be_in("the test's directory", files_of(tmp_path))


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
