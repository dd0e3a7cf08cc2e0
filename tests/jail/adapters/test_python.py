"""Functions that misbehave, and what their callers learn."""

import asyncio
import json
import os
import py_compile
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.reasons import Reason
from gateway.settings import HandSettings, SettingsError
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.jail import Jail
from hand_adapters.python import PythonAdapter, interpreter, runner
from tests.hands.hands_support import call
from tests.jail.adapters.support import EXECUTED, NOT_EXECUTED, UNKNOWN, refused, schema
from tests.jail.processes import marked
from tests.until import until

pytestmark = pytest.mark.jail
SOURCE = '''
import os, subprocess, sys
from typing import Annotated, Any, Literal

kept = []

def good(word: str, times: int = 1) -> dict[str, int]:
    """Measures a word."""
    print("noise on standard output")
    subprocess.run(["/bin/echo", "more noise"])
    kept.append(word)
    return {"length": len(word) * times, "calls": len(kept)}

async def later(word: str) -> str:
    return word.upper()

def many(
    a: int | None, b: list[Literal["x", "y"]], c: Annotated[dict[str, float], "m"], d: Any = None
) -> list[bool]:
    return [a is None, b == ["x"], c == {"k": 1.5}]

def read() -> str:
    return sys.stdin.read()

def fails(how: str) -> int:
    if how == "exit":
        sys.exit("secret words")
    if how == "base":
        raise KeyboardInterrupt("secret words")
    if how == "name":
        raise type("Bad name\\n", (Exception,), {})("secret words")
    if how == "unprintable":
        class Unprintable(Exception):
            def __str__(self): raise RuntimeError
        raise Unprintable
    raise ValueError("secret words")

def dies() -> int:
    os._exit(0)

def hangs() -> int:
    (subprocess.Popen(["/usr/bin/sleep", "7200.2468"]))
    while True: pass

def object() -> Any:
    return {1, 2}

def nan() -> float:
    return float("nan")

def large() -> str:
    return "x" * 200_000

def forges(text: str) -> int:
    for number in range(3, 64):
        try: os.write(number, text.encode())
        except OSError: pass
    return 1

def leaves() -> list[str]:
    found = os.listdir("/tmp") + kept
    open("/tmp/mine", "w").close()
    kept.append("mine")
    return found

def told() -> dict[str, Any]:
    return {"environ": dict(os.environ), "argv": sys.argv, "path": sys.path[0]}

def writes() -> str:
    open("/hand/source/evil.py", "w")
    return "written"
'''
NAMES = (
    "good",
    "later",
    "many",
    "read",
    "fails",
    "dies",
    "hangs",
    "object",
    "nan",
    "large",
    "forges",
    "leaves",
    "told",
    "writes",
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A package of two modules."""
    made = tmp_path / "source"
    made.mkdir()
    (made / "__init__.py").write_text("from source.words import *\n")
    (made / "words.py").write_text(SOURCE)
    return made


async def hand(opened: Any, source: Path, **more: Any) -> Any:
    actions = {name: {} for name in NAMES} | more.pop("actions", {})
    return await opened(PythonAdapter, adapter="python", python={"source": source}, actions=actions, **more)


async def test_a_signature_is_the_schema_and_prints_do_not_reach_the_result(opened: Any, source: Path) -> None:
    adapter, run = await hand(opened, source)
    actions = (await adapter.manifest()).actions
    assert adapter.notes == ()
    assert actions["good"].description == "Measures a word."
    assert actions["good"].args_schema == {
        "type": "object",
        "properties": {"word": {"type": "string"}, "times": {"type": "integer"}},
        "required": ["word"],
        "additionalProperties": False,
    }
    assert actions["many"].args_schema["properties"] == {
        "a": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "b": {"type": "array", "items": {"enum": ["x", "y"]}},
        "c": {"type": "object", "additionalProperties": {"type": "number"}},
        "d": {},
    }
    assert actions["many"].result_schema == {"type": "array", "items": {"type": "boolean"}}
    result = await run("good", {"word": "abc", "times": 2})
    assert (result.structured, result.is_error) == ({"length": 6, "calls": 1}, False)
    assert result.content == ({"type": "text", "text": '{"calls":1,"length":6}'},)
    assert (await run("later", {"word": "abc"})).content == ({"type": "text", "text": "ABC"},)
    assert (await run("many", {"a": None, "b": ["x"], "c": {"k": 1.5}})).structured == [True, True, True]
    assert (await run("read")).structured == ""


async def test_what_a_signature_cannot_say_is_left_out_or_declared(opened: Any, tmp_path: Path) -> None:
    file = tmp_path / "loose.py"
    file.write_text("def untyped(a): return a\ndef bare(*words: str): return 1\ndef odd(a: bytes): return 1\n")
    declared = {"untyped": {"args_schema": schema("a", a="string")}, "bare": {}, "odd": {}}
    adapter, run = await opened(PythonAdapter, adapter="python", python={"source": file}, actions=declared)
    assert set((await adapter.manifest()).actions) == {"untyped"}
    assert sorted(note.split()[1] for note in adapter.notes) == ["bare", "odd"]
    assert (await run("untyped", {"a": "x"})).structured == "x"


@pytest.mark.parametrize(("how", "name"), [("exit", "SystemExit"), ("base", "KeyboardInterrupt"), ("", "ValueError")])
async def test_an_exception_is_an_error_by_its_type_and_its_text_stays_inside(
    opened: Any, source: Path, how: str, name: str
) -> None:
    _, run = await hand(opened, source, actions={"worded": {"function": "source:fails", "error_text": True}})
    failed = await run("fails", {"how": how})
    assert (failed.is_error, failed.structured) == (True, {"raised": name})
    assert "secret words" not in json.dumps(failed.document())
    assert "secret words" in json.dumps((await run("worded", {"how": how})).document())
    assert await refused(run("fails", {"how": "name"})) == (Reason.HAND_PROTOCOL, UNKNOWN)
    assert (await run("worded", {"how": "unprintable"})).content[0]["text"] == "Unprintable: "


@pytest.mark.parametrize(("side_effects", "failure"), [("external", UNKNOWN), ("none", EXECUTED)])
async def test_a_function_cut_short_is_ambiguous_unless_it_has_no_side_effects(
    opened: Any, source: Path, side_effects: str, failure: Any
) -> None:
    words = {name: {"side_effects": side_effects} for name in NAMES}
    _, run = await hand(opened, source, actions=words)
    assert await refused(run("dies")) == (Reason.HAND_CRASHED, failure)
    assert await refused(run("large", result_max_bytes=65_536)) == (Reason.HAND_RESULT_TOO_LARGE, failure)
    assert await refused(run("hangs", deadline_seconds=5.0)) == (Reason.HAND_TIMEOUT, failure)
    assert marked("7200.2468") == []


async def test_what_is_no_json_is_an_error(opened: Any, source: Path) -> None:
    _, run = await hand(opened, source)
    assert (await run("object")).structured == {"raised": "TypeError"}
    assert (await run("nan")).structured == {"raised": "ValueError"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Traceback (most recent call last):\n", Reason.HAND_PROTOCOL),
        ('{"value": 1}\n{"value": 2}\n', Reason.HAND_PROTOCOL),
        ('{"value": 1, "value": 2}\n', Reason.HAND_PROTOCOL),
        ('{"value": 1, "raised": "E"}\n', Reason.HAND_PROTOCOL),
        ("[1]\n", Reason.HAND_PROTOCOL),
        ('{"value": NaN}\n', Reason.HAND_PROTOCOL),
    ],
)
async def test_garbage_in_the_place_of_an_answer_is_none(opened: Any, source: Path, text: str, reason: Reason) -> None:
    _, run = await hand(opened, source)
    assert await refused(run("forges", {"text": text})) == (reason, UNKNOWN)


@pytest.mark.parametrize("text", ['{"stale": true}\n', '{"stale": false}\n', '{"sha256": "0"}\n'])
async def test_a_function_that_acted_cannot_claim_that_it_was_never_called(
    opened: Any, source: Path, text: str
) -> None:
    """What it says instead of an answer is garbage, so nobody knows whether it acted, and what is pinned stands."""
    _, run = await hand(opened, source)
    assert await refused(run("forges", {"text": text})) == (Reason.HAND_PROTOCOL, UNKNOWN)
    assert (await run("good", {"word": "a"})).structured == {"length": 1, "calls": 1}


async def test_nothing_is_left_for_the_next_call(opened: Any, source: Path) -> None:
    _, run = await hand(opened, source)
    found = [(await run("leaves", principal_id=who)).structured for who in ("ana", "ana", "bob")]
    assert found[0] == found[1] == found[2]
    assert "mine" not in found[0]


async def test_an_interpreter_is_kept_ready_and_stopped_when_idle(opened: Any, source: Path) -> None:
    adapter, run = await hand(opened, source, idle_seconds=0.2)
    await run("good", {"word": "a"})
    assert adapter._pool._spare is not None
    await until(lambda: adapter._pool._spare is None and not adapter._pool._living)
    await run("good", {"word": "a"})


async def test_close_ends_calls_under_way_and_the_spare_one(opened: Any, source: Path) -> None:
    adapter, run = await hand(opened, source)
    await run("good", {"word": "a"})
    running = asyncio.ensure_future(run("hangs"))
    await until(lambda: marked("7200.2468"))
    await adapter.close()
    assert await refused(running) == (Reason.HAND_CRASHED, UNKNOWN)
    assert marked("7200.2468") == []
    assert (adapter._pool._living, adapter._pool._spare) == (set(), None)
    assert (await run("good", {"word": "a"})).structured == {"length": 1, "calls": 1}


async def test_too_many_at_once_are_refused(opened: Any, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, run = await hand(opened, source)
    monkeypatch.setattr(interpreter, "PROCESSES_MAX", 0)
    assert await refused(run("good", {"word": "a"})) == (Reason.OVERLOADED, NOT_EXECUTED)


async def test_a_source_that_changed_since_it_was_pinned_is_not_run(opened: Any, source: Path) -> None:
    adapter, run = await hand(opened, source)
    await run("good", {"word": "a"})
    pinned = await adapter.manifest()
    (source / "words.py").write_text(SOURCE.replace("len(word)", "666"))
    with pytest.raises(HandDrifted) as drift:
        await run("good", {"word": "a"})
    assert drift.value.offered.digest != pinned.digest
    with pytest.raises(HandDrifted):
        await run("good", {"word": "a"})
    (source / "words.py").write_text(SOURCE)
    with pytest.raises(HandDrifted):
        await run("good", {"word": "a"})
    assert (await adapter.manifest()).digest == pinned.digest
    assert (await run("good", {"word": "a"})).structured == {"length": 1, "calls": 1}


async def test_a_changed_source_cannot_say_that_it_is_the_pinned_one(opened: Any, source: Path) -> None:
    """Its own code says whatever it likes in the place of an answer; by then the digest was taken and told."""
    adapter, run = await hand(opened, source)
    digest = (await adapter.manifest()).actions["good"].annotations["source_sha256"]
    forgery = (
        "import json, os\n"
        f'told = json.dumps({{"sha256": "{digest}", "actions": {{}}}}).encode()\n'
        "for number in range(3, 64):\n"
        "    try: os.write(number, told + b'\\n')\n"
        "    except OSError: pass\n"
    )
    (source / "words.py").write_text(forgery + SOURCE.replace("len(word)", "666"))
    with pytest.raises(HandError) as caught:
        await run("good", {"word": "a"})
    assert caught.value.failure is NOT_EXECUTED


async def test_what_is_imported_late_is_what_the_digest_is_of(
    opened: Any, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that is written between the look at it and an import that a function makes."""
    (source / "late.py").write_text("said = 'pinned'\n")
    (source / "words.py").write_text(
        "import os\n\ndef late() -> list[int]:\n    import source.late\n    return [len(source.late.said)]\n"
    )
    _, run = await opened(PythonAdapter, adapter="python", python={"source": source}, actions={"late": {}})
    assert (await run("late")).structured == [6]
    sources: dict[str, bytes] = {}
    runner.digest(str(source), sources)
    monkeypatch.setattr(runner.Uncached, "sources", sources)
    (source / "late.py").write_text("said = 'exchanged'\n")
    (source / "new.py").write_text("said = 'new'\n")
    code = runner.Uncached("source.late", str(source / "late.py")).get_code("source.late")
    assert "pinned" in code.co_consts
    with pytest.raises(ImportError, match="after the source was read"):
        runner.Uncached("source.new", str(source / "new.py")).get_code("source.new")


async def test_a_planted_cache_is_not_what_runs(opened: Any, source: Path) -> None:
    """Python believes a cached compilation by the time and size of its source."""
    evil = source / "evil.py"
    genuine = source / "words.py"
    evil.write_text(SOURCE.replace("len(word)", "666_666_6"))
    assert evil.stat().st_size == genuine.stat().st_size
    shutil.copystat(genuine, evil)
    planted = source / "__pycache__" / f"words.{sys.implementation.cache_tag}.pyc"
    planted.parent.mkdir()
    py_compile.compile(str(evil), cfile=str(planted))
    evil.unlink()
    _, run = await hand(opened, source)
    assert (await run("good", {"word": "abc"})).structured == {"length": 3, "calls": 1}


@pytest.mark.parametrize("kind", ["link", "directory", "pipe"])
async def test_a_source_is_made_of_plain_files(opened: Any, source: Path, kind: str) -> None:

    if kind == "link":
        (source / "more.py").symlink_to("/etc/passwd")
    elif kind == "directory":
        (source / "more").symlink_to("/usr/lib")
    else:
        os.mkfifo(source / "more.py")
    with pytest.raises(HandError) as caught:
        await hand(opened, source)
    assert (caught.value.reason, caught.value.failure) == (Reason.HAND_CRASHED, NOT_EXECUTED)
    assert "not a plain file" in caught.value.detail


async def test_a_source_that_does_not_import_says_why(opened: Any, source: Path) -> None:
    (source / "__init__.py").write_text("import no_such_module\n")
    with pytest.raises(HandError) as caught:
        await hand(opened, source)
    assert caught.value.reason is Reason.HAND_CRASHED
    assert "No module named 'no_such_module'" in caught.value.detail


async def test_a_function_is_told_nothing_about_who_asks_and_cannot_write_its_source(opened: Any, source: Path) -> None:
    _, run = await hand(opened, source)
    told = (await run("told")).structured
    assert set(told["environ"]) - {"LC_CTYPE", "PWD"} == {
        "HOME",
        "LANG",
        "MALLOC_ARENA_MAX",
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "TZ",
    }
    assert told["argv"] == ["/runner.py"]
    assert "secret-step-credential" not in json.dumps(told)
    assert (await run("writes")).structured == {"raised": "OSError"}


async def test_a_call_that_was_decided_on_another_manifest_is_not_run(opened: Any, source: Path) -> None:
    adapter, _ = await hand(opened, source)
    with pytest.raises(HandDrifted):
        await adapter.run(call("h", "good", {"word": "a"}, "0" * 64))


@pytest.mark.parametrize(
    ("python", "word", "said"),
    [
        ({"source": "/no/such/thing.py"}, {}, "does not exist"),
        ({"source": "/etc/passwd"}, {}, "a file NAME.py"),
        ({"source": "json.py"}, {}, "cannot be the name"),
        ({"source": "two-words.py"}, {}, "cannot be the name"),
        ({"source": "fine.py", "interpreter": "/no/such/python"}, {}, "interpreter"),
        ({"source": "fine.py"}, {"function": "os:system"}, "name a function of fine"),
        ({"source": "fine.py"}, {"args_schema": {"type": "array", "items": []}}, "schema"),
    ],
)
def test_a_python_hand_is_checked_before_it_is_used(
    tmp_path: Path, python: dict[str, str], word: dict[str, Any], said: str
) -> None:
    if not python["source"].startswith("/"):
        python = {**python, "source": str(tmp_path / python["source"])}
        Path(python["source"]).touch()
    with pytest.raises(SettingsError) as caught:
        PythonAdapter.validate("h", HandSettings(adapter="python", python=python, actions={"a": word}))
    assert said in caught.value.detail


def test_the_table_and_the_adapter_go_together(jail: Jail) -> None:
    for given in ({"adapter": "python"}, {"adapter": "mcp", "command": ("x",), "python": {"source": "x.py"}}):
        with pytest.raises(ValueError, match="go together"):
            HandSettings(**given)


async def test_an_interpreter_runs_in_the_narrowest_profile_too(opened: Any, source: Path) -> None:
    adapter, run = await hand(opened, source)
    assert (await run("later", {"word": "a"}, jail_profile="strict")).structured == "A"
    assert adapter._pool._spare is None, "the one that is kept ready has the hand's own profile"
