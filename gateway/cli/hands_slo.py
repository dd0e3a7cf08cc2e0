"""``handrail hands slo``: how hands do against their objectives."""

from typing import Annotated, Any

import typer

from gateway.cli.command import command
from gateway.cli.connect import Session
from gateway.cli.exits import Exit, Stop
from gateway.cli.output import Output
from gateway.rendering import moment

app = typer.Typer()


@command(
    app,
    example="hands slo",
    good="every objective is met, or nothing was measured yet",
    negative="one is missed",
)
def slo(
    session: Session,
    hand_id: Annotated[str | None, typer.Argument(metavar="HAND", help="Only this one.", show_default=False)] = None,
) -> Exit:
    """Show how hands do against their objectives, as the gateway that answers saw it."""
    found = [one for one in session.client.hand_objectives() if hand_id in {None, one.get("id")}]
    if hand_id is not None and not found:
        raise Stop(f"{hand_id}: no pinned hand with objectives", "Declare [hands.ID.slo], then pin it: hands pin ID")
    session.out.show({"hands": found}, lambda: _show(session.out, found))
    return Exit.NEGATIVE if any(map(_missed, found)) else Exit.GOOD


def _missed(one: dict[str, Any]) -> bool:
    objective, measured = one["objective"], one["measured"]
    within, left = measured["within_latency"], measured.get("budget_left")
    slow = within is not None and objective["latency_quantile"] is not None and within < objective["latency_quantile"]
    return slow or (left is not None and left < 0)


def _show(out: Output, found: list[dict[str, Any]]) -> None:
    rows = (
        [
            one["id"],
            f"{_part(one['measured']['availability'])} of {_part(one['objective']['availability'])}",
            _latency(one),
            _part(one["measured"].get("budget_left")),
            "-" if one["measured"].get("burn_rate") is None else f"{one['measured']['burn_rate']:.1f}",
            one["measured"]["calls"],
            moment(one["measured"]["since"]),
            "missed" if _missed(one) else "kept",
        ]
        for one in found
    )
    heads = ["hand", "answered", "in time", "budget left", "burn, 1 h", "calls", "since", "objective"]
    out.table(heads, rows, "No pinned hand has objectives: [hands.ID.slo].")


def _latency(one: dict[str, Any]) -> str:
    objective = one["objective"]
    if objective["latency_seconds"] is None:
        return "-"
    wanted = f"{_part(objective['latency_quantile'])} within {objective['latency_seconds']:g} s"
    return f"{_part(one['measured']['within_latency'])} of {wanted}"


def _part(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.4g} %"
