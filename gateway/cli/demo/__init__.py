"""``handrail demo``: set up a gateway, play a demonstration on two real MCP servers, keep serving."""

import os
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.command import command, noun
from gateway.cli.demo import cast, ground, scenes
from gateway.cli.exits import Code, Exit
from gateway.cli.output import Output
from gateway.rendering import render

app = noun("demo")


@command(
    app,
    example="demo --yes --exit",
    good="everything went as the scenes say",
    negative="something was amiss",
    unreachable="the gateway cannot be reached",
)
def demo(
    out: Output,
    port: Annotated[int, typer.Option(help="Port to serve on.", min=1, max=65535)] = 8080,
    yes: Annotated[
        bool, typer.Option("--yes", help="Approve without asking (also where there is no terminal).")
    ] = False,
    leave: Annotated[bool, typer.Option("--exit", help="Stop after the demonstration.")] = False,
) -> Exit:
    """Set up a gateway in HANDRAIL_HOME, play a demonstration, keep serving."""
    _stop_in_order()
    place = ground.prepare(Path(os.environ.get("HANDRAIL_HOME") or ".handrail"), port)
    out.line(f"Handrail, in {place.home}", "bold")
    cast.first_principal(place)
    with ground.serving(place) as process:
        out.line(f"The gateway serves on {place.url} (its log: {place.home / 'gateway.log'}).")
        players = cast.gather(place)
        hands = cast.pin_hands(players.admin)
        _show_hands(out, hands)
        stage = scenes.Stage(out, place, players, players.admin.client.trust(), _asker(out, yes=yes))
        usable = all(hands[name]["state"] == "pinned" for name in ("git", "time"))
        if usable:
            scenes.play(stage)
        else:
            for name in ("git", "time"):
                if hands[name].get("problem"):
                    out.line(f"  {name}: {hands[name]['problem']}", "yellow")
            out.line("The demonstration needs both hands; `handrail doctor` says what is missing.", "bold yellow")
        _farewell(out, place, players)
        if leave:
            return Exit.GOOD if usable and not stage.surprises else Exit.NEGATIVE
        return _keep_serving(out, place, process)


def _stop_in_order() -> None:
    """Let a signal unwind the demonstration as Ctrl-C does: the gateway is in a session of its own and would stay."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def _asker(out: Output, *, yes: bool) -> Any:
    def ask(request: dict[str, Any]) -> str:
        out.raw(render(request).text(out.width))
        if yes or not out.interactive:
            out.line(f"  {cast.APPROVER} approves (--yes, or no terminal).", "yellow")
            return "approve"
        typed = typer.prompt(f"  You are {cast.APPROVER}. Type approve to sign this call, anything else refuses")
        return "approve" if typed.strip().lower() == "approve" else "refuse"

    return ask


def _show_hands(out: Output, hands: dict[str, dict[str, Any]]) -> None:
    rows = [
        (
            name,
            hand["state"],
            len(hand.get("actions", [])),
            hand.get("problem") or f"pinned {hand['pinned_digest'][:12]}",
        )
        for name, hand in hands.items()
    ]
    out.table(("hand", "state", "actions", ""), rows)


def _farewell(out: Output, place: ground.Ground, players: cast.Cast) -> None:
    out.line("")
    out.line("Add it to an MCP client:", "bold")
    out.raw(
        f"  claude mcp add --transport http handrail {place.url}/mcp"
        f' --header "Authorization: Bearer {players.agent.token}"'
    )
    out.line("")
    out.line("Look next:", "bold")
    home = "" if place.home == Path(".handrail").absolute() else f"HANDRAIL_HOME={shlex.quote(str(place.home))} "
    program = f"{home}{ground.program()}"
    pointers = {
        f"{program} audit query": "what happened, entry by entry",
        f"{program} hands list": "what agents may ask for",
        "policies/handrail/*/*.rego": "the rules: change one and see the decision change",
        "gateway/pipeline.py, docs/quickstart.md": "how it works",
    }
    width = max(map(len, pointers))
    for where, what in pointers.items():
        out.raw(f"  {where:{width}}  {what}")


def _keep_serving(out: Output, place: ground.Ground, process: subprocess.Popen[bytes]) -> Exit:
    """Wait for the gateway, or for the person's Ctrl-C."""
    out.line("")
    out.line("Serving. Ctrl-C stops it.", "bold")
    try:
        process.wait()
    except KeyboardInterrupt:
        return Exit.GOOD
    out.error("the gateway stopped", f"Its log says why: {place.home / 'gateway.log'}", Code.REFUSED)
    return Exit.NEGATIVE
