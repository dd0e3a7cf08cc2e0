"""Everything that can be asked of a gateway, described once, without I/O.

An operation is a generator: it yields a :class:`~handrail.exchange.Request`, is sent the
:class:`~handrail.exchange.Reply`, as often as it needs, and returns its result. :mod:`handrail.client` drives the same
generators over a blocking and over an asynchronous connection.
"""

import json
from collections.abc import Sequence
from typing import Literal, cast

from handrail.approvals import sign_answer
from handrail.errors import UnexpectedReply
from handrail.exchange import Operation, Request, delete, document_if_any, get, listed, path_of, post, text_of
from handrail.keys import SigningKey, VerifyKey
from handrail.proposals import check_proposal, check_request, new_binding, sign_act
from handrail.times import Moment, asked_time
from handrail.views import ApprovalPage, ApprovalView, Json, PlanView, ReceiptFile

# --- plans -----------------------------------------------------------------------------------------------------------


def submit(jws: str, *, wait: float | None = None) -> Operation[PlanView]:
    """Submit a signed plan; wait up to ``wait`` seconds for it to be done.

    Sent once: a connection that breaks is never retried here, because the gateway may have the plan already.
    """
    query = {} if wait is None else {"wait": f"{wait:g}"}
    reply = yield Request("POST", "/v1/plans", query, jws.encode(), "application/jose", wait_seconds=wait or 0.0)
    return cast("PlanView", reply.document)


def plan(plan_id: str) -> Operation[PlanView]:
    """A plan and its steps as they stand."""
    return cast("PlanView", (yield get("plans", plan_id)).document)


def why(plan_id: str, step_id: str) -> Operation[Json]:
    """Each rule that spoke on a step, with file and line, and the input it saw."""
    return (yield get("plans", plan_id, "steps", step_id, "why")).document


def receipt(receipt_id: str) -> Operation[ReceiptFile]:
    """A receipt with its proof: one file that verifies offline."""
    bundle = (yield get("receipts", receipt_id)).document
    bundle["proof"] = (yield get("receipts", receipt_id, "proof")).text
    return cast("ReceiptFile", bundle)


def receipts(plan_id: str) -> Operation[list[ReceiptFile]]:
    """The receipts of every step of a plan that has one."""
    view = yield from plan(plan_id)
    found = []
    for step in view["steps"]:
        receipt_id = step.get("receipt_id")
        if receipt_id is not None:
            found.append((yield from receipt(receipt_id)))
    return found


# --- approvals -------------------------------------------------------------------------------------------------------


def approvals(
    *, status: str | None = None, after: str | None = None, limit: int | None = None
) -> Operation[ApprovalPage]:
    """A page of the approval requests that the caller may see, newest first.

    Args:
        status: ``"open"`` for those that wait.
        after: ``next`` of the page before.
        limit: requests on the page; the gateway's own choice where ``None``.
    """
    asked = {"status": status, "after": after, "limit": limit}
    reply = yield get("approvals", query={name: str(value) for name, value in asked.items() if value is not None})
    listed(reply, "approvals")
    return cast("ApprovalPage", reply.document)


def approval(approval_id: str) -> Operation[ApprovalView]:
    """One approval request."""
    return cast("ApprovalView", (yield get("approvals", approval_id)).document)


def answers(approval_id: str) -> Operation[list[Json]]:
    """The recorded answers to a request, each as a file that :func:`handrail.verify_answer` verifies offline."""
    return listed((yield get("approvals", approval_id, "answers")), "answers")


def answer(
    request: ApprovalView | str,
    given: Literal["approve", "refuse"],
    key: SigningKey | None = None,
    *,
    approver: str | None = None,
    audience: str | None = None,
) -> Operation[ApprovalView]:
    """Answer an approval request; with ``key`` the answer is signed over exactly the request passed in.

    Args:
        request: the request that the person saw, or its id to fetch it now.
        key: the approver's enrolled key; without it the gateway attests the answer, which policy may refuse.
        approver: the approver's principal id; asked of the gateway where ``None``.
        audience: the log's origin; asked of the gateway where ``None``.

    Raises:
        ApprovalMismatchError: where the call shown is not the one bound; nothing is signed or sent.
    """
    if key is None:
        if isinstance(request, str):
            request = yield from approval(request)
        approval_id, asked = request["id"], request.get("asked", 1)
        body = json.dumps({"answer": given} if asked == 1 else {"answer": given, "asked": asked}).encode()
        reply = yield Request("POST", path_of("approvals", approval_id), body=body, media_type="application/json")
        return cast("ApprovalView", reply.document)
    shown = (yield from approval(request)) if isinstance(request, str) else request
    own_id = approver if approver is not None else text_of((yield from me()), "id")
    origin = audience if audience is not None else text_of((yield from trust()), "origin")
    signed = sign_answer(cast("Json", shown), given, key=key, approver=own_id, audience=origin)
    return (yield from answer_signed(shown["id"], signed))


