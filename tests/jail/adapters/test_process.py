"""Programs that misbehave, and what their callers learn."""

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.reasons import Reason
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.process import ProcessAdapter
from tests.jail.adapters.support import EXECUTED, NOT_EXECUTED, UNKNOWN, refused, schema
from tests.jail.processes import marked
from tests.until import until

pytestmark = pytest.mark.jail
SH = ("/bin/sh", "-c")


def action(*argv: Any, args: dict[str, Any] | None = None, **word: Any) -> dict[str, Any]:
    return {"argv": argv, "args_schema": args or schema(), **word}


async def one(opened: Any, *argv: Any, hand: dict[str, Any] | None = None, **word: Any) -> Any:
    """``run(args, **changes)`` of a hand with the one action ``it``."""
    _, run = await opened(ProcessAdapter, adapter="process", actions={"it": action(*argv, **word)}, **(hand or {}))

    async def it(args: dict[str, Any] | None = None, **changes: Any) -> Any:
        return await run("it", args, **changes)

    return it


async def test_arguments_arrive_as_they_were_approved(opened: Any) -> None:
    run = await one(
        opened, "printf", "%s|", "--", "{v}", args=schema("v", v={"type": "array", "items": {"type": "string"}})
    )
    said = (await run({"v": ["$(id)", "a b", "é", "-x", "{v}"]})).content[0]["text"]
    assert said == "--|$(id)|a b|é|-x|{v}|"


TEXT, VALUE = "plain é\0\n", {"b": 1, "a": [None]}


@pytest.mark.parametrize(("value", "read"), [(TEXT, TEXT.encode()), (VALUE, b'{"a":[null],"b":1}')])
async def test_one_argument_is_the_standard_input(opened: Any, value: Any, read: bytes) -> None:
    run = await one(opened, "cat", args=schema("v", v={}), stdin="v", stdout="bytes")
    assert base64.b64decode((await run({"v": value})).content[0]["resource"]["blob"]) == read


async def test_output_is_what_was_declared_or_a_failure(opened: Any) -> None:
    number = await one(opened, "printf", '{{"n": 1}}', stdout="json")
    assert (await number()).structured == {"n": 1}
    for text in ('{"n": 1} {"n": 2}', '{"n": 1, "n": 2}', "NaN", "", "Traceback (most recent call last):"):
        broken = await one(opened, "printf", "%s", text.replace("{", "{{").replace("}", "}}"), stdout="json")
        assert await refused(broken()) == (Reason.HAND_PROTOCOL, EXECUTED)
    latin = await one(opened, "printf", r"\351")
    assert await refused(latin()) == (Reason.HAND_PROTOCOL, EXECUTED)
    raw = await one(opened, "printf", r"\351", stdout="bytes")
    assert (await raw()).content[0]["resource"]["blob"] == "6Q=="


async def test_an_undeclared_exit_status_is_an_error_and_its_last_words_are_marked(opened: Any) -> None:
    run = await one(
        opened,
        *SH,
        'echo out; echo words >&2; exit "$1"',
        "sh",
        "{n}",
        args=schema("n", n="integer"),
        ok_statuses=(0, 3),
    )
    fine = await run({"n": 3})
    assert (fine.is_error, fine.structured) == (False, None)
    assert fine.content[1] == {"type": "text", "text": "words\n", "_meta": {"stream": "stderr"}}
    for status in (1, 126, 128, 193, 255):
        failed = await run({"n": status})
        assert (failed.is_error, failed.structured) == (True, {"status": status})


@pytest.mark.parametrize("target", ["/proc/1", "/dev", "/"])
async def test_a_bind_that_no_jail_is_given_is_said_before_anything_is_pinned(
    opened: Any, tmp_path: Path, target: str
) -> None:
    hand = {"binds": [{"source": str(tmp_path), "target": target}]}
    with pytest.raises(HandError, match="bind target") as caught:
        await one(opened, *SH, "true", hand=hand)
    assert (caught.value.reason, caught.value.failure) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)


async def test_the_note_of_errors_is_short_and_a_flood_of_errors_ends_nobody(opened: Any) -> None:
    run = await one(opened, *SH, "head -c 3000000 /dev/zero | tr '\\0' x >&2; printf '\\033end' >&2; echo fine")
    result = await run()
    assert result.content[0]["text"] == "fine\n"
    assert len(result.content[1]["text"]) == 4096
    assert result.content[1]["text"].endswith("end")


