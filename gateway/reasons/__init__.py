"""Every reason Handrail can give for refusing, holding or failing something.

The codes are a closed set: a client may branch on them, an audit entry carries nothing else, and a meta-test fails
when one is undocumented. Codes are ``area.cause``. Policy bundles bring codes of their own (``paths.outside``); those
are data and match :data:`POLICY_CODE`.
"""

import re
from enum import StrEnum
from typing import Final

from gateway.reasons.conflicts import CONFLICTS, Conflict, because

__all__ = ["CONFLICTS", "ENGINE_AWAY", "POLICY_CODE", "TEXTS", "Conflict", "Reason", "because"]

POLICY_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,31}\.[a-z][a-z0-9_]{0,63}")
"""The shape of a code that a policy rule may give (matched whole)."""


class Reason(StrEnum):
    """A closed reason code. The value is what goes over the wire and into the log."""

    # 1 ingress
    REQUEST_MALFORMED = "request.malformed"
    REQUEST_TOO_LARGE = "request.too_large"
    REQUEST_HEADERS_TOO_LARGE = "request.headers_too_large"
    REQUEST_MEDIA_TYPE = "request.media_type"
    REQUEST_METHOD = "request.method"
    REQUEST_TIMEOUT = "request.timeout"
    REQUEST_NOT_FOUND = "request.not_found"
    REQUEST_CONFLICT = "request.conflict"
    REQUEST_ORIGIN = "request.origin"
    REQUEST_INSECURE = "request.insecure"
    AUTH_MISSING = "auth.missing"
    AUTH_INVALID = "auth.invalid"
    AUTH_EXPIRED = "auth.expired"
    AUTH_FORBIDDEN = "auth.forbidden"
    AUTH_SCOPE = "auth.scope"
    AUTH_UNAVAILABLE = "auth.unavailable"
    AUTH_BOUND = "auth.bound"
    PRIVACY_HELD = "privacy.held"
    # 2 verify
    VERIFY_MALFORMED = "verify.malformed"
    VERIFY_ALGORITHM = "verify.algorithm"
    VERIFY_HEADER = "verify.header"
    VERIFY_TYPE = "verify.type"
    VERIFY_SIGNATURE = "verify.signature"
    VERIFY_UNKNOWN_ISSUER = "verify.unknown_issuer"
    VERIFY_UNKNOWN_KEY = "verify.unknown_key"
    VERIFY_REVOKED_KEY = "verify.revoked_key"
    VERIFY_AUDIENCE = "verify.audience"
    VERIFY_TENANT = "verify.tenant"
    VERIFY_SUBJECT = "verify.subject"
    VERIFY_EXPIRED = "verify.expired"
    VERIFY_NOT_YET_VALID = "verify.not_yet_valid"
    VERIFY_LIFETIME = "verify.lifetime"
    VERIFY_REPLAYED = "verify.replayed"
    VERIFY_CONTEXT = "verify.context"
    # 3 schema
    SCHEMA_JSON = "schema.json"
    SCHEMA_PLAN = "schema.plan"
    SCHEMA_TOO_MANY_STEPS = "schema.too_many_steps"
    SCHEMA_CYCLE = "schema.cycle"
    SCHEMA_REFERENCE = "schema.reference"
    SCHEMA_ARGS = "schema.args"
    SCHEMA_RESULT = "schema.result"
    SCHEMA_UNKNOWN_HAND = "schema.unknown_hand"
    SCHEMA_UNKNOWN_ACTION = "schema.unknown_action"
    SCHEMA_UNRESOLVED = "schema.unresolved"
    SCHEMA_ERASED = "schema.erased"
    SCHEMA_ANALYSIS = "schema.analysis"
    # 4 policy
    POLICY_DENIED = "policy.denied"
    POLICY_UNDECIDED = "policy.undecided"
    POLICY_ERROR = "policy.error"
    POLICY_TIMEOUT = "policy.timeout"
    POLICY_UNAVAILABLE = "policy.unavailable"
    POLICY_OBLIGATION = "policy.obligation"
    POLICY_UNREDACTED = "policy.unredacted"
    POLICY_INPUT = "policy.input"
    POLICY_OBSERVED_DENY = "policy.observed_deny"
    POLICY_OBSERVED_ASK = "policy.observed_ask"
    POLICY_STRICTER = "policy.stricter"
    POLICY_OUTDATED = "policy.outdated"
    POLICY_BUNDLE = "policy.bundle"
    POLICY_SOURCE = "policy.source"
    POLICY_DIRECTORY = "policy.directory"
    POLICY_NOT_ACTIVATED = "policy.not_activated"
    POLICY_NO_REMOTE = "policy.no_remote"
    POLICY_CANDIDATE = "policy.candidate"
    # 5 approval
    APPROVAL_REFUSED = "approval.refused"
    APPROVAL_EXPIRED = "approval.expired"
    APPROVAL_VOIDED = "approval.voided"
    APPROVAL_MISMATCH = "approval.mismatch"
    APPROVAL_SELF = "approval.self"
    APPROVAL_ROLE = "approval.role"
    APPROVAL_KEY = "approval.key"
    APPROVAL_CLOSED = "approval.closed"
    # changes that take two people
    PROPOSAL_SELF = "proposal.self"
    PROPOSAL_KEY = "proposal.key"
    PROPOSAL_MISMATCH = "proposal.mismatch"
    PROPOSAL_CLOSED = "proposal.closed"
    PROPOSAL_EXPIRED = "proposal.expired"
    PROPOSAL_OUTDATED = "proposal.outdated"
    PROPOSAL_REQUIRED = "proposal.required"
    # freezes
    FREEZE_ACTIVE = "freeze.active"
    # 6 credential, record
    CREDENTIAL_REFUSED = "credential.refused"
    CLAIM_UNKNOWN = "claim.unknown"
    CLAIM_TAKEN = "claim.taken"
    CLAIM_OVER = "claim.over"
    CLAIM_EXPIRED = "claim.expired"
    PROOF_REFUSED = "proof.refused"
    PROOF_NONCE = "proof.nonce"
    RESULT_TAKEN = "result.taken"
    RESULT_LATE = "result.late"
    LOG_UNAVAILABLE = "log.unavailable"
    LOG_RESTORED = "log.restored"
    LOG_UNWITNESSED = "log.unwitnessed"
    LOG_FORKED = "log.forked"
    LOG_DROPPED = "log.dropped"
    KEY_UNAVAILABLE = "key.unavailable"
    # 7 dispatch
    HAND_UNAVAILABLE = "hand.unavailable"
    HAND_DRIFTED = "hand.drifted"
    HAND_FAILED = "hand.failed"
    HAND_CRASHED = "hand.crashed"
    HAND_TIMEOUT = "hand.timeout"
    HAND_PROTOCOL = "hand.protocol"
    HAND_RESULT_TOO_LARGE = "hand.result_too_large"
    HAND_LOST_REPLY = "hand.lost_reply"
    HAND_CANCELLED = "hand.cancelled"
    HAND_CIRCUIT_OPEN = "hand.circuit_open"
    HAND_BUSY = "hand.busy"
    SECRET_MISSING = "secret.missing"
    SECRET_UNAVAILABLE = "secret.unavailable"
    CONNECTION_NEEDED = "connection.needed"
    CONNECTION_REFUSED = "connection.refused"
    CONNECTION_UNAVAILABLE = "connection.unavailable"
    DEPENDENCY_UNSUCCESSFUL = "dependency.unsuccessful"
    # runs
    RUN_NO_BRAIN = "run.no_brain"
    RUN_BRAIN = "run.brain"
    RUN_BUDGET = "run.budget"
    RUN_DEADLINE = "run.deadline"
    RUN_CANCELLED = "run.cancelled"
    RUN_ANSWER = "run.answer"
    RUN_STOPPED = "run.stopped"
    RUN_ERASED = "run.erased"
    # agents that run at Anthropic
    AGENTS_UNAVAILABLE = "agents.unavailable"
    AGENTS_REFUSED = "agents.refused"
    AGENTS_UNMAPPED = "agents.unmapped"
    AGENTS_BYPASSED = "agents.bypassed"
    AGENTS_AMBIGUOUS = "agents.ambiguous"
    AGENTS_LEASE_LOST = "agents.lease_lost"
    # the listener
    TLS_CERTIFICATE = "tls.certificate"
    # what one principal may have under way
    LIMIT_PLANS = "limit.plans"
    LIMIT_APPROVALS = "limit.approvals"
    LIMIT_LOGINS = "limit.logins"
    LIMIT_NOTICES = "limit.notices"
    LIMIT_READS = "limit.reads"
    LIMIT_REPORTS = "limit.reports"
    LIMIT_RUNS = "limit.runs"
    LIMIT_REQUESTS = "limit.requests"
    LIMIT_ANONYMOUS = "limit.anonymous"
    LIMIT_CONNECTIONS = "limit.connections"
    # anywhere
    OVERLOADED = "gateway.overloaded"
    DRAINING = "gateway.draining"
    INTERNAL = "gateway.internal"


