"""Checks and what they find."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.posture.scene import Scene


class Severity(StrEnum):
    """How bad a failed check is; from the least."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class State(StrEnum):
    """What came of a check."""

    PASS = "pass"  # noqa: S105 - a word
    FAIL = "fail"
    UNKNOWN = "unknown"
    """It could not be made; it counts as failed."""
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check saw, and what to do about it."""

    state: State
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at. ``id`` is what catalogues name under ``posture``."""

    id: str
    severity: Severity
    look: Callable[["Scene"], Verdict]


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict with its place: framework -> ids of the controls that it belongs to."""

    check: str
    state: State
    severity: Severity
    detail: str
    remedy: str
    controls: Mapping[str, list[str]] = dataclasses.field(default_factory=dict)


def good(detail: str) -> Verdict:
    """Nothing to do."""
    return Verdict(State.PASS, detail)


def bad(detail: str, remedy: str) -> Verdict:
    """Something to do."""
    return Verdict(State.FAIL, detail, remedy)


def none(detail: str) -> Verdict:
    """Nothing that the check is about."""
    return Verdict(State.NOT_APPLICABLE, detail)