@pytest.mark.parametrize(("side_effects", "failure"), [("external", UNKNOWN), ("none", EXECUTED)])
async def test_a_run_cut_short_is_ambiguous_unless_it_has_no_side_effects(
    opened: Any, side_effects: str, failure: Any
) -> None:
    endless = await one(opened, "yes", side_effects=side_effects)
    assert await refused(endless()) == (Reason.HAND_RESULT_TOO_LARGE, failure)
    hangs = await one(opened, "cat", "/dev/zero", side_effects=side_effects)
    assert await refused(hangs(result_max_bytes=64)) == (Reason.HAND_RESULT_TOO_LARGE, failure)
    sleeps = await one(opened, "sleep", "1000", side_effects=side_effects)
    assert await refused(sleeps(deadline_seconds=0.3)) == (Reason.HAND_TIMEOUT, failure)
    crash = "import ctypes; ctypes.string_at(0)"
    killed = await one(opened, "/usr/bin/python3", "-c", crash, side_effects=side_effects)
    assert await refused(killed()) == (Reason.HAND_CRASHED, failure)


async def test_a_program_that_is_not_there_did_not_act(opened: Any) -> None:
    run = await one(opened, "/usr/bin/no-such-program")
    assert await refused(run()) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)


async def test_nothing_outlives_the_deadline_or_the_caller(opened: Any) -> None:
    daemon = "(setsid sh -c 'exec sleep {marker}' &) ; exec sleep 1000"
    marker = "7100.1357"
    run = await one(opened, *SH, daemon.replace("{marker}", marker).replace("{", "{{").replace("}", "}}"))
    assert await refused(run(deadline_seconds=1.0)) == (Reason.HAND_TIMEOUT, UNKNOWN)
    assert marked(marker) == []
    running = asyncio.ensure_future(run())
    await until(lambda: marked(marker))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await until(lambda: not marked(marker))


async def test_files_go_in_and_come_out(opened: Any) -> None:
    run = await one(
        opened,
        *SH,
        "tr a-z A-Z < {source} > {result}; printf '\\351' > {raw}; ls -a > listing",
        args=schema("source", source="string"),
        input_files={"source": "in.txt"},
        output_files={
            "result": {"name": "out.txt"},
            "raw": {"name": "raw.bin", "content": "bytes"},
            "listing": {"name": "listing", "required": False},
            "absent": {"name": "absent", "required": False},
        },
    )
    found = {block["resource"]["uri"]: block["resource"] for block in (await run({"source": "words"})).content}
    assert found["urn:handrail:result"]["text"] == "WORDS"
    assert found["urn:handrail:raw"]["blob"] == "6Q=="
    assert found["urn:handrail:listing"]["text"].split() == [".", "..", "in.txt", "listing", "out.txt", "raw.bin"]
    assert "urn:handrail:absent" not in found


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("ln -s /etc/passwd {f}", Reason.HAND_PROTOCOL),
        ("ln -s out2 {f}; echo x > out2", Reason.HAND_PROTOCOL),
        ("mkfifo {f}", Reason.HAND_PROTOCOL),
        ("mkdir {f}", Reason.HAND_PROTOCOL),
        ("true {f}", Reason.HAND_PROTOCOL),
        ("printf '\\351' > {f}", Reason.HAND_PROTOCOL),
        ("truncate -s 200M {f}", Reason.HAND_RESULT_TOO_LARGE),
        ("head -c 100000 /dev/zero > {f}", Reason.HAND_RESULT_TOO_LARGE),
    ],
)
async def test_an_output_file_that_is_none_or_too_large_is_not_taken(opened: Any, code: str, reason: Reason) -> None:
    run = await one(opened, *SH, code, output_files={"f": {"name": "out"}})
    assert await refused(run()) == (reason, EXECUTED)


async def test_the_scratch_directory_has_a_size_and_belongs_to_one_call(opened: Any) -> None:
    code = "head -c 3000000 /dev/zero > big; rm big; ls > {f}"
    run = await one(opened, *SH, code, output_files={"f": {"name": "f"}}, hand={"scratch_max_bytes": 1_048_576})
    first = await run()
    assert first.content[1]["_meta"] == {"stream": "stderr"}
    assert "No space" in first.content[1]["text"]
    names = await one(opened, *SH, "ls > {f}", output_files={"f": {"name": "f"}})
    assert (await names()).content[0]["resource"]["text"] == "f\n"
    many = await one(
        opened,
        *SH,
        "i=0; while [ $i -lt 2000 ]; do : > f$i || exit 9; i=$((i+1)); done",
        output_files={"f": {"name": "f1"}},
    )
    assert (await many()).structured == {"status": 2}


async def test_an_input_that_does_not_fit_the_scratch_directory_runs_nothing(opened: Any) -> None:
    run = await one(
        opened,
        "cat",
        "--",
        "{v}",
        args=schema("v", v="string"),
        input_files={"v": "v"},
        hand={"scratch_max_bytes": 4096},
    )
    assert await refused(run({"v": "x" * 20_000})) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)


