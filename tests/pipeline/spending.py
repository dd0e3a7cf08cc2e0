"""What the newest evaluation was told of what a context and a principal did before."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.store.context_bindings import ContextBindings
from tests.pipeline.house import House, remembering, step


def seen(house: House) -> Mapping[str, Any]:
    """``context`` of the newest evaluation."""
    return house.policy.inputs[-1]["context"]


def in_context(house: House) -> tuple[int, int, float]:
    spent = seen(house)["spent"]["context"]
    return spent["steps"], spent["changes"], spent["amount"]


def of_principal(house: House, window: str = "day") -> tuple[int, int, float]:
    spent = seen(house)["spent"]["principal"][window]
    return spent["steps"], spent["changes"], spent["amount"]


def pay(name: str, amount: float) -> dict[str, Any]:
    return step(name, "write", args={"text": name, "n": amount})


def as_after_a_restart(house: House) -> None:
    """Whatever this process remembers of contexts is gone."""
    house.store._contexts = ContextBindings()
    fresh = remembering(house.settings, house.log._engine, house.log, house.hands, house.store, house.directory)
    house.pipeline.contexts = fresh
    house.pipeline.recorder = replace(house.pipeline.recorder, contexts=fresh)