def answer_signed(approval_id: str, signed: str) -> Operation[ApprovalView]:
    """Send an ``approval+jws`` that was signed elsewhere (:func:`handrail.sign_answer`)."""
    path = path_of("approvals", approval_id)
    reply = yield Request("POST", path, body=signed.encode(), media_type="application/jose")
    return cast("ApprovalView", reply.document)


def approve(
    request: ApprovalView | str,
    key: SigningKey | None = None,
    *,
    approver: str | None = None,
    audience: str | None = None,
) -> Operation[ApprovalView]:
    """:func:`answer` with ``approve``."""
    return (yield from answer(request, "approve", key, approver=approver, audience=audience))


def refuse(
    request: ApprovalView | str,
    key: SigningKey | None = None,
    *,
    approver: str | None = None,
    audience: str | None = None,
) -> Operation[ApprovalView]:
    """:func:`answer` with ``refuse``."""
    return (yield from answer(request, "refuse", key, approver=approver, audience=audience))


# --- changes that take two people ------------------------------------------------------------------------------------


def proposals(
    *, status: str | None = None, kind: str | None = None, after: str | None = None, limit: int | None = None
) -> Operation[Json]:
    """A page of proposals, newest first: ``{proposals, next}``."""
    reply = yield get("proposals", query={"status": status, "kind": kind, "after": after, "limit": limit})
    listed(reply, "proposals")
    return reply.document


def proposal(proposal_id: str) -> Operation[Json]:
    """One proposal with its exact document."""
    return (yield get("proposals", proposal_id)).document


def propose(kind: str, document: Json, *, subject: str, key: SigningKey | None = None) -> Operation[Json]:
    """Propose a change; nothing changes before somebody else activates it.

    Args:
        subject: what the document is about (a bundle's digest, a hand's id); signed with it.
        key: the caller's enrolled key; whoever has one must sign.
    """
    body: Json = {"kind": kind, "document": document}
    if key is not None:
        caller = yield from me()
        binding = new_binding(kind, text_of(caller, "tenant"), subject, document)
        body["act"] = sign_act(
            "propose", binding, key=key, by=text_of(caller, "id"), audience=text_of((yield from trust()), "origin")
        )
    return (yield post(body, "proposals")).document


def activate(shown: Json | str, key: SigningKey | None = None) -> Operation[Json]:
    """Activate what somebody else proposed: exactly the proposal passed in, or the one with that id as it is now.

    Raises:
        ApprovalMismatchError: where the document shown is not the one bound; nothing is signed or sent.
    """
    document = (yield from proposal(shown)) if isinstance(shown, str) else shown
    binding = check_proposal(document)
    body: Json = {"document_sha256": binding["document_sha256"]}
    if key is not None:
        by, audience = text_of((yield from me()), "id"), text_of((yield from trust()), "origin")
        body["act"] = sign_act("activate", binding, key=key, by=by, audience=audience)
    return (yield post(body, "proposals", binding["id"], "activate")).document


def sign_proposal(shown: Json | str, key: SigningKey | None = None) -> Operation[Json]:
    """Agree to a change of trust: exactly the proposal passed in, or the one with that id as it is now. With enough
    signatures it takes effect.

    Raises:
        ApprovalMismatchError: where the document or the request shown is not the one bound; nothing is signed or sent.
    """
    document = (yield from proposal(shown)) if isinstance(shown, str) else shown
    binding = check_proposal(document)
    check_request(document)
    body: Json = {"document_sha256": binding["document_sha256"]}
    if key is not None:
        by, audience = text_of((yield from me()), "id"), text_of((yield from trust()), "origin")
        body["act"] = sign_act("sign", binding, key=key, by=by, audience=audience)
    return (yield post(body, "proposals", binding["id"], "sign")).document


