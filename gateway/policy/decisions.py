"""From an engine's answer to decisions. Whatever is not exactly of the contract's shape denies.

Where several decisions speak of one step, deny beats ask beats allow; the reasons are those of the decisions with the
winning effect. The obligations of *all* of them hold (of a denial none, for nothing runs), merged to the strictest: the
smallest limit, the largest quorum, the union of what is to be redacted, the hosts that all of them name, an enrolled
key if one asks for it. Two different jail profiles or approver roles have no strictest, so they deny.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from gateway.manifest import HOST
from gateway.model import LOG_LEVELS, Decision, DecisionReason, Effect, Obligations, Role
from gateway.reasons import POLICY_CODE, TEXTS, Reason

REASONS_MAX: Final = 32
MESSAGE_MAX: Final = 1000
QUORUM_MAX: Final = 16
ITEMS_MAX: Final = 256
PERSON_MAX: Final = 512
"""Characters of a data subject's name, or of a pointer to one."""
_NAME: Final = re.compile(r"[a-z_]{1,64}")
_KIND: Final = re.compile(r"\*|[a-z][a-z0-9_-]{0,62}")
_STRENGTH: Final = {Effect.DENY: 2, Effect.ASK: 1, Effect.ALLOW: 0}
_MEMBERS: Final = frozenset({"step", "effect", "reasons", "obligations"})
_NONE: Final = Obligations()
_OWN: Final = frozenset(map(str, Reason))


class Misshapen(Exception):
    """The answer is not of the contract's shape; everything is denied."""


class Unenforceable(Exception):
    """An answer asks for something that cannot be done; it is denied. Its text names the obligation, for who wrote the
    rule."""


def deny_all(steps: Iterable[str], reason: Reason, digest: str, why: str = "") -> dict[str, Decision]:
    """A denial with ``reason`` for every step.

    Args:
        why: in place of what is always said of such a reason.
    """
    given = (DecisionReason(str(reason), why or TEXTS[reason]),)
    return {step: Decision(step, Effect.DENY, given, digest) for step in steps}


def decide(steps: Sequence[str], answer: Any, digest: str) -> dict[str, Decision]:
    """One decision per asked step.

    Args:
        steps: ids of the steps that were asked about, in order.
        answer: the value of ``data.handrail.decisions``, or ``None`` where it is undefined.
        digest: hex SHA-256 of the bundle that answered.
    """
    try:
        found = _parse(frozenset(steps), [] if answer is None else answer)
    except Misshapen:
        return deny_all(steps, Reason.POLICY_ERROR, digest)
    except Unenforceable as exc:
        return deny_all(steps, Reason.POLICY_OBLIGATION, digest, str(exc))
    decisions: dict[str, Decision] = {}
    for step in steps:
        spoken = found.get(step)
        if not spoken:
            decisions.update(deny_all((step,), Reason.POLICY_UNDECIDED, digest))
            continue
        try:
            decisions[step] = _merge(step, spoken, digest)
        except Unenforceable as exc:
            decisions.update(deny_all((step,), Reason.POLICY_OBLIGATION, digest, str(exc)))
    return decisions


# --- shape -----------------------------------------------------------------------------------------------------------

_Spoken = tuple[Effect, tuple[DecisionReason, ...], Obligations]


def _parse(asked: frozenset[str], answer: Any) -> dict[str, list[_Spoken]]:
    found: dict[str, list[_Spoken]] = {}
    for item in _list(answer):
        if not isinstance(item, dict) or not item.keys() <= _MEMBERS or not {"step", "effect"} <= item.keys():
            raise Misshapen
        step, effect = item["step"], item["effect"]
        if not isinstance(step, str) or step not in asked or effect not in ("allow", "ask", "deny"):
            raise Misshapen
        reasons = tuple(_reason(reason) for reason in _list(item.get("reasons", []), REASONS_MAX))
        obligations = _obligations(item["obligations"]) if item.get("obligations") else _NONE
        if "obligations" in item and not isinstance(item["obligations"], dict):
            raise Misshapen
        found.setdefault(step, []).append((Effect(effect), reasons, obligations))
    return found


def _list(value: Any, limit: int | None = None) -> list[Any]:
    if not isinstance(value, list) or (limit is not None and len(value) > limit):
        raise Misshapen
    return value


def _reason(value: Any) -> DecisionReason:
    if not isinstance(value, dict) or not value.keys() <= {"code", "message"}:
        raise Misshapen
    code, message = value.get("code"), value.get("message", "")
    if not isinstance(code, str) or not POLICY_CODE.fullmatch(code) or code in _OWN:
        raise Misshapen  # the gateway's own codes say what no rule can vouch for
    if not isinstance(message, str) or len(message) > MESSAGE_MAX:
        raise Misshapen
    return DecisionReason(code, message)


def _obligations(value: Any) -> Obligations:
    if not isinstance(value, dict):
        raise Misshapen
    return Obligations(**{name: read_obligation(name, member) for name, member in value.items()})


def read_obligation(name: str, value: Any) -> Any:
    """The value of an obligation.

    Raises:
        Unenforceable: there is no such obligation, or none with this value.
        Misshapen: the value is not of the contract's shape.
    """
    if name not in ENFORCED:
        # A rule may put a name together from what it saw.
        raise Unenforceable(f"{name if _NAME.fullmatch(name) else 'A name'} is no obligation.")
    try:
        return _READERS[name](value)
    except Unenforceable:
        raise Unenforceable(f"{name}: no value that it can have.") from None


