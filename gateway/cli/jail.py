"""``handrail jail``: run a program in the jail that hands run in, to see what it can and cannot do."""

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.cli.command import command, noun
from gateway.cli.exits import Code, Exit, Stop
from gateway.cli.jailing import jailing
from gateway.cli.options import Config
from gateway.cli.output import Output
from gateway.cli.saving import Force, refuse_existing
from gateway.safe import safe
from gateway.settings import Settings, load
from hand_adapters import jailed
from hand_adapters.jail import Completed, JailError, JailSpec, landlock_exec
from hand_adapters.jail.landlock_exec import BUILT, CompilerError

app = noun("jail")
_JAILED: Final = frozenset({"process", "python", "wasm", "mcp"})
STDIN_MAX_BYTES: Final = 16 * 2**20


@command(
    app,
    context_settings={"ignore_unknown_options": True},
    example="jail run --profile strict -- id",
    good="it ended well",
    negative="it failed, or was killed",
)
def run(
    out: Output,
    cmd: Annotated[list[str], typer.Argument(metavar="-- CMD", help="Program and arguments.", show_default=False)],
    profile: Annotated[str | None, typer.Option(help="Jail profile. Default: the hand's, or default.")] = None,
    hand: Annotated[
        str | None, typer.Option(help="Show it what the jail of this hand shows: its binds and its environment.")
    ] = None,
    deadline: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds until everything is killed.")] = 60.0,
    config: Config = None,
) -> Exit:
    """Run a program in a jail: no network, no files but its own, an empty environment.

    With --hand it is the jail of a hand of the configuration, without secrets and without a way out.

    What comes through a pipe or a file is read to its end before the program starts, and is its standard input.
    """
    if cmd[0].startswith("-"):
        raise Stop(f"{cmd[0]}: no such option", "Options stand before --, the program after it: see --help.")
    settings = load(config)
    stdin = b"" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer.read(STDIN_MAX_BYTES + 1)
    if len(stdin) > STDIN_MAX_BYTES:
        raise Stop(f"standard input has more than {STDIN_MAX_BYTES // 2**20} MiB", "Cut it: | head -c 16M")
    spec = _spec(settings, hand, tuple(cmd))
    if profile is not None:
        spec = replace(spec, profile=profile)
    completed = asyncio.run(_run(settings, replace(spec, deadline_seconds=deadline), stdin))
    document = {
        "returncode": completed.returncode,
        "stdout": completed.stdout.decode("utf-8", "backslashreplace"),
        "stderr": completed.stderr.decode("utf-8", "backslashreplace"),
        "timed_out": completed.timed_out,
        "truncated": completed.truncated,
    }
    out.show(document, lambda: _show(out, completed))
    return Exit.GOOD if completed.returncode == 0 and not completed.timed_out else Exit.NEGATIVE


@command(app, example="jail build", good="it is there; 'handrail doctor' tries it")
def build(
    out: Output,
    output: Annotated[
        Path,
        typer.Option(help="Another place for it, named by [jail] landlock_exec.", show_default="its own"),
    ] = BUILT,
    compiler: Annotated[str, typer.Option(help="C compiler.")] = "cc",
    force: Force = False,
) -> Exit:
    """Compile the program that applies Landlock's rules about files in jails.

    What an earlier build made is replaced, and whatever stands at its own place; any other file only with --force.
    """
    target = output.absolute()
    if target.is_dir():
        raise Stop(f"{target} is a directory", "Name a file: --output FILE", code=Code.FILE)
    if target != BUILT and not landlock_exec.was_built(target):
        refuse_existing(target, force=force)
    try:
        built = landlock_exec.build(target, compiler)
    except CompilerError as exc:
        raise Stop(exc.detail, "Install a C compiler (apt-get install gcc), or name another: --compiler CC") from None
    except JailError as exc:
        hint = "Name a file in a directory that is there, where you may write: --output FILE"
        raise Stop(exc.detail, hint, code=Code.FILE) from None
    document = {"path": str(built.path), "sha256": built.sha256}
    out.show(document, lambda: out.facts(document.items()))
    return Exit.GOOD


def _spec(settings: Settings, hand: str | None, cmd: tuple[str, ...]) -> JailSpec:
    if hand is None:
        return JailSpec(cmd)
    declared = settings.hands.get(hand)
    if declared is None:
        there = ", ".join(sorted(settings.hands)) or "none"
        raise Stop(f"{hand}: the configuration declares no such hand", f"There are: {there}.")
    if declared.adapter not in _JAILED or declared.url is not None:
        raise Stop(f"{hand} runs in no jail here", "Name a hand whose program the gateway starts.")
    return JailSpec(cmd, declared.jail_profile, binds=jailed.binds(declared), env=jailed.environment(declared))


async def _run(settings: Settings, spec: JailSpec, stdin: bytes) -> Completed:
    async with jailing(settings) as jail:
        return await jail.run(spec, stdin)


def _show(out: Output, completed: Completed) -> None:
    """Pass bytes through to a pipe or a file; spell out control characters for a terminal."""
    try:
        _pass_through(completed)
    except BrokenPipeError:
        raise
    except OSError as exc:
        with Path(os.devnull).open("wb") as nowhere:  # what is left in the buffer has to go somewhere
            os.dup2(nowhere.fileno(), 1)
        raise Stop(f"what it wrote cannot be written: {exc.strerror}", "Check where it goes.", code=Code.FILE) from None
    if completed.timed_out:
        out.note("The deadline killed it.", "yellow")
    elif completed.truncated:
        out.note("It wrote more than the cap and was killed.", "yellow")
    elif completed.returncode < 0:
        out.note(f"Signal {-completed.returncode} ended it.", "yellow")
    elif completed.returncode:
        out.note(f"It exited with {completed.returncode}.", "yellow")


def _pass_through(completed: Completed) -> None:
    for stream, content in ((sys.stdout, completed.stdout), (sys.stderr, completed.stderr)):
        if stream.isatty() or not hasattr(stream, "buffer"):
            stream.write(safe(content.decode("utf-8", "backslashreplace"), lines=True))
        else:
            stream.flush()
            stream.buffer.write(content)
        stream.flush()
