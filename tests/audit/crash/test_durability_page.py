"""The commands of docs/durability.md do what the page says."""

import re
import shlex
import subprocess

import pytest

from tests.audit.crash.process import ROOT, crash

PAGE = (ROOT / "docs" / "durability.md").read_text(encoding="utf-8")
HARNESS = "python -m tests.audit.crash "
SHOWN = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("shown", [line for line in SHOWN if line.startswith(HARNESS)])
def test_a_shown_run_ends_as_the_page_says(compiler, shown):
    flags = shlex.split(shown.removeprefix(HARNESS))
    status, found = crash(*flags)
    unsafe = "--testing-only-unsafe" in flags
    assert (status == 1, bool(found["lost"])) == (unsafe, unsafe)


def test_the_other_commands_exist():
    others = [line for line in SHOWN if not line.startswith(HARNESS)]
    assert others == ["make crash", "python -m pytest tests/audit/faults tests/audit/test_unavailable.py"]
    listed = subprocess.run(["make", "-n", "crash", "CRASHES=1"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert listed.stdout.count("tests.audit.crash") == 3
    assert (ROOT / "tests" / "audit" / "test_unavailable.py").is_file()
