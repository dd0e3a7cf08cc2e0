"""Step 6: a credential good for one exact call, minted just before its intent goes on record, and the secrets that its
hand names, where it is known by now that they go with it."""

import asyncio
from collections.abc import Sequence

from gateway.model import Obligations
from gateway.ports import Credentials, Hands
from gateway.randomness import random_id
from gateway.stages import offer, release
from gateway.state import PlanState, StepState


def mint(
    plan: PlanState, states: Sequence[StepState], credentials: Credentials, *, ttl_max_seconds: int, now: float
) -> None:
    """Give each of ``states`` its credential and ``step_jti``. What the client runs itself has neither.

    Raises:
        Unavailable: ``key.unavailable``; then nothing of this round is recorded or dispatched.
    """
    for state in states:
        if release.by_client(state):
            continue
        if offer.remote(state):
            # Its credential is handed out when a hand claims it (``gateway.remote_steps``): its time begins there.
            state.step_jti = random_id()
            continue
        state.credential, state.step_jti = mint_one(plan, state, credentials, ttl_max_seconds=ttl_max_seconds, now=now)


async def name_secrets(plan: PlanState, states: Sequence[StepState], hands: Hands) -> None:
    """Have the intent of each of ``states`` say which secrets the step is given. One whose answer may be known already
    may be given none."""
    asking = [
        (state, state.manifest)
        for state in states
        if state.credential
        and state.manifest is not None
        and state.manifest.secrets
        and not state.manifest.actions[state.step.action].cacheable
    ]
    if asking:
        named = await asyncio.gather(*(hands.secrets_named(plan.plan.tenant, manifest) for _, manifest in asking))
        for (state, _), facts in zip(asking, named, strict=True):
            state.secrets_named = facts


def mint_one(
    plan: PlanState, state: StepState, credentials: Credentials, *, ttl_max_seconds: int, now: float
) -> tuple[str, str]:
    """A credential of the step that is called from here, and its ``jti``. Raises ``key.unavailable``."""
    duties = state.decision.obligations if state.decision is not None else Obligations()
    ttl = min(ttl_max_seconds, duties.credential_ttl_seconds or ttl_max_seconds)
    binding = state.binding(plan.plan.tenant, plan.plan.plan_id)
    return credentials.mint(plan.plan, state.step.hand, state.step.action, binding, ttl, now)