def withdraw(proposal_id: str) -> Operation[Json]:
    """Take a proposal back, or end what is in force."""
    return (yield post(None, "proposals", proposal_id, "withdraw")).document


# --- callers, keys, hands, policy ------------------------------------------------------------------------------------


def me() -> Operation[Json]:
    """The calling principal: ``{id, tenant, roles, hands, approval_kid}``."""
    return (yield get("me")).document


def trust() -> Operation[Json]:
    """The trust document that offline verification takes. Keep one that you got over a trusted channel."""
    return (yield get("trust")).document


def principals() -> Operation[list[Json]]:
    """Every principal of the tenant."""
    return listed((yield get("principals")), "principals")


def add_principal(
    principal_id: str,
    roles: Sequence[str],
    *,
    hands: Sequence[str] | None = None,
    approval_key: VerifyKey | None = None,
    ttl_days: int | None = None,
    own_key: str | None = None,
) -> Operation[Json]:
    """Add a principal. The token in the answer is shown this once; a proposal in its place (it has a ``status``) waits
    for signatures.

    Args:
        own_key: public part of an API key that the principal made (``handrail keys api``).
    """
    body: Json = {"id": principal_id, "roles": list(roles)}
    if hands is not None:
        body["hands"] = list(hands)
    if approval_key is not None:
        body["approval_jwk"] = approval_key.public_jwk()
    if ttl_days is not None:
        body["ttl_days"] = ttl_days
    if own_key is not None:
        body["api_key"] = own_key
    return (yield post(body, "principals")).document


def issue_api_key(principal_id: str, *, ttl_days: int | None = None, own_key: str | None = None) -> Operation[Json]:
    """Give a principal another API key; see :func:`add_principal`."""
    asked = {"ttl_days": ttl_days, "api_key": own_key}
    body: Json = {name: value for name, value in asked.items() if value is not None}
    return (yield post(body, "principals", principal_id, "keys")).document


def revoke_principal(principal_id: str) -> Operation[Json]:
    """Revoke a principal and all its API keys; a proposal where too few security admins would be left."""
    return document_if_any((yield delete("principals", principal_id)))


def offer_enrolment(principal_id: str) -> Operation[Json]:
    """A ticket with which an approver enrols one security key at the gateway's page; it is shown this once."""
    return (yield Request("POST", path_of("principals", principal_id, "enrolments"))).document


def security_keys(principal_id: str) -> Operation[list[Json]]:
    """A principal's security keys that are not revoked: ``{kid, jwk, rp_id, sign_count}``."""
    return listed((yield get("principals", principal_id, "security-keys")), "security_keys")


def revoke_security_key(principal_id: str, kid: str) -> Operation[Json]:
    """Revoke one security key of a principal."""
    return document_if_any((yield delete("principals", principal_id, "security-keys", kid)))


def name_principal(pseudonym: str, principal_id: str) -> Operation[Json]:
    """Give an id to a principal that is known by its pseudonym alone, after a restore without its epoch keys."""
    return (yield post({"id": principal_id}, "principals", pseudonym, "name")).document


def links(principal_id: str) -> Operation[list[Json]]:
    """A principal's links to identities elsewhere: ``{id, kind, source, subject, expires_at, created_at,
    revoked_at}``."""
    return listed((yield get("principals", principal_id, "links")), "links")


def link_subject(principal_id: str, issuer: str, subject: str) -> Operation[Json]:
    """Let access tokens of a subject of an issuer, by the issuer's name at the gateway, call as a principal."""
    return (yield post({"issuer": issuer, "subject": subject}, "principals", principal_id, "links")).document


def link_certificate(
    principal_id: str,
    certificate: str | None = None,
    *,
    kind: str | None = None,
    value: str | None = None,
) -> Operation[Json]:
    """Let whoever holds a certificate call as a principal: one in PEM, or any that has a name in it.

    Args:
        kind: of the name: ``uri``, ``dns``, ``email`` or ``subject``.
    """
    offered = {"certificate": certificate, "kind": kind, "value": value}
    body = {name: item for name, item in offered.items() if item is not None}
    return (yield post(body, "principals", principal_id, "certificates")).document


