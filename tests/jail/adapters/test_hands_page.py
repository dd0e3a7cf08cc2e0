"""The hands that docs/code-hands.md declares are run as they stand there; only their places are replaced."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from wasmtime import wat2wasm

from gateway.settings.hands import RUNS_CODE
from hand_adapters.process import ProcessAdapter
from hand_adapters.python import PythonAdapter
from hand_adapters.wasm import WasmAdapter
from tests.jail.adapters.modules import ECHO

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGES = [(DOCS / f"{page}.md").read_text(encoding="utf-8") for page in ("hands", "code-hands")]
DECLARED: dict[str, Any] = {}
for block in re.findall(r"```toml\n(.*?)```", "\n".join(PAGES), flags=re.DOTALL):
    DECLARED |= tomllib.loads(block).get("hands", {})
pytestmark = pytest.mark.jail


def test_every_adapter_that_runs_code_is_shown() -> None:
    assert {hand.get("adapter") for hand in DECLARED.values()} >= RUNS_CODE


async def test_the_command_lines(opened: Any, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(repository))
    for words in (
        ("init", "-q"),
        ("commit", "-q", "--allow-empty", "-m", "one"),
        ("commit", "-q", "--allow-empty", "-m", "two"),
    ):
        subprocess.run((*git, *words), check=True)
    declared = {**DECLARED["files"], "binds": [{"source": repository, "target": "/repo"}]}
    _, run = await opened(ProcessAdapter, **declared)
    said = (await run("history", {"count": 1, "author": "a@example", "paths": []})).content[0]["text"]
    assert ("two" in said, "one" in said) == (True, False)
    assert (await run("history", {"count": 9, "author": "nobody", "paths": []})).content == ()
    assert (await run("measure", {"text": "three short words"})).content[0]["text"] == "3 /scratch/text.txt\n"


async def test_the_python_function(opened: Any, tmp_path: Path) -> None:
    (tmp_path / "prices.py").write_text("def quote(symbol: str) -> float:\n    return float(len(symbol))\n")
    declared = {**DECLARED["prices"], "python": {"source": tmp_path / "prices.py"}}
    _, run = await opened(PythonAdapter, **declared)
    assert (await run("quote", {"symbol": "abc"})).structured == 3


async def test_the_module(opened: Any, tmp_path: Path) -> None:
    score = (
        '(func (export "score") (param i32 f64) (result f64) (f64.mul (f64.convert_i32_s (local.get 0)) (local.get 1)))'
    )
    (tmp_path / "text.wasm").write_bytes(wat2wasm(ECHO.rstrip().removesuffix(")") + score + ")"))
    declared = {**DECLARED["text"], "wasm": {**DECLARED["text"]["wasm"], "module": tmp_path / "text.wasm"}}
    _, run = await opened(WasmAdapter, **declared)
    assert (await run("summarise", {"text": "words"})).structured == {"text": "words"}
    assert (await run("score", {"length": 3, "weight": 0.5})).structured == 1.5
