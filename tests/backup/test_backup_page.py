"""docs/backup.md, done as it says and in its order."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway import setup
from gateway.app import build
from gateway.cli.main import app
from gateway.settings import load
from tests.meta.tree import ROOT

PAGE = (ROOT / "docs" / "backup.md").read_text(encoding="utf-8")
COMMANDS = "".join(re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)).splitlines()
(CONFIG,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_page_holds_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {"HANDRAIL_HOME": str(tmp_path / "home"), "COLUMNS": "200"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = load(None)
    setup.run(settings)
    gateway = build(settings)
    gateway.keyset.reload()
    Path("trust.json").write_text(json.dumps(gateway.trust()))
    Path("newest.checkpoint").write_text((gateway.reader.checkpoint() or (0, ""))[1])
    gateway.engine.dispose()
    for directory in ("backups", "keys"):
        Path(directory).mkdir()
    Path("restored.toml").write_text(CONFIG)
    shown = []
    for command in COMMANDS:
        words = shlex.split(command)
        assert words.pop(0) == "handrail"
        result = CliRunner().invoke(app, words, env=environment)
        assert result.exit_code == 0, (command, result.output)
        shown.append(result.output)
    assert len(shown) == 5
    assert "It holds no key" in shown[0]
    assert "keys, epochs, master.key, root.key, gateway-id" in shown[1] or "keys, master.key, root.key" in shown[1]
    assert Path("keys/tuesday").stat().st_mode & 0o777 == 0o700
    assert "whole" in shown[2]
    assert "log.example/handrail-2" in shown[3]
    assert "sound" in shown[4]


def test_what_goes_wrong_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(
            app, ["backup", *words], env={"HANDRAIL_HOME": str(tmp_path / "home"), "COLUMNS": "200"}
        )
        assert "Traceback" not in result.output
        return result.exit_code, result.output

    code, said = run("create", "--out", "b")
    assert (code, "no master key" in said) == (2, True)
    assert not (tmp_path / "home").exists(), "nothing is made where nothing was"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HANDRAIL_HOME", str(tmp_path / "home"))
        setup.run(load(None))
    for keys in ("b", "b/keys"):
        code, said = run("create", "--out", "b", "--keys", keys)
        assert (code, "in one place with the backup" in said) == (2, True)
    code, said = run("create", "--out", "b", "--keys", "unmounted/keys")
    assert (code, "unmounted is no directory" in said) == (2, True)
    assert not (tmp_path / "b").exists(), "what cannot be done whole is not begun"
    assert run("create", "--out", "b")[0] == 0
    code, said = run("create", "--out", "b")
    assert (code, "exists already" in said) == (1, True)
    code, said = run("restore", "b", "--into", "new.db", "--origin", "not a name")
    assert (code, "not the name of a log" in said) == (2, True)
    code, said = run("restore", "nowhere", "--into", "new.db")
    assert (code, "no such directory" in said) == (2, True)
    (tmp_path / "empty").mkdir()
    code, said = run("restore", "empty", "--into", "new.db")
    assert (code, "never finished" in said) == (1, True)
    code, said = run("restore", "b", "--into", "home/handrail.db")
    assert (code, "exists already" in said) == (1, True)
    code, said = run("verify", "b", "--kept", "absent")
    assert code == 2
    for file, text in (("wrong", "hello\n"), ("wrong", "{}"), ("wrong", '{"log": ["no key"]}')):
        (tmp_path / file).write_text(text)
        code, said = run("verify", "b", "--trust", file)
        assert (code, "wrong: not a trust document" in said) == (2, True)
    for command in (("verify", "b"), ("restore", "b", "--into", "new.db")):
        code, said = run(*command, "--kept", "wrong")
        assert (code, "wrong: not a checkpoint" in said) == (2, True)
    for name in ("root.key", "master.key"):
        (tmp_path / "home" / name).rename(tmp_path / name)
        code, said = run("create", "--out", "c")
        assert (code, "there is no" in said) == (2, True)
        (tmp_path / name).rename(tmp_path / "home" / name)
    (tmp_path / "home" / "master.key").chmod(0o644)
    code, said = run("create", "--out", "c")
    assert (code, "master.key" in said) == (2, True)
    (tmp_path / "home" / "master.key").chmod(0o600)
    (tmp_path / "b" / "handrail.db").write_bytes(b"")
    code, said = run("verify", "b")
    assert (code, "not what the manifest says" in said) == (1, True)
    result = json.loads(run("verify", "b", "--json")[1])
    assert result["error"]["code"] == "cli.refused"
