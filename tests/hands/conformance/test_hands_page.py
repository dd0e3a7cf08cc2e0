"""What docs/adapters.md says of the check is run as it stands there: the adapter, its test, and the commands."""

import re
import shlex
import sys
import tomllib
import types
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli.exits import Exit
from gateway.cli.main import app
from gateway.settings import JailSettings
from hand_adapters.conformance import Promise
from hand_adapters.contract import HandAdapter
from hand_adapters.jail import Jail
from tests import services
from tests.meta.tree import ROOT

PAGE = (ROOT / "docs" / "adapters.md").read_text(encoding="utf-8")
CODE = (ROOT / "docs" / "code-hands.md").read_text(encoding="utf-8")
[CHECK] = re.findall(r"^## Check what a hand promises$.*?(?=^## )", PAGE, re.DOTALL | re.MULTILINE)
[WRITE] = re.findall(r"^### Write an adapter$.*", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = re.findall(r"^(?:\$ )?handrail (.*)$", CHECK, re.MULTILINE)


async def test_the_adapter_and_its_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written, tested = re.findall(r"```python\n(.*?)```", WRITE, re.DOTALL)
    assert len([line for line in written.splitlines() if line.strip()]) <= 30, "thirty lines, as it says"
    module: Any = types.ModuleType("acme_hands")
    monkeypatch.setitem(sys.modules, "acme_hands", module)
    exec(compile(written, "acme_hands.py", "exec"), module.__dict__)
    exec(compile(tested, "test_acme_hands.py", "exec"), module.__dict__)
    await module.test_the_shelf_keeps_its_promises(tmp_path)
    [said] = re.findall(r"```toml\n(.*?)```", WRITE, re.DOTALL)
    points = tomllib.loads(said)["project"]["entry-points"]["handrail.adapters"]
    kind: type[HandAdapter] = EntryPoint("shelf", points["shelf"], "handrail.adapters").load()
    assert kind is module.Shelf


@pytest.mark.jail
def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problems = Jail(JailSettings(), tmp_path).missing()
    services.require(not problems, "a working jail", " ".join(problems) or "-")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prices.py").write_text("def quote(symbol: str) -> float:\n    return float(len(symbol))\n")
    declared = next(block for block in re.findall(r"```toml\n(.*?)```", CODE, re.DOTALL) if "[hands.prices]" in block)
    declared = declared.replace("/srv/tools/prices.py", str(tmp_path / "prices.py"))
    declared = re.sub(r', interpreter = "[^"]+"', "", declared)
    for name in ("handrail.toml", "hands.toml"):
        (tmp_path / name).write_text(declared)
    assert len(COMMANDS) == 4
    for line in COMMANDS:
        words = shlex.split(re.sub(r"--examples \d+", "", line))
        done = CliRunner().invoke(app, [*words, "--examples", "3"] if words[0] == "hands" else words)
        assert done.exit_code == 0, (line, done.output)
    assert 'name="manifest_digest"' in (tmp_path / "hands.xml").read_text()


def test_the_tables_have_every_promise_and_every_exit_code() -> None:
    rows = re.findall(r"^\| (`\w+`|\d) \|", CHECK, re.MULTILINE)
    assert rows == [*(f"`{promise}`" for promise in Promise), *(str(int(code)) for code in Exit)]
