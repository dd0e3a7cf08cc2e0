"""The client for asyncio: what :mod:`handrail.client` has, awaited."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx2

from handrail import auditing, operations
from handrail.connection import TIMEOUT_SECONDS, arguments, base_url, reply_of, settings, unreachable
from handrail.exchange import Operation, Reply, Request
from handrail.following import EVENT_MAX_BYTES, RECONNECT_PAUSE_SECONDS, STREAM_TIMEOUT, Following
from handrail.views import Event

P = ParamSpec("P")
Result = TypeVar("Result")


def _async(
    build: Callable[P, Operation[Result]],
) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, Result]]:
    @functools.wraps(build)
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return await self.run(build(*args, **kwargs))

    return method


class AsyncClient:
    """:class:`~handrail.client.Client` for asyncio: the same methods, awaited, and iterators that are asynchronous."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        ca_file: Path | None = None,
        client_cert: Path | None = None,
        client_key: Path | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        reconnect_pause_seconds: float = RECONNECT_PAUSE_SECONDS,
    ) -> None:
        base = base_url(url)
        self._timeout_seconds = timeout_seconds
        self._pause_seconds = reconnect_pause_seconds
        self._http = httpx2.AsyncClient(**settings(base, api_key, ca_file, client_cert, client_key))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def run(self, operation: Operation[Result]) -> Result:
        """Drive one of :mod:`handrail.operations`."""
        try:
            request = next(operation)
            while True:
                request = operation.send(await self._send(request))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]  # a generator's return value is untyped at run time

    async def _send(self, request: Request) -> Reply:
        try:
            response = await self._http.request(**arguments(request, self._timeout_seconds))
        except (httpx2.TransportError, httpx2.DecodingError) as exc:
            raise unreachable(self._http.base_url, exc) from None
        return reply_of(response).checked(request.also_good)

    submit = _async(operations.plans.submit)
    plan = _async(operations.plans.plan)
    why = _async(operations.plans.why)
    receipt = _async(operations.plans.receipt)
    receipts = _async(operations.plans.receipts)
    judge_calls = _async(operations.calls.judge)
    report_step = _async(operations.calls.report)
    begin_run = _async(operations.runs.begin_run)
    runs = _async(operations.runs.runs)
    run_view = _async(operations.runs.run)
    cancel_run = _async(operations.runs.cancel_run)
    approvals = _async(operations.approvals.approvals)
    approval = _async(operations.approvals.approval)
    answers = _async(operations.approvals.answers)
    answer = _async(operations.approvals.answer)
    answer_signed = _async(operations.approvals.answer_signed)
    approve = _async(operations.approvals.approve)
    refuse = _async(operations.approvals.refuse)
    proposals = _async(operations.proposals.proposals)
    proposal = _async(operations.proposals.proposal)
    propose = _async(operations.proposals.propose)
    activate = _async(operations.proposals.activate)
    sign_proposal = _async(operations.proposals.sign_proposal)
    withdraw = _async(operations.proposals.withdraw)
    me = _async(operations.gateway.me)
    trust = _async(operations.gateway.trust)
    principals = _async(operations.principals.principals)
    add_principal = _async(operations.principals.add_principal)
    issue_api_key = _async(operations.principals.issue_api_key)
    revoke_principal = _async(operations.principals.revoke_principal)
    name_principal = _async(operations.principals.name_principal)
    offer_enrolment = _async(operations.principals.offer_enrolment)
    security_keys = _async(operations.principals.security_keys)
    revoke_security_key = _async(operations.principals.revoke_security_key)
    links = _async(operations.principals.links)
    link_subject = _async(operations.principals.link_subject)
    link_certificate = _async(operations.principals.link_certificate)
    revoke_link = _async(operations.principals.revoke_link)
    issuers = _async(operations.issuers.issuers)
    add_issuer = _async(operations.issuers.add_issuer)
    revoke_issuer = _async(operations.issuers.revoke_issuer)
    keys = _async(operations.keys.keys)
    key_list = _async(operations.keys.key_list)
    create_key = _async(operations.keys.create_key)
    key_history = _async(operations.keys.key_history)
    rotate_key = _async(operations.keys.rotate_key)
    revoke_key = _async(operations.keys.revoke_key)
    hands = _async(operations.hands.hands)
    hand = _async(operations.hands.hand)
    hand_objectives = _async(operations.hands.hand_objectives)
    pin_hand = _async(operations.hands.pin_hand)
    secrets = _async(operations.secrets.secrets)
    secret = _async(operations.secrets.secret)
    set_secret = _async(operations.secrets.set_secret)
    rotate_secret = _async(operations.secrets.rotate_secret)
    remove_secret = _async(operations.secrets.remove_secret)
    check_secrets = _async(operations.secrets.check_secrets)
    connections = _async(operations.connections.connections)
    connection = _async(operations.connections.connection)
    remove_connection = _async(operations.connections.remove_connection)
    connections_of = _async(operations.connections.connections_of)
    end_connection = _async(operations.connections.end_connection)
    policy = _async(operations.policy.policy)
    policy_bundles = _async(operations.policy.policy_bundles)
    policy_bundle = _async(operations.policy.policy_bundle)
    policy_bundle_file = _async(operations.policy.policy_bundle_file)
    add_policy_bundle = _async(operations.policy.add_policy_bundle)
    policy_remote = _async(operations.policy.policy_remote)
    pull_policy_remote = _async(operations.policy.pull_policy_remote)
    rollback_policy = _async(operations.policy.rollback_policy)
    dead_letters = _async(operations.dead_letters.dead_letters)
    retry_step = _async(operations.dead_letters.retry_step)
    discard_step = _async(operations.dead_letters.discard_step)
    agent_sessions = _async(operations.managed_agents.agent_sessions)
    agent_session = _async(operations.managed_agents.agent_session)
    follow_session = _async(operations.managed_agents.follow_session)
    release_session = _async(operations.managed_agents.release_session)
    managed_agent = _async(operations.managed_agents.managed_agent)
    adopt_agent = _async(operations.managed_agents.adopt_agent)
    freezes = _async(operations.freezes.freezes)
    freeze = _async(operations.freezes.freeze)
    policy_rollout = _async(operations.policy.policy_rollout)
    policy_shadow = _async(operations.policy.policy_shadow)
    start_policy_shadow = _async(operations.policy.start_policy_shadow)
    stop_policy_shadow = _async(operations.policy.stop_policy_shadow)
    policy_canary = _async(operations.policy.policy_canary)
    evaluations = _async(operations.policy.evaluations)
    audit_entries = _async(auditing.audit_entries)
    log_checkpoint = _async(auditing.log_checkpoint)
    log_tile = _async(auditing.log_tile)
    log_witnesses = _async(auditing.log_witnesses)
    privacy_access = _async(auditing.privacy_access)
    privacy_preview = _async(auditing.privacy_preview)
    privacy_erase = _async(auditing.privacy_erase)
    privacy_erasure = _async(auditing.privacy_erasure)
    privacy_hold = _async(auditing.privacy_hold)
    privacy_holds = _async(auditing.privacy_holds)
    privacy_lift = _async(auditing.privacy_lift)
    controls_report = _async(auditing.controls_report)
    access_review = _async(auditing.access_review)
    processing_record = _async(auditing.processing_record)
    ready = _async(operations.gateway.ready)

    async def follow(self, plan_id: str) -> AsyncIterator[Event]:
        """See :meth:`handrail.client.Client.follow`."""
        async for event in self._followed("plans", plan_id):
            yield event

    async def follow_run(self, run_id: str) -> AsyncIterator[Event]:
        """See :meth:`handrail.client.Client.follow_run`."""
        async for event in self._followed("runs", run_id):
            yield event

    async def _followed(self, kind: str, name: str) -> AsyncIterator[Event]:
        state = Following(kind, name, self._pause_seconds)
        while not state.done:
            try:
                async with self._http.stream(
                    "GET", state.path, headers=state.headers(), timeout=STREAM_TIMEOUT
                ) as response:
                    if state.refused(response.status_code):
                        await response.aread()
                        reply_of(response).checked()
                    async for message in httpx2.EventSource(response, max_event_size=EVENT_MAX_BYTES):
                        event = state.take(message)
                        if event is not None:
                            yield event
                        if state.done:
                            return
                reason: Exception | None = None
            except (httpx2.TransportError, httpx2.DecodingError) as exc:
                reason = exc
            await asyncio.sleep(state.broken(self._http.base_url, reason))
