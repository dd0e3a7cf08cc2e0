"""Which brain a run is put to, and which ones after it."""

from collections.abc import Mapping, Sequence
from typing import Final

from gateway.errors import Absent, Malformed, Refused
from gateway.manifest import MESSAGES, Manifest
from gateway.model import Principal
from gateway.ports import Hands
from gateway.reasons import Reason
from gateway.settings import BrainSettings

ANTHROPIC: Final = "api.anthropic.com"


def order(
    brains: Mapping[str, BrainSettings],
    purpose: str | None,
    data_classes: Sequence[str],
    wanted: str | None,
    *,
    priced: bool,
) -> list[str]:
    """The brains that fit, in the order in which they are asked.

    Args:
        wanted: the one that the caller names; it has to fit all the same.
        priced: whether the run has a budget in money, so that only those fit whose answers have a price.

    Raises:
        Refused: ``run.no_brain`` where none fits; ``request.malformed`` for a name that no brain has.
    """
    if not brains:
        why = "None is configured. Add [brains.claude] with model = ..., and the hand [hands.claude] that it is behind."
        raise Refused(Reason.RUN_NO_BRAIN, "no brain is configured", why=why)
    if wanted is not None and wanted not in brains:
        raise Malformed("no such brain", pointer="/brain", expected=f"one of {', '.join(sorted(brains))}")
    fitting = [name for name, one in brains.items() if _fits(one, purpose, data_classes, priced=priced)]
    fitting.sort(key=lambda name: (brains[name].cost, name))
    if wanted is not None:
        fitting = [wanted] if wanted in fitting else []
    if not fitting:
        why = "None lists this purpose and these classes of data: see purposes and data_classes of [brains.ID]."
        if priced:
            why += " A budget in money takes brains with prices alone: see [brains.ID.prices]."
        raise Refused(Reason.RUN_NO_BRAIN, "no brain fits", why=why)
    first = fitting[0]
    after: Sequence[str] = brains[first].fallback or (() if wanted is not None else fitting[1:])
    fit = (name for name in after if _fits(brains[name], purpose, data_classes, priced=priced))
    return [first, *(name for name in fit if name != first)]


def _fits(brain: BrainSettings, purpose: str | None, data_classes: Sequence[str], *, priced: bool) -> bool:
    for_it = not brain.purposes or purpose in brain.purposes
    return for_it and (brain.prices is not None or not priced) and set(data_classes) <= set(brain.data_classes)


def hand_of(name: str, brain: BrainSettings) -> str:
    """The hand that a brain is behind."""
    return brain.hand or name


def with_tools(hands: Hands, caller: Principal, configured: Mapping[str, BrainSettings]) -> list[Manifest]:
    """The hands that the caller may use and whose tools a model can be offered: no models, brains or clients' hands."""
    models = {hand_of(name, brain) for name, brain in configured.items()}
    return [
        manifest
        for manifest in hands.listed(caller)
        if not manifest.model and not manifest.client and manifest.hand not in models
    ]


def check_tools(
    hands: Hands, caller: Principal, configured: Mapping[str, BrainSettings], wanted: Sequence[str]
) -> None:
    """Look at the hands that a caller wants tools of.

    Raises:
        Refused: ``request.not_found`` for one that is not there for the caller; ``request.malformed`` for one of which
            no tool would be offered.
    """
    if missing := sorted(set(wanted) - {manifest.hand for manifest in hands.listed(caller)}):
        raise Absent("hand", missing[0])
    able = [manifest.hand for manifest in with_tools(hands, caller, configured)]
    for number, name in enumerate(wanted):
        if name not in able:
            expected = f"a hand with tools for a model: {', '.join(able) or 'there is none that you may use'}"
            raise Malformed(f"{name} offers no tools", pointer=f"/hands/{number}", expected=expected)


def first_usable(hands: Hands, caller: Principal, configured: Mapping[str, BrainSettings], names: Sequence[str]) -> str:
    """The first of some brains that can be asked.

    Raises:
        Refused: see :func:`usable`; what keeps the first of all from it.
    """
    problem: Refused | None = None
    for name in names:
        try:
            usable(hands, caller, name, configured[name])
        except Refused as refusal:
            problem = problem or refusal
        else:
            return name
    raise problem or Refused(Reason.RUN_NO_BRAIN)


def usable(hands: Hands, caller: Principal, name: str, brain: BrainSettings) -> Manifest:
    """The pinned manifest of a brain's hand.

    Raises:
        Refused: ``run.brain``, with ``why``: it is not there for the caller, is no model, or has no key.
    """
    hand = hand_of(name, brain)
    manifest = hands.manifest(caller.tenant, hand)
    if manifest is None or not caller.may_use(hand):
        why = f"Its hand {hand} is not pinned, not there or not within your scope: handrail hands list"
        raise Refused(Reason.RUN_BRAIN, f"hand {hand}", brain=name, hand=hand, why=why)
    if MESSAGES not in manifest.actions:
        why = f"Its hand {hand} is no model: it has no action {MESSAGES}."
        raise Refused(Reason.RUN_BRAIN, f"hand {hand}", brain=name, hand=hand, why=why)
    url = str(manifest.actions[MESSAGES].annotations.get("base_url", ""))
    if not manifest.secrets and ANTHROPIC in url:
        raise Refused(Reason.RUN_BRAIN, f"hand {hand}", brain=name, hand=hand, why=no_key(hand))
    return manifest


def key_refused(hand: str, manifest: Manifest | None) -> str:
    """What to do where an endpoint does not let a hand in (401)."""
    if manifest is None or not manifest.secrets:
        return no_key(hand)
    names, one = _names(manifest)
    return (
        f"The endpoint does not take {names}. Put another value in its place: handrail secrets rotate {one} --file FILE"
    )


def key_missing(manifest: Manifest | None) -> str:
    """What to do where a hand has no value of a secret that it declares."""
    names, one = _names(manifest)
    said = f" ({names})" if names else ""
    return f"Keep the hand's key{said}: handrail secrets set {one} --file FILE"


def _names(manifest: Manifest | None) -> tuple[str, str]:
    """The names of a hand's secrets, and what stands for the name of one in a command."""
    names = [] if manifest is None else sorted(secret.name for secret in manifest.secrets)
    return ", ".join(names), names[0] if len(names) == 1 else "NAME"


def no_key(hand: str) -> str:
    """What to do where an endpoint wants a key and the hand has none."""
    return (
        f'No key is declared. Add [hands.{hand}.secrets.{hand}-key] with place = "header" and parameter = "x-api-key", '
        f"pin the hand anew, and keep the key: handrail secrets set {hand}-key"
    )
