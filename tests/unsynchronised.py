"""A test run whose processes do not wait for the disk, but for those of the tests that are about durability.

Where pytest has workers (``-n``), ``unsynchronised.c`` is loaded into them and, by the environment, into the programs
that they start. A test with the marker ``durable`` synchronises as a user's gateway does, and so does what it starts.
"""

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

_SOURCE: Final = Path(__file__).with_suffix(".c")
_VARIABLE: Final = "LD_PRELOAD"


def environment() -> Mapping[str, str]:
    """What a program needs that is started with an environment of its own."""
    loaded = os.environ.get(_VARIABLE) if _loaded() is not None else None
    return {} if loaded is None else {_VARIABLE: loaded}


def _loaded() -> ctypes.c_int | None:
    """The switch of the library, where it is loaded into this process."""
    try:
        return ctypes.c_int.in_dll(ctypes.CDLL(None), "synchronise")
    except ValueError:
        return None


def pytest_configure(config: pytest.Config) -> None:
    """Before workers start: have them load the library."""
    compiler = shutil.which("cc")
    if compiler is None or not config.getoption("numprocesses", None) or _VARIABLE in os.environ:
        return
    directory = Path(tempfile.mkdtemp(prefix="unsynchronised"))
    directory.chmod(0o755)  # PostgreSQL runs as another user
    library = directory / "unsynchronised.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", library, _SOURCE], check=True)
    os.environ[_VARIABLE] = str(library)
    config.add_cleanup(lambda: _forget(directory))


def _forget(directory: Path) -> None:
    del os.environ[_VARIABLE]
    shutil.rmtree(directory)


@pytest.fixture(autouse=True)
def _durable(request: pytest.FixtureRequest) -> Iterator[None]:
    """Real synchronisation for a test with the marker. It leaves the test's own ``monkeypatch`` alone: asked for here,
    that would be undone after the fixtures of the test, and not before.
    """
    switch = _loaded()
    if switch is None or request.node.get_closest_marker("durable") is None:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(_VARIABLE, raising=False)
        switch.value = 1
        yield
        switch.value = 0
