"""What a revision must pass before it is signed: the check and self-test of every bundle, and where OPA is installed
its strict compiler and the tests beside the rules, with coverage.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from gateway.policy.bundle import Bundle, assemble
from gateway.policy.faults import BundleError, EngineUnavailable, Problem
from gateway.policy.git import Revision
from gateway.policy.inspection import Inspected, inspect, self_test
from gateway.policy.pool import EvaluatorPool
from gateway.policy.private_opa import find_opa

TEST_SECONDS: Final = 120.0
COVERAGE_MIN: Final = 100.0
OUTPUT_MAX_BYTES: Final = 16_777_216
_DEADLINE_SECONDS: Final = 2.0
_FAILED_SHOWN: Final = 8
_MESSAGE_MAX: Final = 500
_NETWORK: Final = frozenset({"http.send", "net.lookup_ip_addr", "opa.runtime"})
"""What no test needs: a test is somebody else's program."""


async def prove(bundle: Bundle) -> Inspected:
    """Inspect a bundle and have it deny what is known bad, in processes of its own.

    Raises:
        BundleError: it cannot be used.
        EngineUnavailable: it cannot be tried out on this machine.
    """
    inspected = await inspect(bundle)
    pool = EvaluatorPool(bundle, workers=1, deadline_seconds=_DEADLINE_SECONDS)
    await pool.start()
    try:
        await self_test(pool.evaluate, bundle.digest)
    finally:
        await pool.close()
    return inspected


def opa_checks(revision: Revision, *, coverage_min: float = COVERAGE_MIN) -> dict[str, Any]:
    """Compile strictly and run the tests of a revision. Blocking.

    Returns:
        ``{opa, tests, coverage}``: the version, how many tests passed, the share of lines covered in percent;
        everything ``None`` where no OPA is installed.

    Raises:
        BundleError: the compiler, a test or the coverage says no.
        EngineUnavailable: OPA is there and cannot be run.
    """
    program = find_opa()
    if program is None:
        return {"opa": None, "tests": None, "coverage": None}
    assemble(revision.files)
    with _unpacked(revision) as (directory, capabilities):
        version = _run(program, ["version"]).decode("utf-8", "replace").partition("\n")[0].removeprefix("Version: ")
        limits = [f"--capabilities={capabilities}", "--bundle", str(directory)]
        checked, said = _try(program, ["check", "--strict", "--format=json", *limits])
        if not checked:
            raise BundleError(_strict_errors(said))
        tests = _tests(program, limits)
        covered, missing = _coverage(program, limits)
    if tests == 0 or covered < coverage_min:
        whole = Problem("", 0, 0, f"{tests} tests cover {covered:g} % of the lines, not {coverage_min:g}")
        raise BundleError([whole, *missing[:_FAILED_SHOWN]])
    return {"opa": version, "tests": tests, "coverage": covered}


def _tests(program: Path, limits: list[str]) -> int:
    passed, said = _try(program, ["test", "--format=json", *limits])
    try:
        results = json.loads(said) or []
        failed = [item for item in results if item.get("fail") or item.get("error")]
    except (ValueError, AttributeError, TypeError):
        raise BundleError([Problem("", 0, 0, f"opa test: {_short(said)}")]) from None
    if failed:
        raise BundleError([_failure(item) for item in failed[:_FAILED_SHOWN]])
    if not passed:
        raise BundleError([Problem("", 0, 0, f"opa test: {_short(said)}")])
    return len(results)


def _coverage(program: Path, limits: list[str]) -> tuple[float, list[Problem]]:
    """The share of lines in percent, and each line that no test covers."""
    _, said = _try(program, ["test", "--coverage", "--format=json", *limits])
    try:
        report = json.loads(said)
        missing = {
            (_within(file), int(place["start"]["row"]))
            for file, found in report["files"].items()
            for place in found.get("not_covered") or ()
        }
        covered = float(report["coverage"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BundleError([Problem("", 0, 0, f"opa test --coverage: {_short(said)}")]) from None
    return covered, [Problem(file, line, 1, "no test covers this line") for file, line in sorted(missing)]


def _strict_errors(said: bytes) -> list[Problem]:
    """What ``opa check --format=json`` complains of, each at its place."""
    try:
        return [
            Problem(
                _within(error["location"]["file"]),
                int(error["location"]["row"]),
                int(error["location"]["col"]),
                f"opa check: {_short(str(error['message']).encode())}",
            )
            for error in json.loads(said)["errors"]
        ] or [Problem("", 0, 0, "opa check refuses it and does not say why")]
    except (ValueError, KeyError, TypeError):
        return [Problem("", 0, 0, f"opa check: {_short(said)}")]


def _within(file: str) -> str:
    """The path in the bundle of a file that OPA names."""
    return file.rpartition("/bundle/")[2]


def _failure(item: Mapping[str, Any]) -> Problem:
    location = item.get("location") or {}
    file = _within(str(location.get("file") or ""))
    return Problem(file, int(location.get("row") or 0), 1, f"test failed: {item.get('package')}.{item.get('name')}")


@contextmanager
def _unpacked(revision: Revision) -> Iterator[tuple[Path, Path]]:
    with tempfile.TemporaryDirectory(prefix="handrail-build-") as made:
        root = Path(made) / "bundle"
        for path, raw in {**revision.files, **revision.tests}.items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("xb") as stream:
                stream.write(raw)
        capabilities = Path(made) / "capabilities.json"
        program = find_opa()
        if program is None:
            raise EngineUnavailable("opa went away")
        known = json.loads(_run(program, ["capabilities", "--current"]))
        known["builtins"] = [item for item in known["builtins"] if item["name"] not in _NETWORK]
        known["allow_net"] = []
        capabilities.write_text(json.dumps(known), encoding="utf-8")
        yield root, capabilities


def _run(program: Path, arguments: list[str]) -> bytes:
    good, said = _try(program, arguments)
    if not good:
        raise EngineUnavailable(f"opa {arguments[0]}: {_short(said)}")
    return said


def _try(program: Path, arguments: list[str]) -> tuple[bool, bytes]:
    try:
        done = subprocess.run(
            [program, *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": os.defpath, "HOME": os.devnull},
            cwd="/",
            timeout=TEST_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise BundleError([Problem("", 0, 0, f"opa {arguments[0]} took longer than {TEST_SECONDS:g} s")]) from None
    except OSError as exc:
        raise EngineUnavailable(f"{program}: {exc.strerror}") from None
    return done.returncode == 0, done.stdout[:OUTPUT_MAX_BYTES]


def _short(said: bytes) -> str:
    return " ".join(said.decode("utf-8", "replace").split())[:_MESSAGE_MAX]
