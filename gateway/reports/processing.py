"""The record of processing activities (the document of ``gateway.privacy.processing``) as a report."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.reports.controls import period
from gateway.reports.document import Cell, Document, Section, Table

_NOT_SAID: Final = "(not declared)"
_WORDS: Final = {
    "purposes": "purposes",
    "legal_basis": "legal ground",
    "subject_categories": "categories of people",
    "data_categories": "categories of data",
    "recipient": "recipient",
    "region": "region",
    "transfer": "transfer to another region",
    "transfer_safeguard": "on what the transfer rests",
    "retention": "how long the recipient keeps it",
}
_TRANSFERS: Final = {"yes": "yes", "no": "no", "unknown": "not known: a region is not declared"}
_ACTION: Final = ("action", "changes", "where people are named", "what arguments mean", "calls", "first", "last")


def record_of_processing(found: Mapping[str, Any]) -> Document:
    """The report on the document of ``GET /v1/controls/processing-record``."""
    controller = found["controller"]
    return Document(
        title="Record of processing activities",
        facts=(
            ("controller", controller["name"] or _NOT_SAID),
            ("contact", controller["contact"] or _NOT_SAID),
            ("representative", controller["representative"] or _NOT_SAID),
            ("data protection officer", controller["data_protection_officer"] or _NOT_SAID),
            ("data region", found["data_region"] or _NOT_SAID),
            ("log", found["origin"]),
            ("tenant", found["tenant"]),
            ("period", period(found)),
            ("made at", found["made_at"]),
        ),
        texts=(
            "Made of the pinned manifests, the configuration and the log (GDPR, article 30).",
            "What the operator has not declared is listed as missing and not guessed.",
        ),
        sections=(
            _list("What is missing", found["missing"] or ["Nothing."]),
            *(_activity(one) for one in found["activities"]),
            _list("Security measures", found["security_measures"]),
        ),
        flat=Table(("hand", *_WORDS.values(), "actions", "calls"), [_flat(one) for one in found["activities"]]),
    )


def _list(title: str, lines: Sequence[str]) -> Section:
    return Section(title=title, tables=(Table(("what",), [(one,) for one in lines]),))


def _activity(one: Mapping[str, Any]) -> Section:
    texts = []
    if not one["configured"]:
        texts.append("The log knows this hand; the configuration does not (any more).")
    elif not one["pinned"]:
        texts.append("Its manifest is not pinned: it cannot be used.")
    said: list[tuple[Cell, ...]] = [(words, _said(one, key)) for key, words in _WORDS.items()]
    actions: list[tuple[Cell, ...]] = [
        (
            action["action"],
            action["side_effects"] or _NOT_SAID,
            ", ".join(action["data_subjects"]) or _NOT_SAID,
            ", ".join(f"{pointer}: {role}" for pointer, role in action["roles"].items()) or _NOT_SAID,
            action["calls"],
            action["first"],
            action["last"],
        )
        for action in one["actions"]
    ]
    tables = [Table(("about", ""), said)]
    if actions:
        tables.append(Table(_ACTION, actions))
    return Section(
        title=f"Hand {one['hand']}", mark="missing" if one["missing"] else "", texts=tuple(texts), tables=tuple(tables)
    )


def _said(one: Mapping[str, Any], key: str) -> str:
    value = one[key]
    if key == "transfer":
        return _TRANSFERS[value]
    if key == "transfer_safeguard" and one["transfer"] == "no":
        return "(no transfer)"
    return (", ".join(value) if isinstance(value, list | tuple) else value) or _NOT_SAID


def _flat(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    names = ", ".join(action["action"] for action in one["actions"])
    return (
        one["hand"],
        *(_said(one, key) for key in _WORDS),
        names,
        sum(action["calls"] for action in one["actions"]),
    )