def revoke_link(principal_id: str, link_id: str) -> Operation[Json]:
    """Revoke a link of a principal, for ever."""
    return (yield delete("principals", principal_id, "links", link_id)).document


def issuers() -> Operation[list[Json]]:
    """Every issuer of the tenant."""
    return listed((yield get("issuers")), "issuers")


def add_issuer(
    issuer_id: str, key: VerifyKey, *, speaks_for: Sequence[str] = (), attests_request: bool = False
) -> Operation[Json]:
    """Register an issuer, or add a key to one that exists."""
    body: Json = {"id": issuer_id, "jwk": key.public_jwk()}
    if speaks_for:
        body["speaks_for"] = list(speaks_for)
    if attests_request:
        body["attests_request"] = True
    return (yield post(body, "issuers")).document


def revoke_issuer(issuer_id: str) -> Operation[Json]:
    """Revoke an issuer and all its keys."""
    return document_if_any((yield delete("issuers", issuer_id)))


def keys() -> Operation[list[Json]]:
    """The gateway's own keys and their states."""
    return listed((yield get("keys")), "keys")


def key_list() -> Operation[Json]:
    """The same with the epochs, and the gateway's time: ``{keys, epochs, now}``."""
    return (yield get("keys")).document


def create_key(purpose: str) -> Operation[Json]:
    """Make a further next key of ``purpose``."""
    return (yield post({"purpose": purpose}, "keys")).document


def key_history() -> Operation[str]:
    """The signed history of the gateway's keys; read it with :func:`handrail.history.read_history`."""
    return text_of((yield get("keys", "history")).document, "history")


def rotate_key(purpose: str) -> Operation[Json]:
    """Make the next key of ``purpose`` the active one; ``epoch`` is the key above all data keys."""
    return document_if_any((yield post(None, "keys", purpose, "rotate")))


def revoke_key(kid: str, compromised_at: Moment | None = None) -> Operation[Json]:
    """Revoke one of the gateway's keys: nothing signed by it is believed from then on.

    Args:
        compromised_at: since when it may be in wrong hands: what it signed about entries of the log that a checkpoint
            covered before goes on being believed.
    """
    body = None if compromised_at is None else {"compromised_at": asked_time(compromised_at)}
    return document_if_any((yield post(body, "keys", kid, "revoke")))


def hands() -> Operation[list[Json]]:
    """The hands, their states and actions."""
    return listed((yield get("hands")), "hands")


def hand(hand_id: str) -> Operation[Json]:
    """One hand, with the difference between what is pinned and what is offered."""
    return (yield get("hands", hand_id)).document


def pin_hand(hand_id: str, digest: str) -> Operation[Json]:
    """Pin exactly the manifest with that digest."""
    return document_if_any((yield post({"digest": digest}, "hands", hand_id, "pin")))


def secrets() -> Operation[list[Json]]:
    """Secrets of the tenant and the hands that name them, without values."""
    return listed((yield get("secrets")), "secrets")


def secret(name: str) -> Operation[Json]:
    """A sealed secret, without its value."""
    return (yield get("secrets", name)).document


def set_secret(name: str, value: str) -> Operation[Json]:
    """Keep a new secret."""
    return (yield post({"name": name, "value": value}, "secrets")).document


def rotate_secret(name: str, value: str) -> Operation[Json]:
    """Give a secret a new value."""
    return (yield post({"value": value}, "secrets", name, "rotate")).document


def remove_secret(name: str) -> Operation[Json]:
    """Forget a secret."""
    return (yield delete("secrets", name)).document


def check_secrets() -> Operation[list[Json]]:
    """Whether each secret that hands name could be used now."""
    return listed((yield post({}, "secrets", "check")), "checks")


def connections() -> Operation[list[Json]]:
    """Services at which tools may act as the caller, and whether the caller has connected them."""
    return listed((yield get("connections")), "connections")


def connection(connection_id: str) -> Operation[Json]:
    """One of them; ``page`` is where the caller consents, in a browser."""
    return (yield get("connections", connection_id)).document


def remove_connection(connection_id: str) -> Operation[Json]:
    """Take a consent back; ``revoked`` says whether the service revoked the tokens."""
    return (yield delete("connections", connection_id)).document


def policy() -> Operation[Json]:
    """The active policy bundle: ``{engine, digest, files, loaded_at, problem?}``."""
    return (yield get("policy")).document


