"""Directories of contexts: what a call leaves its own context finds, nobody else's does, and no link leads out."""

import asyncio
import contextlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.reasons import Reason
from gateway.settings import HandSettings, SettingsError
from hand_adapters.contract import HandError
from hand_adapters.jail import Jail
from hand_adapters.python import PythonAdapter
from hand_adapters.python import workspaces as module
from hand_adapters.python.workspaces import Workspaces
from tests.jail.adapters.support import NOT_EXECUTED
from tests.until import until

pytestmark = pytest.mark.jail
TOOLSET = "agent_toolset_20260401"
ACTIONS: dict[str, Any] = {name: {"side_effects": "none", "error_text": True} for name in ("bash", "read", "write")}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory of the operator's."""
    made = tmp_path / "workspaces"
    made.mkdir()
    return made


@pytest.fixture
async def run(opened: Any, place: Path) -> Callable[..., Any]:
    _, run = await opened(
        PythonAdapter, adapter="python", actions=ACTIONS, python={"toolset": TOOLSET, "workspaces": place}
    )

    async def text(action: str, args: dict[str, Any], **changes: Any) -> str:
        return str((await run(action, args, **changes)).content[0]["text"])

    return text


async def test_a_context_finds_what_it_left_and_nobody_elses(run: Callable[..., Any], place: Path) -> None:
    mine: dict[str, Any] = {"context_id": "ctx-1", "tenant": "acme"}
    await run("write", {"file_path": "a.txt", "content": "mine"}, **mine)
    assert await run("read", {"file_path": "a.txt"}, **mine) == "mine"
    for other in ({"context_id": "ctx-2", "tenant": "acme"}, {"context_id": "ctx-1", "tenant": "globex"}):
        assert "no such file" in await run("read", {"file_path": "a.txt"}, **other)
        assert await run("bash", {"command": f"cat {place}/*/files/a.txt 2>/dev/null; ls -A"}, **other) != "mine"
    assert len(list(place.iterdir())) == 3


