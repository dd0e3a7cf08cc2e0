"""Where figures are kept: docs/performance.md between its marks, and the machine that they were measured on."""

import datetime as dt
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- measured by make bench -->", "<!-- end -->"
BEGIN_POLICY = "<!-- policies measured by make bench -->"
BEGIN_LOG = "<!-- the log measured by make bench -->"
BEGIN_JAIL = "<!-- jails measured by make bench -->"
BEGIN_CODE = "<!-- hands that run code measured by make bench -->"
BEGIN_RUNS = "<!-- runs measured by make bench -->"
BEGIN_MESSAGES = "<!-- messages measured by make bench -->"
BEGIN_CALLS = "<!-- calls measured by make bench -->"
BEGIN_AGENTS = "<!-- managed agents measured by make bench -->"
RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("starlette", "uvicorn", "uvloop", "httptools", "aiohttp", "sqlalchemy", "cryptography", "joserfc", "orjson")


def machine() -> dict[str, Any]:
    """What the figures depend on beside the code."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, cwd=RESULTS.parent
    ).stdout.strip()
    return {
        "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "processor": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def measured(about: dict[str, Any]) -> str:
    """When and on what, as the page says it."""
    return f"Measured on {about['time'][:10]}: {about['processor']}, {about['cores']} cores, Linux {about['kernel']}."


def write_page(text: str, begin: str) -> None:
    """Put figures between a mark of docs/performance.md and the end mark after it."""
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    _, end, after = rest.partition(END)
    PAGE.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