def policy_rollout() -> Operation[Json]:
    """What of the policy is being brought in: ``{observed: [{hand, proposal, since, until, let_go}]}``."""
    return (yield get("policy", "rollout")).document


def freezes(*, lifted: bool = False) -> Operation[list[Json]]:
    """What is frozen, oldest first; with ``lifted`` also what was."""
    return listed((yield get("freezes", query={"lifted": "true"} if lifted else None)), "freezes")


def freeze(scope: str, subject: str | None = None, *, cause: str = "other", why: str | None = None) -> Operation[Json]:
    """Stop a hand, a principal, a context (``subject``: its id) or ``all``, at once."""
    body = {"scope": scope, "subject": subject, "cause": cause, "why": why}
    return (yield post({name: value for name, value in body.items() if value is not None}, "freezes")).document


def policy_shadow() -> Operation[Json]:
    """The newest shadow and what it counted, over all gateways: ``{shadow, gateways, comparison}``."""
    return (yield get("policy", "shadow")).document


def start_policy_shadow(digest: str, *, lasts_seconds: int) -> Operation[Json]:
    """Have a bundle that was brought judge beside the one that decides, without effect."""
    return (yield post({"digest": digest, "lasts_seconds": lasts_seconds}, "policy", "shadow")).document


def stop_policy_shadow() -> Operation[Json]:
    """End the shadow; what it counted stays."""
    return (yield delete("policy", "shadow")).document


def policy_canary() -> Operation[Json]:
    """The canary in force, or the last one, and what came of it: ``{canary, gateways, comparison}``."""
    return (yield get("policy", "canary")).document


def evaluations(
    *, since: Moment | None = None, until: Moment | None = None, after: int | None = None, limit: int | None = None
) -> Operation[bytes]:
    """A page of recorded policy evaluations as lines of JSON: one evaluation a line, the last says where to go on.

    They hold the arguments of real calls.
    """
    asked = {"since": since, "until": until, "after": after, "limit": limit}
    reply = yield get("policy", "evaluations", query=asked)
    if reply.media_type != "application/x-ndjson":
        raise UnexpectedReply(reply.status, "the answer is not lines of JSON")
    return reply.body


def policy_bundles() -> Operation[Json]:
    """Signed bundles and every change of the one that decides, newest first: ``{bundles, activations}``."""
    reply = yield get("policy", "bundles")
    listed(reply, "bundles"), listed(reply, "activations")
    return reply.document


def policy_bundle(digest: str) -> Operation[Json]:
    """A signed bundle: where it comes from, its files by digest, and when it decided."""
    return (yield get("policy", "bundles", digest)).document


def policy_bundle_file(digest: str) -> Operation[str]:
    """The signed file itself (``bundle+jws``)."""
    return (yield get("policy", "bundles", digest, "file")).text


def add_policy_bundle(signed: bytes) -> Operation[Json]:
    """Bring a signed bundle; it decides nothing before two people activate it."""
    reply = yield Request("POST", path_of("policy", "bundles"), body=signed, media_type="application/jose")
    return reply.document


def policy_remote() -> Operation[Json]:
    """The Git remote that bundles are pulled from, the newest that it brought, and what is wrong with it."""
    return (yield get("policy", "remote")).document


def pull_policy_remote() -> Operation[Json]:
    """Pull from the Git remote now; returns as :func:`policy_remote`. What it brings decides nothing yet."""
    return (yield post(None, "policy", "remote", "pull")).document


def rollback_policy(digest: str, *, replaces: str, key: SigningKey | None = None) -> Operation[Json]:
    """Go back to a bundle that two people activated before.

    Args:
        replaces: the bundle that decides now.
        key: the caller's enrolled key; whoever has one must sign.
    """
    body: Json = {"digest": digest}
    if key is not None:
        caller = yield from me()
        document = {"digest": digest, "replaces": replaces}
        binding = new_binding("policy.rollback", text_of(caller, "tenant"), digest, document)
        audience = text_of((yield from trust()), "origin")
        body["act"] = sign_act("rollback", binding, key=key, by=text_of(caller, "id"), audience=audience)
    return (yield post(body, "policy", "rollback")).document


def ready() -> Operation[Json]:
    """``{status, checks}``; a gateway that is not ready answers 503 with the same document."""
    return (yield Request("GET", "/readyz", also_good=frozenset({503}))).document
