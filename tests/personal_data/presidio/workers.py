"""Workers that are no Presidio: they speak its lines, and misbehave."""

import stat
import sys
from pathlib import Path

READY = """print('{"ready": true}', flush=True)"""
ANSWERING = READY + "\nfor line in sys.stdin: print("
ANSWERS = ANSWERING + "json.dumps("


def worker(directory: Path, code: str) -> Path:
    """An interpreter that runs ``code`` whatever it is given to run."""
    path = directory / "python"
    path.write_text(f"#!{sys.executable} -I\nimport json, sys, time\n{code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path
