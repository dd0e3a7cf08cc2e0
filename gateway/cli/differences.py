"""How two bundles differ, as tables for people."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.cli.output import Output
from gateway.policy.replay_report import TITLES

_SHOWN_MAX: Final = 40


def show_differences(out: Output, report: Mapping[str, Any], nothing: str) -> None:
    """By kind and rule, then each group with a step as an example.

    Args:
        report: with what ``Tally.document`` gives, and ``decisions``.
        nothing: what to say where nothing was compared.
    """
    out.table(
        ["would be", "decisions", "by rule"],
        (
            [
                TITLES[kind],
                f"{count:,}",
                ", ".join(f"{code} {number:,}" for code, number in report["rules"][kind].items()),
            ]
            for kind, count in report["kinds"].items()
            if count
        ),
        "Every decision would be the same." if report["decisions"] else nothing,
    )
    groups = report["groups"]
    if groups:
        out.line("")
        out.table(
            ["would be", "hand", "action", "was", "now", "decisions", "for example"],
            (
                [
                    TITLES[group["kind"]],
                    group["hand"],
                    group["action"],
                    _side(group["was"]),
                    " ".join([_side(group["now"]), *group.get("obligations", ())]),
                    f"{group['count']:,}",
                    f"{group['examples'][0]['plan_id']}/{group['examples'][0]['step_id']}",
                ]
                for group in groups[:_SHOWN_MAX]
            ),
        )
    if len(groups) > _SHOWN_MAX:
        out.line(f"... and {len(groups) - _SHOWN_MAX} more groups (--json lists all)")


def _side(side: Mapping[str, Any]) -> str:
    return " ".join([side["effect"], *side["reasons"]])
