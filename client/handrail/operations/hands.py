"""Hands and their pins."""

from handrail.exchange import Operation, document_if_any, get, listed, post
from handrail.views import Json


def hands(principal: str | None = None) -> Operation[list[Json]]:
    """The hands, their states and actions; or those that are in the lists of another principal."""
    return listed((yield get("hands", query={"principal": principal})), "hands")


def hand(hand_id: str) -> Operation[Json]:
    """One hand, with the difference between what is pinned and what is offered."""
    return (yield get("hands", hand_id)).document


def hand_objectives() -> Operation[list[Json]]:
    """How hands do against their objectives, as the gateway that answers saw it: ``{id, objective, measured}``."""
    return listed((yield get("slo")), "hands")


def pin_hand(hand_id: str, digest: str) -> Operation[Json]:
    """Pin exactly the manifest with that digest."""
    return document_if_any((yield post({"digest": digest}, "hands", hand_id, "pin")))
