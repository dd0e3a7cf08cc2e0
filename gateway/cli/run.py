"""``handrail run``: have the gateway ask a model, with hands as its tools, and follow it."""

import sys
from typing import Annotated, Any, Final

import typer
from handrail import HandrailProblem

from gateway.cli.command import command, noun
from gateway.cli.connect import Session
from gateway.cli.exits import Exit, Stop
from gateway.cli.hands import instead_of
from gateway.cli.output import Output
from gateway.cli.runs import show_run, used, verdict
from gateway.manifest import CLIENT, MODEL
from gateway.reasons import Reason

app = noun("run")

PROMPT_MAX_CHARACTERS: Final = 65_536


@command(
    app,
    example="run 'Say which branches are older than a month.' --hand git",
    good="it is done; what the model said last is printed",
    negative="it failed or was cancelled",
    waiting="--detach: it goes on",
)
def run(
    session: Session,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT|-", help="What is wanted; - reads it from standard input.")],
    system: Annotated[str | None, typer.Option(help="What the model is told before.")] = None,
    purpose: Annotated[str | None, typer.Option(help="Of the run, for policies and for the choice of a brain.")] = None,
    brain: Annotated[str | None, typer.Option(help="Which [brains.ID] is asked. Default: the gateway chooses.")] = None,
    hand: Annotated[
        list[str] | None, typer.Option(help="Whose tools are offered. Default: all that you may use.")
    ] = None,
    data_class: Annotated[list[str] | None, typer.Option(help="A class of data that the model will see.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Most questions and calls together.")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens, in and out together.")] = None,
    money: Annotated[
        float | None, typer.Option(min=0.000001, help="Most that its answers may cost, in the currency of the prices.")
    ] = None,
    deadline: Annotated[int | None, typer.Option(min=1, help="Seconds that it may take, people included.")] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Do not wait: print the run and leave it to itself.")
    ] = False,
) -> Exit:
    """Have the gateway ask a model, with hands as its tools, until it is done; every call is decided and recorded."""
    words = sys.stdin.read(PROMPT_MAX_CHARACTERS + 1) if prompt == "-" else prompt
    if not words.strip() or len(words) > PROMPT_MAX_CHARACTERS:
        raise Stop(f"the prompt is empty, or longer than {PROMPT_MAX_CHARACTERS} characters", "Say what is wanted.")
    try:
        view = session.client.begin_run(
            words,
            system=system,
            purpose=purpose,
            brain=brain,
            hands=hand,
            data_classes=data_class,
            steps=steps,
            tokens=tokens,
            money=money,
            deadline_seconds=deadline,
        )
    except HandrailProblem as exc:
        absent = exc.code == Reason.REQUEST_NOT_FOUND and exc.facts.get("kind") == "hand"
        hint = instead_of(session, [str(exc.facts.get("id"))], without={CLIENT, MODEL}) if absent else ""
        if not hint:
            raise
        raise Stop(str(exc.facts.get("why")), hint, Exit.NEGATIVE, code=Reason.REQUEST_NOT_FOUND) from None
    if not detach:
        view = _followed(session, view)
    session.out.show(view, lambda: _show(session.out, view))
    return verdict(view)


def _followed(session: Session, view: dict[str, Any]) -> dict[str, Any]:
    """The run once it has ended; what becomes of it meanwhile goes to standard error."""
    run_id = str(view["run_id"])
    session.out.note(f"{run_id}: begun; its brain is {view.get('brain')}. To end it: handrail runs cancel {run_id}")
    asked = 0
    with session.out.busy(f"{run_id} has begun") as busy:
        for event in session.client.follow_run(run_id):
            turn = event["data"]
            if event["event"] == "done":
                session.out.note(f"used: {used(turn)}")
                return dict(turn)
            if turn.get("status") == "running":
                if asked > len(turn.get("steps") or ()):
                    session.out.note(_not_made(asked - len(turn.get("steps") or ()), asked))
                busy(_doing(turn))
            for line in _told(turn):
                session.out.note(line)
            asked = int(turn.get("calls") or 0)
    return dict(session.client.run_view(run_id))


def _told(turn: dict[str, Any]) -> list[str]:
    """What an event says, as lines."""
    status, steps = turn.get("status"), turn.get("steps")
    if steps is None:
        return [str(turn["text"])] if status == "done" and turn.get("text") and turn.get("calls") else []
    if status == "running":
        return []
    return [_call(step) for step in steps]


def _doing(turn: dict[str, Any]) -> str:
    """What the run is at."""
    called = [f"{step.get('hand')} {step.get('action')}" for step in turn.get("steps") or ()]
    return f"{', '.join(called)} at work" if called else f"{turn.get('brain')} is asked"


def _not_made(left_out: int, asked: int) -> str:
    """That calls of an answer are no steps."""
    verb = "was" if left_out == 1 else "were"
    return f"{left_out} of {asked} calls {verb} not made: of no tool that was offered, or with arguments off schema"


def _call(step: dict[str, Any]) -> str:
    words = f"{step.get('hand')} {step.get('action')}: {step.get('status')}"
    if step.get("code"):
        words += f" ({step['code']})"
    if step.get("status") == "held":
        words += f"; to approve: handrail approvals approve {step.get('approval_id')}"
    return words


def _show(out: Output, view: dict[str, Any]) -> None:
    if view.get("status") == "done":
        out.line(str(view.get("text") or "(The model said nothing.)"))
    else:
        show_run(out, view)
