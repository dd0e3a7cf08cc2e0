"""The blocking client: what :mod:`handrail.operations` and :mod:`handrail.auditing` say, over a connection."""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

import httpx2

from handrail import auditing, operations
from handrail.connection import TIMEOUT_SECONDS, arguments, base_url, reply_of, settings, unreachable
from handrail.downloads import download
from handrail.exchange import Operation, Reply, Request, query_of
from handrail.following import EVENT_MAX_BYTES, RECONNECT_PAUSE_SECONDS, SILENCE_MAX_SECONDS, STREAM_TIMEOUT, Following
from handrail.reports import Watch, watched
from handrail.times import Moment
from handrail.views import Download, Event, Json

P = ParamSpec("P")
Result = TypeVar("Result")


def _sync(build: Callable[P, Operation[Result]]) -> Callable[Concatenate["Client", P], Result]:
    @functools.wraps(build)
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return self.run(build(*args, **kwargs))

    return method


class Client:
    """A blocking connection to one gateway; a context manager, not for use by several threads at once.

    Args:
        url: the gateway's base URL.
        api_key: ``hr_...``, sent as a bearer token to that URL only (redirects are not followed).
        ca_file: authorities (PEM) that the gateway's certificate is verified by, instead of the system's.
        client_cert, client_key: certificate and key (PEM, not encrypted) that the gateway may ask for; the key may
            stand in the certificate's file. Without an API key they say who calls.
        timeout_seconds: for an answer, beside what an operation itself waits for.

    Every method raises :class:`~handrail.errors.HandrailProblem` for the gateway's own refusals,
    :class:`~handrail.errors.Unreachable` and :class:`~handrail.errors.UnexpectedReply`.
    """

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
        self._http = httpx2.Client(**settings(base, api_key, ca_file, client_cert, client_key))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def run(self, operation: Operation[Result]) -> Result:
        """Drive one of :mod:`handrail.operations`."""
        try:
            request = next(operation)
            while True:
                request = operation.send(self._send(request))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]  # a generator's return value is untyped at run time

    def _send(self, request: Request) -> Reply:
        try:
            response = self._http.request(**arguments(request, self._timeout_seconds))
        except (httpx2.TransportError, httpx2.DecodingError) as exc:
            raise unreachable(self._http.base_url, exc) from None
        return reply_of(response).checked(request.also_good)

    submit = _sync(operations.plans.submit)
    plan = _sync(operations.plans.plan)
    why = _sync(operations.plans.why)
    receipt = _sync(operations.plans.receipt)
    receipts = _sync(operations.plans.receipts)
    judge_calls = _sync(operations.calls.judge)
    report_step = _sync(operations.calls.report)
    begin_run = _sync(operations.runs.begin_run)
    runs = _sync(operations.runs.runs)
    run_view = _sync(operations.runs.run)
    cancel_run = _sync(operations.runs.cancel_run)
    approvals = _sync(operations.approvals.approvals)
    approval = _sync(operations.approvals.approval)
    answers = _sync(operations.approvals.answers)
    answer = _sync(operations.approvals.answer)
    answer_signed = _sync(operations.approvals.answer_signed)
    approve = _sync(operations.approvals.approve)
    refuse = _sync(operations.approvals.refuse)
    proposals = _sync(operations.proposals.proposals)
    proposal = _sync(operations.proposals.proposal)
    propose = _sync(operations.proposals.propose)
    activate = _sync(operations.proposals.activate)
    sign_proposal = _sync(operations.proposals.sign_proposal)
    withdraw = _sync(operations.proposals.withdraw)
    me = _sync(operations.gateway.me)
    trust = _sync(operations.gateway.trust)
    principals = _sync(operations.principals.principals)
    add_principal = _sync(operations.principals.add_principal)
    issue_api_key = _sync(operations.principals.issue_api_key)
    revoke_principal = _sync(operations.principals.revoke_principal)
    name_principal = _sync(operations.principals.name_principal)
    offer_enrolment = _sync(operations.principals.offer_enrolment)
    security_keys = _sync(operations.principals.security_keys)
    revoke_security_key = _sync(operations.principals.revoke_security_key)
    links = _sync(operations.principals.links)
    link_subject = _sync(operations.principals.link_subject)
    link_certificate = _sync(operations.principals.link_certificate)
    revoke_link = _sync(operations.principals.revoke_link)
    issuers = _sync(operations.issuers.issuers)
    add_issuer = _sync(operations.issuers.add_issuer)
    revoke_issuer = _sync(operations.issuers.revoke_issuer)
    keys = _sync(operations.keys.keys)
    key_list = _sync(operations.keys.key_list)
    create_key = _sync(operations.keys.create_key)
    key_history = _sync(operations.keys.key_history)
    rotate_key = _sync(operations.keys.rotate_key)
    revoke_key = _sync(operations.keys.revoke_key)
    hands = _sync(operations.hands.hands)
    hand = _sync(operations.hands.hand)
    hand_objectives = _sync(operations.hands.hand_objectives)
    pin_hand = _sync(operations.hands.pin_hand)
    secrets = _sync(operations.secrets.secrets)
    secret = _sync(operations.secrets.secret)
    set_secret = _sync(operations.secrets.set_secret)
    rotate_secret = _sync(operations.secrets.rotate_secret)
    remove_secret = _sync(operations.secrets.remove_secret)
    check_secrets = _sync(operations.secrets.check_secrets)
    connections = _sync(operations.connections.connections)
    connection = _sync(operations.connections.connection)
    remove_connection = _sync(operations.connections.remove_connection)
    connections_of = _sync(operations.connections.connections_of)
    end_connection = _sync(operations.connections.end_connection)
    policy = _sync(operations.policy.policy)
    policy_bundles = _sync(operations.policy.policy_bundles)
    policy_bundle = _sync(operations.policy.policy_bundle)
    policy_bundle_file = _sync(operations.policy.policy_bundle_file)
    add_policy_bundle = _sync(operations.policy.add_policy_bundle)
    policy_remote = _sync(operations.policy.policy_remote)
    pull_policy_remote = _sync(operations.policy.pull_policy_remote)
    rollback_policy = _sync(operations.policy.rollback_policy)
    dead_letters = _sync(operations.dead_letters.dead_letters)
    retry_step = _sync(operations.dead_letters.retry_step)
    discard_step = _sync(operations.dead_letters.discard_step)
    agent_sessions = _sync(operations.managed_agents.agent_sessions)
    agent_session = _sync(operations.managed_agents.agent_session)
    follow_session = _sync(operations.managed_agents.follow_session)
    release_session = _sync(operations.managed_agents.release_session)
    managed_agent = _sync(operations.managed_agents.managed_agent)
    adopt_agent = _sync(operations.managed_agents.adopt_agent)
    freezes = _sync(operations.freezes.freezes)
    freeze = _sync(operations.freezes.freeze)
    policy_rollout = _sync(operations.policy.policy_rollout)
    policy_shadow = _sync(operations.policy.policy_shadow)
    start_policy_shadow = _sync(operations.policy.start_policy_shadow)
    stop_policy_shadow = _sync(operations.policy.stop_policy_shadow)
    policy_canary = _sync(operations.policy.policy_canary)
    evaluations = _sync(operations.policy.evaluations)
    audit_entries = _sync(auditing.audit_entries)
    log_checkpoint = _sync(auditing.log_checkpoint)
    log_tile = _sync(auditing.log_tile)
    log_witnesses = _sync(auditing.log_witnesses)
    privacy_access = _sync(auditing.privacy_access)
    privacy_preview = _sync(auditing.privacy_preview)
    privacy_erase = _sync(auditing.privacy_erase)
    privacy_erasure = _sync(auditing.privacy_erasure)
    privacy_hold = _sync(auditing.privacy_hold)
    privacy_holds = _sync(auditing.privacy_holds)
    privacy_lift = _sync(auditing.privacy_lift)
    controls_report = _sync(auditing.controls_report)
    access_review = _sync(auditing.access_review)
    processing_record = _sync(auditing.processing_record)
    ready = _sync(operations.gateway.ready)

    def follow(self, plan_id: str) -> Iterator[Event]:
        """A plan's events from its start to ``done``, each once, across broken connections (``Last-Event-ID``).

        Raises:
            Unreachable: where the first connection fails, or :data:`handrail.following.RECONNECTS_MAX` in a row bring
                nothing new.
        """
        yield from self._followed("plans", plan_id)

    def follow_run(self, run_id: str) -> Iterator[Event]:
        """The same of a run."""
        yield from self._followed("runs", run_id)

    def _followed(self, kind: str, name: str) -> Iterator[Event]:
        state = Following(kind, name, self._pause_seconds)
        while not state.done:
            try:
                with self._http.stream("GET", state.path, headers=state.headers(), timeout=STREAM_TIMEOUT) as response:
                    if state.refused(response.status_code):
                        response.read()
                        reply_of(response).checked()
                    for message in httpx2.EventSource(response, max_event_size=EVENT_MAX_BYTES):
                        event = state.take(message)
                        if event is not None:
                            yield event
                        if state.done:
                            return
                reason: Exception | None = None
            except (httpx2.TransportError, httpx2.DecodingError) as exc:
                reason = exc
            time.sleep(state.broken(self._http.base_url, reason))

    @contextmanager
    def audit_export(self, **asked: Moment | int | None) -> Iterator[Download]:
        """Take the log out: ``format`` is bundle, ndjson, csv, ocsf or cloudevents; see docs/api.md for the rest.

        What breaks off in the middle raises :class:`~handrail.errors.Unreachable` from the pieces: it is never taken
        for the whole.
        """
        query = query_of(asked)
        silence = SILENCE_MAX_SECONDS + float(query.get("wait", 0))
        timeout = httpx2.Timeout(TIMEOUT_SECONDS, read=silence)
        try:
            with self._http.stream("GET", "/v1/audit/exports", params=query, timeout=timeout) as response:
                if response.status_code != httpx2.codes.OK:
                    response.read()
                    reply_of(response).checked()
                yield download(response, self._http.base_url)
        except (httpx2.TransportError, httpx2.DecodingError) as exc:
            raise unreachable(self._http.base_url, exc) from None

    def controls_report_watched(self, framework: str, watch: Watch, **asked: Moment | int | None) -> Json:
        """:meth:`controls_report`; ``watch`` is told steps done and steps in all, and may end it by raising."""
        query = query_of({"framework": framework, **asked})
        return watched(self._http, "/v1/controls/report", query, watch)

    def processing_record_watched(self, watch: Watch, **asked: Moment | None) -> Json:
        """:meth:`processing_record`, likewise."""
        return watched(self._http, "/v1/controls/processing-record", query_of(asked), watch)