def _pointers(value: Any) -> tuple[str, ...]:
    pointers = _list(value, ITEMS_MAX)
    if not all(isinstance(pointer, str) and (pointer == "" or pointer.startswith("/")) for pointer in pointers):
        raise Unenforceable
    return tuple(sorted(set(pointers)))


def _people(value: Any) -> tuple[str, ...]:
    """Names of people, and pointers (they begin with a slash) into args and result that name some."""
    names = _list(value, ITEMS_MAX)
    if not all(isinstance(name, str) and name.strip() and len(name) <= PERSON_MAX for name in names):
        raise Unenforceable
    return tuple(sorted(set(names)))


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise Unenforceable
        return value

    return read


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 3600:
        raise Unenforceable
    return float(value)


def _kinds(value: Any) -> tuple[str, ...]:
    """Names of kinds of personal data; whether there are such, the gateway's configuration says."""
    kinds = _list(value, ITEMS_MAX)
    if not all(isinstance(kind, str) and _KIND.fullmatch(kind) for kind in kinds):
        raise Unenforceable
    return tuple(sorted(set(kinds)))


def _word(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise Unenforceable
    return value


def _role(value: Any) -> Role:
    try:
        return Role(_word(value))
    except ValueError:
        raise Unenforceable from None


def _level(value: Any) -> str:
    if value not in LOG_LEVELS:
        raise Unenforceable
    return str(value)


def _hosts(value: Any) -> tuple[str, ...]:
    """Names and address literals as manifests have them: an answer in another spelling would match nothing, and deny
    by accident what was meant to be allowed."""
    names = _list(value, ITEMS_MAX)
    if not all(isinstance(name, str) and HOST.fullmatch(name) for name in names):
        raise Unenforceable
    return tuple(sorted(set(names)))


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Unenforceable
    return value


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "redact": _pointers,
    "redact_personal": _kinds,
    "redact_request": _kinds,
    "result_max_bytes": _whole(1, 67_108_864),
    "egress_hosts": _hosts,
    "jail_profile": _word,
    "deadline_seconds": _seconds,
    "credential_ttl_seconds": _whole(1, 60),
    "approver_role": _role,
    "quorum": _whole(1, QUORUM_MAX),
    "enrolled_key": _flag,
    "data_subjects": _people,
    "log_level": _level,
}
ENFORCED: Final = frozenset(_READERS)
"""The obligations that this gateway carries out: only such have a reader. A decision with any other is a denial:
``policy.obligation``."""


# --- merging ---------------------------------------------------------------------------------------------------------


def _merge(step: str, spoken: list[_Spoken], digest: str) -> Decision:
    effect = max((one[0] for one in spoken), key=_STRENGTH.__getitem__)
    # Sets come in any order from an engine; the same answer must give the same decision.
    reasons = sorted({(reason.code, reason.message) for one in spoken if one[0] is effect for reason in one[1]})
    against = [one for one in spoken if one[0] is not Effect.ALLOW]
    beaten = sorted({(reason.code, reason.message) for one in against if one[0] is not effect for reason in one[1]})
    otherwise: Obligations | None
    try:
        otherwise = strictest([one[2] for one in spoken])
    except Unenforceable:
        if effect is not Effect.DENY:
            raise
        otherwise = None
    return Decision(
        step,
        effect,
        tuple(DecisionReason(*reason) for reason in reasons),
        digest,
        otherwise if effect is not Effect.DENY and otherwise is not None else _NONE,
        beaten=tuple(DecisionReason(*reason) for reason in beaten),
        unexplained=any(not one[1] for one in against),
        otherwise=otherwise,
    )


def strictest(many: Sequence[Obligations]) -> Obligations:
    """What all of them demand together. Raises :class:`Unenforceable` where that is impossible."""
    asking = [one for one in many if one is not _NONE]
    if len(asking) < 2:
        return asking[0] if asking else _NONE
    merged: dict[str, Any] = {}
    for field in fields(Obligations):
        values = [value for one in asking if (value := getattr(one, field.name)) != field.default]
        if values:
            merged[field.name] = _merged(field.name, values)
    return Obligations(**merged)


def _merged(name: str, values: list[Any]) -> Any:
    try:
        return _MERGERS[name](values)
    except Unenforceable:
        raise Unenforceable(f"{name}: the rules want different ones.") from None


def _union(values: list[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(sorted(set().union(*values)))


def _common(values: list[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(sorted(set(values[0]).intersection(*values[1:])))


def _same(values: list[Any]) -> Any:
    if any(value != values[0] for value in values):
        raise Unenforceable
    return values[0]


_MERGERS: Final[Mapping[str, Callable[[list[Any]], Any]]] = {
    "redact": _union,
    "redact_personal": _union,
    "redact_request": _union,
    "result_max_bytes": min,
    "egress_hosts": _common,
    "jail_profile": _same,
    "deadline_seconds": min,
    "credential_ttl_seconds": min,
    "approver_role": _same,
    "quorum": max,
    "enrolled_key": any,
    "data_subjects": _union,
    "log_level": lambda values: max(values, key=LOG_LEVELS.index),
}
