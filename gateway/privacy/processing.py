"""The record of processing activities (GDPR, article 30), from manifests, the configuration and the log. Pure.

What only the operator can say (purposes, categories, safeguards) and has not said is listed as missing, never guessed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from gateway.manifest import ActionManifest, Manifest
from gateway.settings import HandSettings, Settings

MEASURES: Final = (
    "Each request is signed, checked against a schema and decided by policy before anything runs.",
    "Every decision and outcome is in an append-only log whose checkpoints are signed (RFC 6962, C2SP).",
    "Arguments, results and names are sealed with AES-256-GCM, under a key for each data subject.",
    "Entries of the log hold pseudonyms and salted commitments in place of what is personal.",
    "A hand gets a credential for one step, good for at most a minute, and no lasting secret.",
    "Hands that are programs run in a sandbox without network.",
)
"""Security measures that every gateway has, in general (article 30(1)(g))."""
_DECLARED: Final = {
    "purposes": "purposes",
    "legal_basis": "the legal ground",
    "data_categories": "categories of data",
    "subject_categories": "categories of people",
    "recipient": "who operates it",
    "retention": "how long it keeps data",
}
"""What a record needs from the operator: setting -> words."""


def processing_record(
    settings: Settings,
    tenant: str,
    manifests: Mapping[str, Manifest],
    usage: Sequence[Mapping[str, Any]],
    speaks_of: Callable[[str], bool] = lambda _hand: True,
) -> dict[str, Any]:
    """The tenant's record as a JSON document.

    Args:
        speaks_of: whether the reader may hear of a hand.
        manifests: hand -> the manifest that the tenant pinned.
        usage: ``{hand, action, calls, first, last}`` of what was let go in the period, as the log has it.
    """
    declared = {name: hand for name, hand in settings.hands.items() if tenant in hand.tenants}
    names = sorted(filter(speaks_of, {*declared, *(str(one["hand"]) for one in usage)}))
    activities = [
        _activity(name, declared.get(name), manifests.get(name), usage, settings.policy.data_region) for name in names
    ]
    controller = settings.controller.model_dump()
    missing = [f"controller: {name.replace('_', ' ')}" for name in ("name", "contact") if not controller[name]]
    missing += [f"{one['hand']}: {what}" for one in activities for what in one["missing"]]
    return {
        "controller": controller,
        "data_region": settings.policy.data_region,
        "activities": activities,
        "security_measures": [*MEASURES, *_measures(settings)],
        "missing": missing,
    }


def _activity(
    name: str,
    hand: HandSettings | None,
    manifest: Manifest | None,
    usage: Sequence[Mapping[str, Any]],
    data_region: str | None,
) -> dict[str, Any]:
    used = {str(one["action"]): one for one in usage if one["hand"] == name}
    known = manifest.actions if manifest is not None else {}
    said = hand.processing.model_dump() if hand is not None else {}
    region = hand.region if hand is not None else None
    transfer = "unknown" if region is None or data_region is None else "yes" if region != data_region else "no"
    missing = [words for key, words in _DECLARED.items() if not said.get(key)]
    if transfer == "unknown":
        missing.append("its region, or [policy] data_region")
    if transfer == "yes" and not said.get("transfer_safeguard"):
        missing.append("on what the transfer rests")
    return {
        "hand": name,
        "configured": hand is not None,
        "pinned": manifest is not None,
        **{key: said.get(key) for key in (*_DECLARED, "transfer_safeguard")},
        "region": region,
        "transfer": transfer,
        "actions": [_action(action, known.get(action), used.get(action)) for action in sorted({*known, *used})],
        "missing": missing,
    }


def _action(name: str, action: ActionManifest | None, used: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "action": name,
        "side_effects": None if action is None else str(action.side_effects),
        "data_subjects": [] if action is None else list(action.data_subjects),
        "roles": {} if action is None else {pointer: str(role) for pointer, role in sorted(action.roles.items())},
        "calls": 0 if used is None else used["calls"],
        "first": None if used is None else used["first"],
        "last": None if used is None else used["last"],
    }


def _measures(settings: Settings) -> list[str]:
    """What this configuration adds."""
    found = []
    if settings.policy.source == "signed":
        found.append("Policy bundles are signed; two people activate a change.")
    if settings.database_url.startswith("postgresql") and "sslmode=verify-full" in settings.database_url:
        found.append("The database is reached by verified TLS.")
    return found
