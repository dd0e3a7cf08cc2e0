"""Runs: the gateway asks a model, with hands as its tools, until it is done."""

import json
from collections.abc import Sequence

from handrail.exchange import Operation, Request, get, post
from handrail.views import Json


def begin_run(
    prompt: str,
    *,
    system: str | None = None,
    purpose: str | None = None,
    brain: str | None = None,
    data_classes: Sequence[str] | None = None,
    hands: Sequence[str] | None = None,
    steps: int | None = None,
    tokens: int | None = None,
    money: float | None = None,
    deadline_seconds: int | None = None,
) -> Operation[Json]:
    """Begin a run; it goes on whether or not anybody follows it. What is ``None``, the gateway chooses.

    Args:
        hands: whose tools the model is offered.
        steps, tokens, money: what it may use; money in the currency of the brains' prices.
    """
    wanted = {"steps": steps, "tokens": tokens, "money": money}
    budget = {name: value for name, value in wanted.items() if value is not None}
    asked = {
        "prompt": prompt,
        "system": system,
        "purpose": purpose,
        "brain": brain,
        "data_classes": None if data_classes is None else list(data_classes),
        "hands": None if hands is None else list(hands),
        "budget": budget or None,
        "deadline_seconds": deadline_seconds,
    }
    body = json.dumps({name: value for name, value in asked.items() if value is not None}).encode()
    return (yield Request("POST", "/v1/runs", {}, body, "application/json")).document


def runs(*, after: int | None = None, limit: int | None = None) -> Operation[Json]:
    """A page of runs: ``{runs, next}``, newest first.

    Args:
        after: ``next`` of the page before.
    """
    asked = {"after": after, "limit": limit}
    return (yield get("runs", query={name: value for name, value in asked.items() if value is not None})).document


def run(run_id: str) -> Operation[Json]:
    """A run as it stands."""
    return (yield get("runs", run_id)).document


def cancel_run(run_id: str) -> Operation[Json]:
    """End a run of one's own."""
    return (yield post(None, "runs", run_id, "cancel")).document