async def test_a_link_that_a_session_made_leads_nobody_out(run: Callable[..., Any], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    said = await run("bash", {"command": f"ln -s {secret} out; cat out"})
    assert "of the host" not in said
    assert "No such file" in said
    assert "no such file" in await run("read", {"file_path": "out"})


@pytest.mark.parametrize("spoilt", ["link", "file", "gone"])
async def test_a_place_that_is_none_runs_nothing(
    run: Callable[..., Any], place: Path, tmp_path: Path, spoilt: str
) -> None:
    await run("bash", {"command": "true"})
    [one] = place.iterdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    if spoilt == "gone":
        shutil.rmtree(place)
    else:
        shutil.rmtree(one / "files")
        (one / "files").symlink_to(outside) if spoilt == "link" else (one / "files").touch()
    with pytest.raises(HandError) as refused:
        await run("write", {"file_path": "x", "content": "x"})
    assert (refused.value.reason, refused.value.failure) == (Reason.HAND_UNAVAILABLE, NOT_EXECUTED)
    assert not list(outside.iterdir())


async def removed(workspaces: Workspaces) -> None:
    """Wait for the removal that is under way."""
    assert workspaces._removing is not None
    await workspaces._removing


async def test_what_nobody_used_for_long_is_removed_before_another_is_made(place: Path, jail: Jail) -> None:
    workspaces = Workspaces(place, 1.0, jail)
    old, young = await workspaces.bind("t", "old"), await workspaces.bind("t", "young")
    stranger = place / "kept by the operator"
    stranger.mkdir()
    link = place / ("f" * 32)
    link.symlink_to(stranger, target_is_directory=True)
    (old.source / "deep").mkdir()
    (old.source / "out").symlink_to(stranger)
    for past in (old.source.parent, stranger):
        os.utime(past, (0, 0))
    os.utime(young.source, (0, 0))  # a session sets the time of its own directory as it likes
    assert await workspaces.bind("t", "young") == young
    assert old.source.exists(), "only where another one is made"
    await removed(workspaces)
    new = await workspaces.bind("t", "new")
    assert not old.source.parent.exists()
    await removed(workspaces)
    assert sorted(place.iterdir()) == sorted({young.source.parent, new.source.parent, stranger, link})


async def test_no_call_waits_for_what_is_removed_and_the_next_life_goes_on_with_it(
    place: Path, jail: Jail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One removal at a time, and none of what is no workspace."""
    (place / "old-notes").mkdir()
    begun, go_on, remove = threading.Event(), threading.Event(), module._remove

    def slowly(path: str) -> None:
        assert not begun.is_set()
        begun.set()
        go_on.wait()
        remove(path)

    monkeypatch.setattr(module, "_remove", slowly)
    workspaces = Workspaces(place, 1.0, jail)
    for name in ("a", "b"):
        os.utime((await workspaces.bind("t", name)).source.parent, (0, 0))
    await workspaces.bind("t", "c")
    await asyncio.to_thread(begun.wait)
    assert len(list(place.glob("old-?*-*"))) == 2
    await workspaces.bind("t", "d")
    closing = asyncio.create_task(workspaces.close())
    await until(lambda: workspaces._closed)
    go_on.set()
    await closing
    assert len(list(place.glob("old-?*-*"))) == 1, "as after a crash"
    monkeypatch.setattr(module, "_remove", remove)
    again = Workspaces(place, 1.0, jail)
    await again.bind("t", "c")
    await again.bind("t", "c")
    await until(lambda: not list(place.glob("old-?*-*")))
    await again.close()
    assert (place / "old-notes").exists()


def declared(**python: Any) -> HandSettings:
    return HandSettings(adapter="python", actions=ACTIONS, python=python)  # type: ignore[arg-type]


async def test_what_was_nested_without_end_is_removed_too_and_keeps_nobody_from_working(
    run: Callable[..., Any], place: Path, jail: Jail
) -> None:
    """A session may make directories deeper than any path is long."""
    deep = "for i in range(3000):\n os.mkdir('d' * 9)\n os.chdir('d' * 9)"
    assert "done" in await run("bash", {"command": f"python3 -c \"import os\n{deep}\nprint('done')\""})
    [past] = place.iterdir()
    os.utime(past, (0, 0))
    workspaces = Workspaces(place, 1.0, jail)
    await workspaces.bind("acme", "ctx-2")
    await removed(workspaces)
    assert len(list(place.iterdir())) == 1


def test_what_a_session_may_not_write_any_more_is_removed_by_whoever_is_not_root(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for parent in list(tmp_path.parents)[:-2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            if os.getuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            (tmp_path / "w" / "d" / "e").mkdir(parents=True)
            (tmp_path / "w" / "d" / "e" / "f").write_text("x")
            for shut in ("w/d/e", "w/d", "w"):
                (tmp_path / shut).chmod(0o500 if shut == "w" else 0)
            module._remove(str(tmp_path / "w"))
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("path", [".shell", "./x/../.shell", "/workspace/.shell", "link"])
async def test_nothing_is_planted_for_the_next_command(run: Callable[..., Any], path: str) -> None:
    """A person approves the command that they are shown."""
    await run("bash", {"command": "mkdir -p x; ln -s .shell link"})
    assert "kept for bash" in await run("write", {"file_path": path, "content": "ls() { echo planted; }"})
    assert "planted" not in await run("bash", {"command": "ls"})


@pytest.mark.parametrize("made", ["mkdir -p .shell/deep", "mkfifo .shell", "ln -s fifo .shell; mkfifo fifo"])
async def test_what_a_command_puts_in_the_place_of_its_shell_keeps_nobody_waiting(
    run: Callable[..., Any], made: str
) -> None:
    assert await run("bash", {"command": f"rm -f .shell; {made}; echo made"}) == "made\n"
    assert await run("bash", {"command": "echo goes on"}) == "goes on\n"
    assert await run("bash", {"restart": True}) == "bash session restarted"
    await run("bash", {"command": "export KEPT=kept"})
    assert await run("bash", {"command": "echo $KEPT"}) == "kept\n"


def test_what_is_no_declaration_is_refused_at_the_start(tmp_path: Path) -> None:
    source = tmp_path / "mine.py"
    source.write_text("")
    for wrong in ({}, {"source": source, "toolset": TOOLSET, "workspaces": tmp_path}, {"toolset": TOOLSET}):
        with pytest.raises(ValidationError, match=r"name a source, or a toolset|needs workspaces"):
            declared(**wrong)
    with pytest.raises(ValidationError):
        declared(toolset="another", workspaces=tmp_path)
    with pytest.raises(SettingsError, match="is no directory"):
        PythonAdapter.validate("h", declared(toolset=TOOLSET, workspaces=source))


async def test_the_pin_says_where_and_of_other_hands_it_says_nothing_new(
    opened: Any, place: Path, tmp_path: Path
) -> None:
    source = tmp_path / "mine.py"
    source.write_text("def read(file_path: str) -> str: ...")
    actions = {"read": {"side_effects": "none"}}
    plain, _ = await opened(PythonAdapter, adapter="python", actions=actions, python={"source": source})
    kept, _ = await opened(
        PythonAdapter, adapter="python", actions=actions, python={"source": source, "workspaces": place}
    )
    assert "workspaces" not in (await plain.manifest()).actions["read"].annotations
    assert (await kept.manifest()).actions["read"].annotations["workspaces"] == str(place)
