"""The harness as a program, whose process has no threads and may fork."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def crash(*flags: str) -> tuple[int, dict[str, object]]:
    """Exit status, and what it printed."""
    command = [sys.executable, "-m", "tests.audit.crash", *flags]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'client'}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)
