"""Calls that a client is about to make itself, judged before it makes them.

What the ingresses for such clients share: the hooks of coding agents, guards in agents' own loops, and blocks that a
model asks for. Calls that come together are one plan, signed by the connector, on the one way that every plan takes. A
call that waits for a person, and is asked again, is the same step (``gateway.client_steps.collecting``).
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.client_steps.collecting import Call, Collecting
from gateway.connector import signed_plan
from gateway.errors import Refused
from gateway.ingress import telling
from gateway.ingress.resting import rested, step_of
from gateway.model import CONNECTOR_PREFIX, Principal, StepStatus
from gateway.pipeline import Pipeline
from gateway.reasons import Reason

ISSUER: Final = f"{CONNECTOR_PREFIX}client"
DECIDED_WAIT_SECONDS: Final = 30.0
"""How long a plan of calls is waited for where nobody is asked: longer than any policy takes."""


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
        self,
        caller: Principal,
        context_id: str,
        calls: Sequence[Call],
        *,
        issuer: str = ISSUER,
        wait_seconds: float = 0.0,
        anywhere: bool = False,
    ) -> list[JudgedCall]:
        """Judge calls that come together; what becomes of each, in their order.

        Args:
            issuer: the connector that signs their plan.
            wait_seconds: how long to wait for people where they are asked.
            anywhere: whether what people were asked in another context of the caller's counts, for it names none.

        Raises:
            HandrailError: the calls are refused as a whole, and none may be made.
        """
        for call in calls:
            manifest = self.pipeline.hands.manifest(caller.tenant, call.hand)
            if manifest is not None and not manifest.client:
                raise Refused(Reason.SCHEMA_UNKNOWN_HAND, f"{call.hand} is not run by its client")
        deadline = time.monotonic() + wait_seconds
        known: dict[int, tuple[str, str]] = {}
        for number, call in enumerate(calls):
            asked = await self.collecting.find(caller, None if anywhere else context_id, call, known.values())
            if asked is not None:
                known[number] = asked.plan_id, asked.step_id
        new = [number for number in range(len(calls)) if number not in known]
        places = known | dict(
            zip(new, await self._submit(issuer, caller, context_id, [calls[one] for one in new]), strict=True)
        )
        # Nothing is collected while people are waited for: whoever leaves meanwhile has used up nothing.
        steps = [await self._rested(caller, *places[number], deadline) for number in range(len(calls))]
        judged = []
        tried = set(known.values())
        for number, call in enumerate(calls):
            found = await self._collected(caller, call, places[number][0], steps[number])
            while found.status is StepStatus.RELEASED and not found.go:
                # Approved, and somebody went ahead before, or it counts no more: another approval counts, or it is a
                # new call.
                asked = await self.collecting.find(caller, None if anywhere else context_id, call, tried)
                if asked is None:
                    [place] = await self._submit(issuer, caller, context_id, [call])
                else:
                    place = asked.plan_id, asked.step_id
                    tried.add(place)
                found = await self._collected(caller, call, place[0], await self._rested(caller, *place, 0.0))
                if asked is None:
                    break
            judged.append(found)
        return judged

    async def _submit(
        self, issuer: str, caller: Principal, context_id: str, calls: Sequence[Call]
    ) -> list[tuple[str, str]]:
        """Plan and step of each call, of one new plan, sent on its way, which a client that hangs up does not
        interrupt."""
        if not calls:
            return []
        pipeline = self.pipeline
        names = [call.id or f"c{number}" for number, call in enumerate(calls)]
        actions = [
            {"id": name, "hand": call.hand, "action": call.action, "args": dict(call.args)}
            for name, call in zip(names, calls, strict=True)
        ]
        plan = signed_plan(
            issuer, pipeline.signer, pipeline.settings, caller, context_id, actions, now=pipeline.clock()
        )
        view = await asyncio.shield(pipeline.submit(plan, wait_seconds=DECIDED_WAIT_SECONDS))
        return [(view["plan_id"], name) for name in names]

    async def _rested(self, caller: Principal, plan_id: str, step_id: str, deadline: float) -> Mapping[str, Any]:
        """The step as it stands once nobody is waited for any more."""
        view = await self.pipeline.view(plan_id, caller)
        return step_of(await rested(self.pipeline, view, step_id, caller, deadline - time.monotonic()), step_id)

    async def _collected(self, caller: Principal, call: Call, plan_id: str, step: Mapping[str, Any]) -> JudgedCall:
        """What became of a call: collected, where a person let it go."""
        released, asked = step["status"] == StepStatus.RELEASED, "approval_id" in step
        go = released and (not asked or await self.collecting.collect(caller, plan_id, step["id"], call_id=call.id))
        return JudgedCall(plan_id, step, go)


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
