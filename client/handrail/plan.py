"""Build a plan and sign it."""

import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from handrail import jws
from handrail.errors import MalformedError, PlanError
from handrail.keys import SigningKey
from handrail.strict import canonical, parse

LIFETIME_MAX_SECONDS: Final = 300
"""A gateway refuses plans that ask to live longer."""

_CONTEXT_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_STEP_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_POINTER: Final = re.compile(r"(/([^~/]|~[01])*)*")
_ACTION_MEMBERS: Final = frozenset({"id", "hand", "action", "args", "depends_on", "idempotency_key", "data_subjects"})
_PLAN_MEMBERS: Final = frozenset({"context_id", "request", "purpose", "seq", "actions"})


@dataclass(frozen=True, slots=True)
class StepHandle:
    """A step of a plan under construction; refer to its result with :meth:`result`."""

    id: str

    def result(self, pointer: str = "") -> dict[str, str]:
        """``{"$step": ID, "pointer": RFC 6901}``: a place in this step's result ``{content, structured}``.

        Raises:
            PlanError: where ``pointer`` is no JSON pointer.
        """
        if not _POINTER.fullmatch(pointer):
            raise PlanError(f"not a JSON pointer (RFC 6901): {pointer!r}")
        return {"$step": self.id, "pointer": pointer}


