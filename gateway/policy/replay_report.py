"""A replay's report as Markdown that fits a comment on a pull request. Pure.

Everything that stands in it is a count, a digest, a reason code, the name of a hand, an action or an obligation, or a
step's id. What does not look like one (a recording is a file that anybody can write) is not shown.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.policy.differences import Kind

MARKDOWN_MAX_BYTES: Final = 60_000
"""GitHub takes 65,536 characters in a comment, GitLab a million."""
TITLES: Final[Mapping[str, str]] = {
    Kind.NEWLY_DENIED: "newly denied",
    Kind.NEWLY_ALLOWED: "newly allowed",
    Kind.NEWLY_ASKED: "newly asked",
    Kind.OBLIGATIONS_CHANGED: "other obligations",
    Kind.REASONS_CHANGED: "other reasons",
}
_NAME: Final = re.compile(r"[A-Za-z0-9_.:/()-]{1,160}")
_RULES_MAX: Final = 20


def markdown(
    report: Mapping[str, Any],
    window: str,
    max_bytes: int = MARKDOWN_MAX_BYTES,
    *,
    title: str = "Policy replay",
    what: str = "recorded decision",
) -> str:
    """The document of a ``replay.ReplayReport`` or a ``comparison.Comparison`` as Markdown of at most ``max_bytes``.

    Args:
        window: what was decided again, in words.
        what: what was.
    """
    kinds: Mapping[str, int] = report["kinds"]
    changed = sum(count for kind, count in kinds.items() if kind != Kind.REASONS_CHANGED)
    head = [
        f"### {title}: {_count(changed, 'decision')} would change" if changed else f"### {title}: no change",
        "",
        f"Candidate {_code(report['candidate'][:16])} on {_count(report['decisions'], what)} {window}.",
        "",
        "| would be | decisions | by rule |",
        "|---|---:|---|",
        *(_summary(kind, kinds[kind], report["rules"].get(kind, {})) for kind in TITLES),
        "",
    ]
    foot = ["", *_left_out(report)]
    room = max_bytes - _size(head) - _size(foot)
    return "\n".join([*head, *_bounded(_details(report), room), *foot]).rstrip() + "\n"


def _summary(kind: str, count: int, rules: Mapping[str, int]) -> str:
    shown = ", ".join(f"{_code(code)} {number:,}" for code, number in list(rules.items())[:_RULES_MAX])
    more = f" and {len(rules) - _RULES_MAX} more" if len(rules) > _RULES_MAX else ""
    return f"| {TITLES[kind]} | {count:,} | {shown}{more} |"


def _details(report: Mapping[str, Any]) -> Iterator[str]:
    for kind, title in TITLES.items():
        groups = [group for group in report["groups"] if group["kind"] == kind]
        if not groups:
            continue
        yield f"**{title.capitalize()}**\n"
        yield "| hand | action | was | would be | decisions | for example |\n|---|---|---|---|---:|---|"
        for group in groups:
            examples = ", ".join(_code(f"{one['plan_id'][:12]}/{one['step_id']}") for one in group["examples"])
            yield (
                f"| {_code(group['hand'])} | {_code(group['action'])} | {_said(group['was'])} "
                f"| {_said(group['now'], group.get('obligations', ()))} | {group['count']:,} | {examples} |"
            )
        yield ""


def _bounded(lines: Iterator[str], room: int) -> Iterator[str]:
    """As many lines as there is room for, and then a line that says how many are missing."""
    room -= 100
    missing = 0
    for line in lines:
        room -= len(line.encode()) + 1
        if missing or room < 0:
            missing += line.startswith("| `")
        else:
            yield line
    if missing:
        yield f"\n{_count(missing, 'more group')} did not fit; `--json` has them all."


def _left_out(report: Mapping[str, Any]) -> Iterator[str]:
    """What the figures above are silent about."""
    said = [
        (report.get("erased", 0), "evaluation", "erased"),
        (report.get("unreadable", 0), "evaluation", "whose record does not hold"),
        (report["not_comparable"], "decision", "of an engine that was late or away"),
        (report.get("shed", 0), "evaluation", "left out because too many waited"),
    ]
    parts = [f"{_count(count, what)} {why}" for count, what, why in said if count]
    if parts:
        yield f"Not decided again: {'; '.join(parts)}."
    if report["faults"]:
        faults = ", ".join(f"{_code(code)} {count:,}" for code, count in report["faults"].items())
        yield f"The candidate's engine gave no answer: {faults}."
    if report["not_grouped"]:
        count = sum(report["not_grouped"].values())
        yield f"{_count(count, 'difference')} beyond the first groups are counted by kind alone."
    if not report["decisions"]:
        yield "**Nothing was compared.**"


def _said(side: Mapping[str, Any], obligations: Any = ()) -> str:
    codes = " ".join(_code(code) for code in side["reasons"])
    other = f" ({', '.join(_code(name) for name in obligations)})" if obligations else ""
    return f"{side['effect']} {codes}{other}".strip()


def _code(text: str) -> str:
    return f"`{text}`" if _NAME.fullmatch(text) else "`?`"


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _size(lines: list[str]) -> int:
    return len("\n".join(lines).encode())