ENGINE_AWAY: Final = frozenset({Reason.POLICY_TIMEOUT, Reason.POLICY_UNAVAILABLE})
"""Denials because a policy engine was late or away. They say something about the moment and nothing about the step."""

TEXTS: Final[dict[Reason, str]] = {
    Reason.REQUEST_MALFORMED: "The request could not be read.",
    Reason.REQUEST_TOO_LARGE: "The request body is larger than this gateway accepts.",
    Reason.REQUEST_HEADERS_TOO_LARGE: "The request's target and headers, not its body, are larger than accepted.",
    Reason.REQUEST_MEDIA_TYPE: "The request's content type is not the one this route takes.",
    Reason.REQUEST_METHOD: "This route does not take that method.",
    Reason.REQUEST_TIMEOUT: "The request body did not arrive in time.",
    Reason.REQUEST_NOT_FOUND: "There is nothing here that you may see.",
    Reason.REQUEST_CONFLICT: "The thing already exists in another state.",
    Reason.REQUEST_INSECURE: "API keys and tokens are not taken here without TLS.",
    Reason.REQUEST_ORIGIN: "The request does not come from a page of this gateway.",
    Reason.AUTH_MISSING: "This route needs an API key or an access token in 'Authorization: Bearer'.",
    Reason.AUTH_INVALID: "The API key or access token is unknown, revoked or not good for this gateway.",
    Reason.AUTH_EXPIRED: "The API key or access token has expired.",
    Reason.AUTH_SCOPE: "The access token was not granted a scope that this gateway needs.",
    Reason.AUTH_UNAVAILABLE: "The keys of the token's issuer cannot be had now, so that it cannot be checked.",
    Reason.PRIVACY_HELD: "A legal hold stands against an erasure of this person's data.",
    Reason.AUTH_FORBIDDEN: "Your roles do not permit this.",
    Reason.AUTH_BOUND: "This reaches beyond the hands or the tenant that you are bound to.",
    Reason.VERIFY_MALFORMED: "The message is not a compact JWS.",
    Reason.VERIFY_ALGORITHM: "Only alg Ed25519 is accepted.",
    Reason.VERIFY_HEADER: "The JWS header has a member that is not accepted.",
    Reason.VERIFY_TYPE: "The JWS typ is not the one expected here.",
    Reason.VERIFY_SIGNATURE: "The signature does not verify.",
    Reason.VERIFY_UNKNOWN_ISSUER: "The issuer is not registered.",
    Reason.VERIFY_UNKNOWN_KEY: "The key is not one of the issuer's.",
    Reason.VERIFY_REVOKED_KEY: "The key is revoked or outside its validity.",
    Reason.VERIFY_AUDIENCE: "The message is for another gateway.",
    Reason.VERIFY_TENANT: "The message is for another tenant.",
    Reason.VERIFY_SUBJECT: "The issuer may not speak for that subject.",
    Reason.VERIFY_EXPIRED: "The message has expired.",
    Reason.VERIFY_NOT_YET_VALID: "The message is from the future.",
    Reason.VERIFY_LIFETIME: "The message asks to live too long.",
    Reason.VERIFY_REPLAYED: "The message was accepted before.",
    Reason.VERIFY_CONTEXT: "The context belongs to another principal.",
    Reason.SCHEMA_JSON: "The payload is not strict JSON.",
    Reason.SCHEMA_PLAN: "The payload is not a plan.",
    Reason.SCHEMA_TOO_MANY_STEPS: "The plan has more steps than this gateway accepts.",
    Reason.SCHEMA_CYCLE: "The steps depend on each other in a circle.",
    Reason.SCHEMA_REFERENCE: "A reference names a step that is not a dependency, or is malformed.",
    Reason.SCHEMA_ARGS: "The arguments do not match the action's schema.",
    Reason.SCHEMA_RESULT: "The result does not match the action's schema.",
    Reason.SCHEMA_UNKNOWN_HAND: "No such hand is available to you.",
    Reason.SCHEMA_UNKNOWN_ACTION: "The hand has no such action.",
    Reason.SCHEMA_UNRESOLVED: "A reference points at nothing in the earlier result.",
    Reason.SCHEMA_ERASED: "What the step needs, or what was decided about it, was erased.",
    Reason.SCHEMA_ANALYSIS: "What this call would do cannot be said, so it cannot be judged.",
    Reason.POLICY_DENIED: "Policy denies this step.",
    Reason.POLICY_UNDECIDED: "No policy rule allows this step.",
    Reason.POLICY_ERROR: "The policy could not be evaluated.",
    Reason.POLICY_TIMEOUT: "The policy took too long.",
    Reason.POLICY_UNAVAILABLE: "The policy engine cannot be reached.",
    Reason.POLICY_OBLIGATION: "The policy asks for something this gateway cannot enforce.",
    Reason.POLICY_UNREDACTED: "The request holds what policy wants taken out of it first.",
    Reason.POLICY_INPUT: "The plan is too large for the policy engine.",
    Reason.POLICY_OBSERVED_DENY: "Policy denies this step; it was let go because its hand is observed.",
    Reason.POLICY_OBSERVED_ASK: "Policy asks for a person; the step was let go because its hand is observed.",
    Reason.POLICY_STRICTER: "Both bundles of a canary were asked, and the stricter one decided.",
    Reason.POLICY_OUTDATED: "The policy that let this step go decides no more; it did not run.",
    Reason.POLICY_BUNDLE: "The policy bundle cannot be used.",
    Reason.POLICY_SOURCE: "The policy repository cannot be read.",
    Reason.POLICY_DIRECTORY: 'This gateway decides by a directory; [policy] source = "signed" has it take bundles.',
    Reason.POLICY_NOT_ACTIVATED: "Only a bundle that two people activated before can be gone back to.",
    Reason.POLICY_NO_REMOTE: "This gateway pulls policies from no Git remote, or takes no notices of one.",
    Reason.POLICY_CANDIDATE: "This gateway has no engine for a second bundle; set [policy] opa_candidate_url.",
    Reason.APPROVAL_REFUSED: "A person refused this call.",
    Reason.APPROVAL_EXPIRED: "Nobody approved this call in time.",
    Reason.APPROVAL_VOIDED: "What was to be approved has changed.",
    Reason.APPROVAL_MISMATCH: "The approval is for another call.",
    Reason.APPROVAL_SELF: "Whoever asked cannot approve.",
    Reason.APPROVAL_ROLE: "Your roles do not permit approving this call.",
    Reason.APPROVAL_KEY: "The approval is not signed by your enrolled key.",
    Reason.APPROVAL_CLOSED: "The approval request was already answered.",
    Reason.PROPOSAL_SELF: "Whoever proposed a change cannot activate it.",
    Reason.PROPOSAL_KEY: "You have an enrolled key, and this is not signed by it.",
    Reason.PROPOSAL_MISMATCH: "What was signed or named is not what was proposed.",
    Reason.PROPOSAL_CLOSED: "The proposal was already decided.",
    Reason.PROPOSAL_EXPIRED: "Nobody activated the proposal in time.",
    Reason.PROPOSAL_OUTDATED: "What the proposal rests on has changed; propose it again.",
    Reason.PROPOSAL_REQUIRED: "One person alone may not make this change: several security admins have to sign it.",
    Reason.FREEZE_ACTIVE: "This is frozen: somebody stopped it, and two people have to lift that.",
    Reason.CREDENTIAL_REFUSED: "No credential could be issued for this step.",
    Reason.CLAIM_UNKNOWN: "There is no such step for a hand of yours.",
    Reason.CLAIM_TAKEN: "The step was claimed before. It is handed out once.",
    Reason.CLAIM_OVER: "The step is not offered any more.",
    Reason.CLAIM_EXPIRED: "No hand claimed the step in time; it did not run.",
    Reason.PROOF_REFUSED: "The DPoP proof is not one of this request.",
    Reason.PROOF_NONCE: "The DPoP proof needs the nonce of the DPoP-Nonce header.",
    Reason.RESULT_TAKEN: "The step has a result already.",
    Reason.RESULT_LATE: "The step ended before its result came; the result is on record and changes nothing.",
    Reason.LOG_UNAVAILABLE: "The audit log cannot be written, so nothing runs.",
    Reason.LOG_UNWITNESSED: "Too few witnesses have cosigned the log for longer than is allowed.",
    Reason.LOG_FORKED: "A witness says that this log is not the one it saw before.",
    Reason.LOG_DROPPED: "The entry's retention is over; only its hash is kept.",
    Reason.KEY_UNAVAILABLE: "A signing key is missing or cannot be used.",
    Reason.HAND_UNAVAILABLE: "The hand is not available on this gateway.",
    Reason.HAND_DRIFTED: "The hand is not the one that was pinned.",
    Reason.HAND_FAILED: "The hand reported an error.",
    Reason.HAND_CRASHED: "The hand stopped before it answered.",
    Reason.HAND_TIMEOUT: "The hand did not answer before the deadline.",
    Reason.HAND_PROTOCOL: "The hand answered with something unreadable.",
    Reason.HAND_RESULT_TOO_LARGE: "The hand's answer is larger than allowed.",
    Reason.LOG_RESTORED: "The log was restored from a backup; whether the step ran after that backup is unknown.",
    Reason.HAND_LOST_REPLY: "The hand may have acted, but its answer was lost.",
    Reason.HAND_CANCELLED: "The client took its call back.",
    Reason.HAND_CIRCUIT_OPEN: "The hand failed again and again, so it is left alone for a while; nothing was sent.",
    Reason.HAND_BUSY: "As many calls of the hand run and wait, or were sent lately, as may be; nothing was sent.",
    Reason.SECRET_MISSING: "A secret that the hand needs is not there, or is not fit to be sent.",
    Reason.SECRET_UNAVAILABLE: "The store of a secret that the hand needs cannot be asked.",
    Reason.CONNECTION_NEEDED: "The person whom the plan acts for has to connect the service that the hand needs.",
    Reason.CONNECTION_REFUSED: "The service did not agree, or its answer is not to a consent that you began here.",
    Reason.CONNECTION_UNAVAILABLE: "The authorization server of the service cannot be asked.",
    Reason.AGENTS_UNAVAILABLE: "The service that runs the agents does not answer.",
    Reason.AGENTS_REFUSED: "The service that runs the agents refuses the request.",
    Reason.AGENTS_UNMAPPED: "The tool is none of the tools that this gateway knows for the agent.",
    Reason.AGENTS_BYPASSED: "Something of this session went past the gateway, so nothing of it is let go any more.",
    Reason.AGENTS_AMBIGUOUS: "The answer was sent, and whether the service has it nobody knows yet.",
    Reason.AGENTS_LEASE_LOST: "The service took the work back, so what ran for it was ended.",
    Reason.TLS_CERTIFICATE: "The files of the listener's certificate cannot be used, or it is over.",
    Reason.DEPENDENCY_UNSUCCESSFUL: "A step this one depends on did not succeed.",
    Reason.LIMIT_PLANS: "You have as many plans under way as one principal may.",
    Reason.LIMIT_APPROVALS: "You have as many open approval requests as one principal may.",
    Reason.LIMIT_LOGINS: "Too many logins were tried from where you are; wait a minute.",
    Reason.LIMIT_NOTICES: "Too many notices came from where you are; wait a minute.",
    Reason.LIMIT_READS: "You read the log faster than one reader may.",
    Reason.LIMIT_REPORTS: "A report of yours is in the making; take it, or end it, before you ask for another.",
    Reason.RUN_NO_BRAIN: "No brain of this gateway is for this: see [brains.ID] in its configuration.",
    Reason.RUN_BRAIN: "The brain cannot be asked.",
    Reason.RUN_BUDGET: "The run has used what it may.",
    Reason.RUN_DEADLINE: "The run's time is over.",
    Reason.RUN_CANCELLED: "The run was cancelled.",
    Reason.RUN_ANSWER: "The model's answer cannot be used.",
    Reason.RUN_STOPPED: "The model stopped before it was done.",
    Reason.RUN_ERASED: "What the run is about was erased.",
    Reason.LIMIT_RUNS: "You have as many runs under way as one principal may.",
    Reason.LIMIT_REQUESTS: "You send more requests than one principal may.",
    Reason.LIMIT_ANONYMOUS: "Too many requests without a credential that holds came from where you are.",
    Reason.LIMIT_CONNECTIONS: "Too many connections are open from where you are.",
    Reason.OVERLOADED: "The gateway is busy; try again later.",
    Reason.DRAINING: "This gateway is about to stop and takes nothing new; another one does, or this one after it.",
    Reason.INTERNAL: "Something went wrong inside the gateway.",
}
"""Reason -> the one sentence a client may see. Never an exception's text."""
