"""The policy that decides, and what the operator says of hands."""

import asyncio
import importlib.util
import json
from typing import Final

from sqlalchemy import select

from gateway.personal_data import SECRET_KIND
from gateway.policy import tools
from gateway.posture.model import Check, Severity, Verdict, bad, good, none
from gateway.posture.scene import Scene
from gateway.privacy.processing import processing_record
from gateway.settings import HandSettings
from gateway.store.tables import hand_pins

_SHOWN_MAX: Final = 5


def _engine(scene: Scene) -> Verdict:
    policy = scene.settings.policy
    if policy.engine == "embedded" and importlib.util.find_spec("regorus") is None:
        return bad("the embedded engine is not installed", 'Set [policy] engine = "opa".')
    bundle = scene.bundle
    if bundle is None:
        return bad("no bundle decides: everything is denied", "handrail policy propose, then handrail policy activate")
    problems = asyncio.run(tools.check(bundle, scene.settings.results.scanner().kinds, SECRET_KIND))
    if problems:
        return bad(f"the bundle has {len(problems)} problems: {problems[0].message}", "handrail policy check BUNDLE")
    return good(f"bundle {bundle.digest[:16]} can be used ({policy.engine})")


def _observed(scene: Scene) -> Verdict:
    if scene.observed:
        remedy = "handrail policy observe stop HAND"
        return bad(f"policy is not enforced on: {', '.join(scene.observed)}", remedy)
    return good("policy is enforced on every hand")


def _pinned(scene: Scene) -> Verdict:
    wanted = [(tenant, name) for name, hand in _hands(scene).items() for tenant in hand.tenants]
    if not wanted:
        return none("no hand is configured")
    with scene.connect() as connection:
        there = {(row.tenant, row.hand) for row in connection.execute(select(hand_pins.c.tenant, hand_pins.c.hand))}
    missing = sorted(f"{name} ({tenant})" for tenant, name in set(wanted) - there)
    if missing:
        return bad(f"nobody looked at the manifest of: {_some(missing)}", "handrail hands pin ID")
    return good(f"{len(wanted)} manifests are pinned")


def _regions(scene: Scene) -> Verdict:
    hands = _hands(scene)
    if not hands:
        return none("no hand is configured")
    missing = sorted(name for name, hand in hands.items() if hand.region is None)
    if missing:
        return bad(f"no region is declared for: {_some(missing)}", "Set [hands.ID] region.")
    if scene.settings.policy.data_region is None:
        return bad("no region is declared for the data itself", "Set [policy] data_region.")
    return good(f"{len(hands)} hands with their regions")


def _annotations(scene: Scene) -> Verdict:
    hands = _hands(scene)
    if not hands:
        return none("no hand is configured")
    with scene.connect() as connection:
        rows = connection.execute(select(hand_pins.c.hand, hand_pins.c.manifest)).all()
    silent = sorted(
        {
            f"{row.hand}.{action}"
            for row in rows
            if row.hand in hands
            for action in json.loads(row.manifest)["actions"]
            if action not in hands[row.hand].actions
        }
    )
    if silent:
        return bad(
            f"nothing is said of: {_some(silent)}", "Say what it changes and whom it names: [hands.ID.actions.NAME]"
        )
    return good("the operator says of each pinned action what it changes")


def _declared(scene: Scene) -> Verdict:
    settings = scene.settings
    missing = [
        one
        for tenant in sorted({tenant for hand in settings.hands.values() for tenant in hand.tenants} or {"default"})
        for one in processing_record(settings, tenant, {}, [])["missing"]
    ]
    if missing:
        return bad(
            f"not declared: {_some(list(dict.fromkeys(missing)))}", "Set [controller] and [hands.ID.processing]."
        )
    return good("the record of processing activities is complete")


def _hands(scene: Scene) -> dict[str, HandSettings]:
    return {name: hand for name, hand in scene.settings.hands.items() if hand.enabled}


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN_MAX} more" if len(names) > _SHOWN_MAX else ""
    return ", ".join(names[:_SHOWN_MAX]) + more


CHECKS: Final = (
    Check("policy-engine", Severity.HIGH, _engine),
    Check("hands-observed", Severity.MEDIUM, _observed),
    Check("hands-pinned", Severity.LOW, _pinned),
    Check("hand-regions", Severity.MEDIUM, _regions),
    Check("hand-annotations", Severity.MEDIUM, _annotations),
    Check("processing-declared", Severity.LOW, _declared),
)