async def test_a_script_that_changed_since_it_was_pinned_is_not_run(opened: Any, tmp_path: Path) -> None:
    script = tmp_path / "tool"
    script.write_text("#!/bin/sh\necho one\n")
    script.chmod(0o755)
    binds = ({"source": script, "target": "/opt/tool"},)
    run = await one(opened, "/opt/tool", hand={"binds": binds})
    assert (await run()).content[0]["text"] == "one\n"
    script.write_text("#!/bin/sh\necho two\n")
    with pytest.raises(HandDrifted):
        await run()


async def test_the_program_that_is_pinned_is_the_one_that_the_jail_sees(opened: Any, tmp_path: Path) -> None:
    """Of binds within each other the deeper one counts, in whichever order they stand."""
    outer, inner = tmp_path / "outer", tmp_path / "inner"
    for directory, word in ((outer / "bin", "hidden"), (inner, "seen")):
        directory.mkdir(parents=True)
        (directory / "tool").write_text(f"#!/bin/sh\necho {word}\n")
        (directory / "tool").chmod(0o755)
    binds = ({"source": outer, "target": "/opt"}, {"source": inner, "target": "/opt/bin"})
    run = await one(opened, "/opt/bin/tool", hand={"binds": binds})
    assert (await run()).content[0]["text"] == "seen\n"
    (inner / "tool").write_text("#!/bin/sh\necho changed\n")
    with pytest.raises(HandDrifted):
        await run()


async def test_a_bare_name_is_pinned_where_the_jail_finds_it(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the gateway's interpreter first: a name of the system is no word for what lies there."""
    beside = tmp_path / "bin"
    beside.mkdir()
    (beside / "python").symlink_to(sys.executable)
    (beside / "uname").write_text("#!/bin/sh\necho ours\n")
    (beside / "uname").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(beside / "python"))
    run = await one(opened, "uname")
    assert (await run()).content[0]["text"] == "ours\n"
    (beside / "uname").write_text("#!/bin/sh\necho changed\n")
    with pytest.raises(HandDrifted):
        await run()


async def test_a_program_is_told_nothing_about_who_asks(opened: Any) -> None:
    run = await one(
        opened, "/usr/bin/python3", "-c", "import os, json; print(json.dumps({{**os.environ}}))", stdout="json"
    )
    told = (await run()).structured
    assert set(told) - {"LC_CTYPE", "PWD"} == {
        "HOME",
        "LANG",
        "MALLOC_ARENA_MAX",
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "TZ",
    }
    assert "secret-step-credential" not in json.dumps(told)


async def test_two_calls_share_nothing(opened: Any) -> None:
    run = await one(opened, *SH, "ls -A /tmp /dev/shm; echo mine > /tmp/mine; echo mine > /dev/shm/mine")
    first, second = await run(), await run(principal_id="bob")
    assert first.content == second.content
    assert "mine" not in second.content[0]["text"]


async def test_policy_can_ask_for_a_narrower_profile(opened: Any) -> None:
    code = "import socket\ntry:\n socket.socket(socket.AF_UNIX)\n print('open')\nexcept PermissionError: print('held')"
    run = await one(opened, "/usr/bin/python3", "-I", "-S", "-c", code)
    assert (await run()).content[0]["text"] == "open\n"
    assert (await run(jail_profile="strict")).content[0]["text"] == "held\n"


async def test_a_script_that_the_command_line_names_is_pinned_like_a_program(opened: Any, tmp_path: Path) -> None:
    """An interpreter is the system's, and hashes of it say nothing of what it is told to run."""
    tools, data = tmp_path / "tools", tmp_path / "data"
    for directory in (tools, data):
        directory.mkdir()
        directory.chmod(0o777)
    (tools / "say.sh").write_text('echo "said $(cat "${1#--rules=}")"\n')
    (tools / "rules").write_text("a")
    (data / "state").write_text("1")
    binds = (
        {"source": tools, "target": "/tools"},
        {"source": data, "target": "/data", "writable": True},
    )
    argv = ("sh", "/tools/say.sh", "--rules=/tools/rules", "/data/state", "/tools/later", "/tools", "/etc/passwd")
    hand, run = await opened(ProcessAdapter, adapter="process", binds=binds, actions={"it": action(*argv)})
    offered = (await hand.manifest()).actions["it"]
    assert set(offered.annotations["files_sha256"]) == {"/tools/say.sh", "/tools/rules"}
    assert (await run("it")).content[0]["text"] == "said a\n"
    (data / "state").write_text("2")
    assert (await run("it")).content[0]["text"] == "said a\n", "what the program may write is not pinned"
    for name, content in (("say.sh", "echo evil\n"), ("rules", "b"), ("later", "")):
        before = (tools / name).read_bytes() if name != "later" else None
        (tools / name).write_text(content)
        with pytest.raises(HandDrifted):
            await run("it")
        if before is None:
            (tools / name).unlink()
        else:
            (tools / name).write_bytes(before)
        assert (await run("it")).content[0]["text"] == "said a\n"
