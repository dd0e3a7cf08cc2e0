"""Calls that a client is about to make itself, judged before it makes them.

What the ingresses for such clients share: the hooks of coding agents, guards in agents' own loops, and blocks that a
model asks for. Calls that come together are one plan, signed by the connector, on the one way that every plan takes. A
call that waits for a person, and is asked again, is the same step (``gateway.client_steps.collecting``).
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.canonical import canonical
from gateway.client_steps.collecting import Collecting
from gateway.connector import signed_plan
from gateway.errors import Refused, Unavailable
from gateway.ingress import telling
from gateway.model import CONNECTOR_PREFIX, Principal, StepStatus
from gateway.pipeline import Pipeline
from gateway.reasons import Reason

ISSUER: Final = f"{CONNECTOR_PREFIX}client"
DECIDED_WAIT_SECONDS: Final = 10.0
"""How long a plan of calls is waited for where nobody is asked: longer than any policy takes."""
_OPEN: Final = frozenset({"held", "deferred", "running"})


@dataclass(frozen=True, slots=True)
class ClientCall:
    """One call that a client is about to make."""

    hand: str
    action: str
    args: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class JudgedCall:
    """What became of one call. ``step`` is its view in its plan."""

    plan_id: str
    step: Mapping[str, Any]
    go: bool
    """Whether the client may make the call now, this once."""

    @property
    def status(self) -> StepStatus:
        """Of its step."""
        return StepStatus(self.step["status"])

    @property
    def held(self) -> bool:
        """Whether it waits for a person."""
        return self.status is StepStatus.HELD


@dataclass(slots=True)
class ClientCalls:
    """Judges calls for their clients."""

    pipeline: Pipeline
    collecting: Collecting

    async def judge(
        self, caller: Principal, context_id: str, calls: Sequence[ClientCall], *, wait_seconds: float = 0.0
    ) -> list[JudgedCall]:
        """Judge calls that come together; what becomes of each, in their order.

        Args:
            wait_seconds: how long to wait for people where they are asked.

        Raises:
            HandrailError: the calls are refused as a whole, and none may be made.
        """
        for call in calls:
            manifest = self.pipeline.hands.manifest(caller.tenant, call.hand)
            if manifest is not None and not manifest.client:
                raise Refused(Reason.SCHEMA_UNKNOWN_HAND, f"{call.hand} is not run by its client")
        deadline = time.monotonic() + wait_seconds
        steps = await self._steps(caller, context_id, calls)
        judged = []
        for call, (plan_id, step_id) in zip(calls, steps, strict=True):
            found = await self._ended(caller, plan_id, step_id, deadline)
            if found.status is StepStatus.RELEASED and not found.go:
                # Approved, and somebody went ahead before, or it counts no more: it is a new call.
                again, step = await self._submit(caller, context_id, [call])
                found = await self._ended(caller, again, step[0], deadline)
            judged.append(found)
        return judged

    async def _steps(self, caller: Principal, context_id: str, calls: Sequence[ClientCall]) -> list[tuple[str, str]]:
        """Plan and step of each call: of an earlier plan where people were asked about the same, else of a new one."""
        taken: set[tuple[str, str]] = set()
        known: dict[int, tuple[str, str]] = {}
        for number, call in enumerate(calls):
            args = canonical(dict(call.args))
            found = await self.collecting.find(caller, context_id, call.hand, call.action, args, taken)
            if found is not None:
                known[number] = (found.plan_id, found.step_id)
                taken.add(known[number])
        new = [number for number in range(len(calls)) if number not in known]
        if new:
            plan_id, names = await self._submit(caller, context_id, [calls[number] for number in new])
            known |= {number: (plan_id, name) for number, name in zip(new, names, strict=True)}
        return [known[number] for number in range(len(calls))]

    async def _submit(self, caller: Principal, context_id: str, calls: Sequence[ClientCall]) -> tuple[str, list[str]]:
        """Sign the plan and send it on its way, which a client that hangs up does not interrupt."""
        pipeline = self.pipeline
        names = [f"c{number}" for number in range(len(calls))]
        actions = [
            {"id": name, "hand": call.hand, "action": call.action, "args": dict(call.args)}
            for name, call in zip(names, calls, strict=True)
        ]
        plan = signed_plan(
            ISSUER, pipeline.signer, pipeline.settings, caller, context_id, actions, now=pipeline.clock()
        )
        task = asyncio.ensure_future(pipeline.submit(plan, wait_seconds=DECIDED_WAIT_SECONDS))
        view = await asyncio.shield(task)
        return view["plan_id"], names

    async def _ended(self, caller: Principal, plan_id: str, step_id: str, deadline: float) -> JudgedCall:
        """The step as it stands once nobody is waited for any more, and collected where a person let it go."""
        step = await self._step(caller, plan_id, step_id)
        left = deadline - time.monotonic()
        if step["status"] in _OPEN and left > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    async for _, kind, shown in self.pipeline.events(plan_id, caller):
                        if kind == "step" and shown["id"] == step_id and shown["status"] not in _OPEN:
                            break
            step = await self._step(caller, plan_id, step_id)
        released = step["status"] == StepStatus.RELEASED
        asked = "approval_id" in step
        go = released and (not asked or await self.collecting.collect(caller, plan_id, step_id))
        return JudgedCall(plan_id, step, go)

    async def _step(self, caller: Principal, plan_id: str, step_id: str) -> Mapping[str, Any]:
        view = await self.pipeline.view(plan_id, caller)
        for step in view["steps"]:
            if step["id"] == step_id:
                found: Mapping[str, Any] = step
                return found
        raise Unavailable(Reason.INTERNAL, "a plan without its step")


def told(call: JudgedCall, public_url: str) -> str:
    """What a model is told of a call that it may not make: why, and what it can do. No more than the plan API says."""
    if call.held:
        approval = call.step["approval_id"]
        lines = [
            f"Waiting for a person: approval {approval} at {telling.page(public_url, approval)}.",
            *telling.reasons(call.step),
            "This call was not made. Once it is approved, the same call again passes once.",
        ]
        return "\n".join(lines)
    return "\n".join([*telling.causes(call.step), "This call was not made."])