class Plan:
    """Steps in the order they were added. A reference to a result adds the dependency that it needs.

    Attributes:
        context_id: the user journey this plan belongs to; a random one where none is given.
        request: the user's own words.
        purpose: why, for policies.
        seq: the issuer's own counter.
    """

    def __init__(
        self,
        context_id: str | None = None,
        *,
        request: str | None = None,
        purpose: str | None = None,
        seq: int | None = None,
    ) -> None:
        self.context_id = context_id if context_id is not None else secrets.token_hex(16)
        if not isinstance(self.context_id, str) or not _CONTEXT_ID.fullmatch(self.context_id):
            raise PlanError("context_id must be 1 to 128 characters of A-Z a-z 0-9 . _ : -")
        self.request = request
        self.purpose = purpose
        self.seq = seq
        self._actions: dict[str, dict[str, Any]] = {}

    def step(
        self,
        hand: str,
        action: str,
        args: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,  # noqa: A002 - the wire's own word for it
        depends_on: Sequence[StepHandle | str] = (),
        idempotency_key: str | None = None,
        data_subjects: Sequence[str] = (),
    ) -> StepHandle:
        """Add one action on one hand and return a handle to refer to it.

        Raises:
            PlanError: for an id that is taken or malformed, a dependency that was not added before, or args that are
                not JSON.
        """
        step_id = id if id is not None else f"s{len(self._actions) + 1}"
        if not isinstance(step_id, str) or not _STEP_ID.fullmatch(step_id):
            raise PlanError("a step id must be 1 to 64 characters of A-Z a-z 0-9 _ . -")
        if step_id in self._actions:
            raise PlanError(f"step {step_id}: the id is taken")
        try:
            own_args = parse(canonical(dict(args or {})))
        except (MalformedError, TypeError, ValueError) as exc:
            raise PlanError(f"step {step_id}: args: {exc}") from None
        wanted = [item.id if isinstance(item, StepHandle) else item for item in depends_on]
        wanted.extend(name for name in references(own_args) if name not in wanted)
        for name in wanted:
            if name not in self._actions:
                raise PlanError(f"step {step_id}: depends on {name!r}, which is not an earlier step of this plan")
        entry: dict[str, Any] = {
            "id": step_id,
            "hand": hand,
            "action": action,
            "args": own_args,
            "depends_on": list(dict.fromkeys(wanted)),
        }
        if idempotency_key is not None:
            entry["idempotency_key"] = idempotency_key
        if data_subjects:
            entry["data_subjects"] = list(data_subjects)
        self._actions[step_id] = entry
        return StepHandle(step_id)

    def document(self) -> dict[str, Any]:
        """``{context_id, request?, purpose?, seq?, actions[]}``: the unsigned part of the payload.

        Raises:
            PlanError: where no step was added.
        """
        if not self._actions:
            raise PlanError("a plan needs at least one step")
        optional = {"request": self.request, "purpose": self.purpose, "seq": self.seq}
        present = {name: value for name, value in optional.items() if value is not None}
        return {"context_id": self.context_id, **present, "actions": list(self._actions.values())}

    @classmethod
    def from_document(cls, document: Any) -> "Plan":
        """Read :meth:`document` back; ``context_id`` and step ids may be left out. Steps may come in any order.

        Raises:
            PlanError: naming the step and what is wrong.
        """
        if not isinstance(document, dict) or not isinstance(document.get("actions"), list):
            raise PlanError('a plan is a JSON object with a list "actions"')
        _refuse_unknown("plan", document, _PLAN_MEMBERS)
        plan = cls(
            document.get("context_id"),
            request=document.get("request"),
            purpose=document.get("purpose"),
            seq=document.get("seq"),
        )
        waiting: list[dict[str, Any]] = []
        for number, action in enumerate(document["actions"], start=1):
            if not isinstance(action, dict):
                raise PlanError(f"action {number}: not a JSON object")
            _refuse_unknown(f"action {number}", action, _ACTION_MEMBERS)
            if not isinstance(action.get("hand"), str) or not isinstance(action.get("action"), str):
                raise PlanError(f'action {number}: needs the texts "hand" and "action"')
            if not isinstance(action.get("args", {}), dict) or not isinstance(action.get("depends_on", []), list):
                raise PlanError(f'action {number}: "args" must be an object and "depends_on" a list')
            if not isinstance(action.get("id", ""), str):
                raise PlanError(f'action {number}: "id" must be a text')
            waiting.append({"id": f"s{number}", **action})
        order = [action["id"] for action in waiting]
        known = set(order)
        while waiting:
            ready = [action for action in waiting if not ((_needs(action) & known) - set(plan._actions))]
            if not ready:
                raise PlanError("the steps depend on each other in a circle")
            for action in ready:
                plan.step(
                    action["hand"],
                    action["action"],
                    action.get("args", {}),
                    id=action["id"],
                    depends_on=action.get("depends_on", []),
                    idempotency_key=action.get("idempotency_key"),
                    data_subjects=action.get("data_subjects", []),
                )
            waiting = [action for action in waiting if action["id"] not in plan._actions]
        plan._actions = {step_id: plan._actions[step_id] for step_id in order}
        return plan


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs plans as one issuer for one gateway.

    Attributes:
        issuer: the issuer id registered with the gateway.
        audience: the gateway's log origin.
        subject: the principal that the plan acts for.
    """

    issuer: str
    key: SigningKey
    audience: str
    tenant: str
    subject: str

    def sign(self, plan: Plan, *, lifetime_seconds: int = LIFETIME_MAX_SECONDS, now: float | None = None) -> str:
        """A compact JWS (``typ: plan+jws``) with fresh ``jti`` and ``nonce``; sign anew rather than send twice.

        Args:
            lifetime_seconds: how long a gateway may accept it, 1 to 300.
            now: seconds since the epoch; the clock where ``None``.

        Raises:
            PlanError: for a lifetime out of range or an empty plan.
        """
        if not 1 <= lifetime_seconds <= LIFETIME_MAX_SECONDS:
            raise PlanError(f"a plan lives 1 to {LIFETIME_MAX_SECONDS} seconds")
        issued = int(time.time() if now is None else now)
        payload = {
            "v": 1,
            "iss": self.issuer,
            "sub": self.subject,
            "aud": self.audience,
            "tenant": self.tenant,
            "jti": secrets.token_hex(16),
            "nonce": secrets.token_hex(16),
            "iat": issued,
            "exp": issued + lifetime_seconds,
            **plan.document(),
        }
        return jws.sign("plan+jws", payload, self.key)


def references(value: Any) -> list[str]:
    """Ids of the steps that ``value`` refers to with exactly ``{"$step", "pointer"}``, in order, without repeats."""
    found: dict[str, None] = {}
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if set(item) == {"$step", "pointer"}:
                if isinstance(item["$step"], str):
                    found[item["$step"]] = None
            else:
                pending.extend(reversed(item.values()))
        elif isinstance(item, list):
            pending.extend(reversed(item))
    return list(found)


def _needs(action: Mapping[str, Any]) -> set[str]:
    named = {name for name in action.get("depends_on", []) if isinstance(name, str)}
    return named | set(references(action.get("args", {})))


def _refuse_unknown(where: str, document: Mapping[str, Any], members: frozenset[str]) -> None:
    unknown = sorted(set(document) - members)
    if unknown:
        raise PlanError(f"{where}: unknown member {unknown[0]!r}")
