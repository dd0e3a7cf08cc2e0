"""What to do about each refusal: the one table from reason to next step."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.reasons import Conflict, Reason

_SIGN_AGAIN: Final = "Sign it again and send it at once: handrail plan sign PLAN.json"
_SUBJECT: Final = (
    "Sign with the key of the principal that submits, without --subject, or have the issuer registered with "
    "--speaks-for."
)
_PLAN: Final = "Mend the plan (docs/concepts.md says what one is), sign it again and submit it."
_LATER: Final = (
    "Try again in a moment; if it stays, its operator sees why in the gateway's log and with handrail doctor."
)
_OPERATOR: Final = "Tell the gateway's operator, with the request id."
_WHY: Final = "'handrail why PLAN_ID/STEP_ID' shows the rules that spoke and the input they saw."
_HAND: Final = "'handrail hands list' shows the state of each hand, and its problem."
_LIST_APPROVALS: Final = "'handrail approvals list' shows what waits now."
_LIST_PROPOSALS: Final = "'handrail proposals list --all' shows how each proposal stands."
_OWN_KEY: Final = "Give the private JWK that is enrolled for you with --key FILE."
_OWN_PROPOSAL_KEY: Final = "Give your enrolled private JWK with --key FILE; with a security key, sign at /proposals/ID."
_PROPOSE_AGAIN: Final = "Look at what is in force now, and propose it again."

HINTS: Final[Mapping[Reason, str]] = {
    Reason.REQUEST_MALFORMED: "Correct the argument or option that the pointer or parameter names; see --help.",
    Reason.REQUEST_TOO_LARGE: "Send less at once, or have the operator raise the limit that is named.",
    Reason.REQUEST_HEADERS_TOO_LARGE: "Shorten the headers or the query (an API key is under 100 bytes).",
    Reason.REQUEST_MEDIA_TYPE: "Use the command line of the gateway's own version: handrail --version.",
    Reason.REQUEST_METHOD: "Use the command line of the gateway's own version: handrail --version.",
    Reason.REQUEST_TIMEOUT: "The connection is slow or broke off: try again.",
    Reason.REQUEST_NOT_FOUND: "Check the id; what belongs to others looks absent too: --as NAME chooses who asks.",
    Reason.REQUEST_CONFLICT: "Look at what is there already; 'why' says what stands in the way.",
    Reason.REQUEST_INSECURE: "Reach the gateway by the https:// address of its proxy ([server] public_url).",
    Reason.REQUEST_ORIGIN: "Open the page by the gateway's own URL ([server] public_url).",
    Reason.AUTH_MISSING: "Set HANDRAIL_API_KEY, or HANDRAIL_HOME to the directory that has cli.json.",
    Reason.AUTH_INVALID: "Ask a security admin for a new key: handrail principals add ID --role ROLE.",
    Reason.AUTH_EXPIRED: "Ask a security admin for a new key, or your issuer for a new access token.",
    Reason.AUTH_SCOPE: "Ask your issuer for a token with the scopes of [identity.NAME] scopes.",
    Reason.AUTH_UNAVAILABLE: "The gateway's log says why the issuer's keys cannot be had; an API key works meanwhile.",
    Reason.PRIVACY_HELD: "'handrail privacy hold list' shows the hold; lift it where its reason has ended.",
    Reason.AUTH_BOUND: "Ask an auditor who is bound to no hands; of what all tenants share, the gateway's operator.",
    Reason.AUTH_FORBIDDEN: "Choose a principal that may, with --as NAME; 'handrail principals list' shows the roles.",
    Reason.VERIFY_MALFORMED: "Send a file that was signed ('handrail plan sign', 'handrail policy build'), unchanged.",
    Reason.VERIFY_ALGORITHM: "Sign with an Ed25519 key: handrail keys new --out FILE",
    Reason.VERIFY_HEADER: "Sign with 'handrail plan sign' or the client library: they set no other header.",
    Reason.VERIFY_TYPE: "This is another kind of signed message than the one asked for: check which file you gave.",
    Reason.VERIFY_SIGNATURE: "Send the file as it was signed, and sign with the key that is registered.",
    Reason.VERIFY_UNKNOWN_ISSUER: "Have a security admin register it: handrail issuers add ID --key FILE",
    Reason.VERIFY_UNKNOWN_KEY: "Have a security admin register the key that signed, or sign with the registered one.",
    Reason.VERIFY_REVOKED_KEY: "Sign with a key that is valid now; 'handrail issuers list' shows them.",
    Reason.VERIFY_AUDIENCE: "Sign for this gateway: 'handrail plan sign' without --audience asks it for its name.",
    Reason.VERIFY_TENANT: "Sign for your tenant: 'handrail plan sign' without --tenant asks the gateway for it.",
    Reason.VERIFY_SUBJECT: _SUBJECT,
    Reason.VERIFY_EXPIRED: _SIGN_AGAIN,
    Reason.VERIFY_NOT_YET_VALID: "Set this machine's clock right, then sign it again.",
    Reason.VERIFY_LIFETIME: "Sign it again with a shorter --lifetime.",
    Reason.VERIFY_REPLAYED: "It was accepted before, so it is on record; to run it anew, sign it again.",
    Reason.VERIFY_CONTEXT: "Choose another context_id: the first to use one owns it.",
    Reason.SCHEMA_JSON: "Mend the JSON: no duplicate members, no NaN, no integer beyond 2^53.",
    Reason.SCHEMA_PLAN: _PLAN,
    Reason.SCHEMA_TOO_MANY_STEPS: "Split the plan.",
    Reason.SCHEMA_CYCLE: _PLAN,
    Reason.SCHEMA_REFERENCE: _PLAN,
    Reason.SCHEMA_ARGS: "Correct what the pointers name; 'handrail hands list --json' has each action's schema.",
    Reason.SCHEMA_RESULT: "The hand broke its own schema: have an operator review it with 'handrail hands pin ID'.",
    Reason.SCHEMA_UNKNOWN_HAND: "'handrail hands list' shows the hands that you may use.",
    Reason.SCHEMA_UNKNOWN_ACTION: "'handrail hands list' shows the actions of each hand.",
    Reason.SCHEMA_ANALYSIS: "'handrail plan show ID' has the problem; docs/sql.md or docs/mail.md what is taken.",
    Reason.SCHEMA_UNRESOLVED: "Look at the earlier result with 'handrail plan show ID', and mend the pointer.",
    Reason.SCHEMA_ERASED: "Send another plan, where what it needs may still be used.",
    Reason.POLICY_DENIED: _WHY,
    Reason.POLICY_UNDECIDED: _WHY,
    Reason.POLICY_ERROR: _WHY,
    Reason.POLICY_TIMEOUT: _LATER,
    Reason.POLICY_UNAVAILABLE: _LATER,
    Reason.POLICY_OBLIGATION: _WHY,
    Reason.POLICY_UNREDACTED: "Take it out where the pointer says, and ask again: nobody changes what you signed.",
    Reason.POLICY_INPUT: "Split the plan, or send smaller arguments.",
    Reason.POLICY_OBSERVED_DENY: _WHY,
    Reason.POLICY_OBSERVED_ASK: _WHY,
    Reason.POLICY_OUTDATED: "Ask for the step anew: it is judged by the policy that decides now.",
    Reason.POLICY_BUNDLE: "'handrail policy check DIR' lists every problem of a bundle.",
    Reason.POLICY_SOURCE: "Check url and branch of [policy.remote], and whether the gateway reaches the repository.",
    Reason.POLICY_DIRECTORY: 'Change the files in the directory, or set [policy] source = "signed".',
    Reason.POLICY_NOT_ACTIVATED: "'handrail policy list' shows what was; a new bundle takes 'handrail policy propose'.",
    Reason.POLICY_STRICTER: _WHY,
    Reason.POLICY_CANDIDATE: "Have the operator set [policy] opa_candidate_url, or use the embedded engine.",
    Reason.POLICY_NO_REMOTE: "Have the operator set [policy.remote], or bring the file: handrail policy bring FILE",
    Reason.APPROVAL_REFUSED: "Ask whoever refused it; for [plans] approval_ttl_seconds the same call asks nobody anew.",
    Reason.APPROVAL_EXPIRED: "Submit the plan again: it asks anew.",
    Reason.APPROVAL_VOIDED: "Look at the plan: the call is judged again by what holds now.",
    Reason.APPROVAL_MISMATCH: "Show the request again and answer what it shows: handrail approvals show ID",
    Reason.APPROVAL_SELF: "Somebody else has to answer: choose them with --as NAME, or ask them.",
    Reason.APPROVAL_ROLE: "Somebody with the role that the request names has to answer.",
    Reason.APPROVAL_KEY: _OWN_KEY,
    Reason.APPROVAL_CLOSED: _LIST_APPROVALS,
    Reason.PROPOSAL_SELF: "A second person has to: somebody else runs 'handrail proposals activate ID' (--as NAME).",
    Reason.PROPOSAL_KEY: _OWN_PROPOSAL_KEY,
    Reason.PROPOSAL_MISMATCH: "Show the proposal again and activate what it shows: handrail proposals show ID",
    Reason.PROPOSAL_CLOSED: _LIST_PROPOSALS,
    Reason.PROPOSAL_EXPIRED: _PROPOSE_AGAIN,
    Reason.PROPOSAL_OUTDATED: _PROPOSE_AGAIN,
    Reason.PROPOSAL_REQUIRED: "Security admins make it together; see 'handrail proposals list' and docs/trust.md.",
    Reason.FREEZE_ACTIVE: "'handrail freeze list' shows what is frozen; two people lift it: handrail unfreeze ID",
    Reason.CREDENTIAL_REFUSED: _OPERATOR,
    Reason.CLAIM_UNKNOWN: "Ask for the work of the hand that your key is bound to; it names what may be claimed.",
    Reason.CLAIM_TAKEN: "Claim another step: this one is somebody's, and its result or its deadline ends it.",
    Reason.CLAIM_OVER: "Claim another step: this one has ended.",
    Reason.CLAIM_EXPIRED: "See that the hand runs and asks for work (docs/remote-hands.md), and ask for the step anew.",
    Reason.PROOF_REFUSED: "Make a proof for this very request, by the key of the claim (docs/remote-hands.md).",
    Reason.PROOF_NONCE: "Make the proof again with the nonce of the DPoP-Nonce header.",
    Reason.RESULT_TAKEN: "Nothing is left to do: one result of the step is on record.",
    Reason.RESULT_LATE: "The result is on record beside the ambiguous step; look there before you do it again.",
    Reason.LOG_UNAVAILABLE: _LATER,
    Reason.LOG_UNWITNESSED: "'handrail log witnesses' shows each witness and what it answered last.",
    Reason.LOG_FORKED: "Stop, and compare with a kept checkpoint: 'handrail log consistency FILE --trust FILE'.",
    Reason.LOG_DROPPED: "Ask the gateway's operator whether it was archived; 'handrail retention status' says so.",
    Reason.KEY_UNAVAILABLE: _LATER,
    Reason.HAND_UNAVAILABLE: _HAND,
    Reason.HAND_DRIFTED: "Have an operator review what changed and pin it: handrail hands pin ID",
    Reason.HAND_FAILED: "'handrail plan show ID' has the hand's own words.",
    Reason.HAND_CRASHED: _HAND,
    Reason.HAND_TIMEOUT: _HAND,
    Reason.HAND_PROTOCOL: _HAND,
    Reason.HAND_RESULT_TOO_LARGE: "Ask the hand for less.",
    Reason.LOG_RESTORED: "Look at the hand whether it acted; then send a new plan if it did not.",
    Reason.HAND_CANCELLED: "Look whether the hand acted before you call it again.",
    Reason.HAND_LOST_REPLY: "Look whether the hand acted before you call it again.",
    Reason.HAND_CIRCUIT_OPEN: "Send the plan again after retry_after_seconds; 'handrail hands list' shows the circuit.",
    Reason.HAND_BUSY: _LATER,
    Reason.SECRET_MISSING: "'handrail secrets check' names it; set it: handrail secrets set NAME --file FILE",
    Reason.SECRET_UNAVAILABLE: "'handrail secrets check' says which store does not answer, and why.",
    Reason.CONNECTION_NEEDED: "Consent in a browser, then send the plan again: handrail connections connect ID",
    Reason.CONNECTION_REFUSED: "Begin again, in one browser and one login: handrail connections connect ID",
    Reason.CONNECTION_UNAVAILABLE: _LATER,
    Reason.RUN_NO_BRAIN: "Have the operator add a brain: [brains.ID] in handrail.toml; docs/runs.md shows one.",
    Reason.RUN_BRAIN: "'why' says what is missing; 'handrail hands list' shows the state of the brain's hand.",
    Reason.RUN_BUDGET: "Begin a run with more --steps or --tokens; 'handrail runs show ID' shows what it did.",
    Reason.RUN_DEADLINE: "Begin a run with a longer --deadline; 'handrail runs show ID' shows what it did.",
    Reason.RUN_CANCELLED: "Begin another run; 'handrail runs show ID' shows what this one did.",
    Reason.RUN_ANSWER: "Begin another run; if it stays, the model or its endpoint does not fit the Messages API.",
    Reason.RUN_STOPPED: "'handrail runs show ID' says why it stopped: [brains.ID] max_tokens, or what was asked.",
    Reason.RUN_ERASED: "Begin another run.",
    Reason.AGENTS_UNAVAILABLE: _LATER,
    Reason.AGENTS_REFUSED: "Look at the id, and whether the key of [managed_agents] may see it; its log says more.",
    Reason.AGENTS_UNMAPPED: "Name the tool under [managed_agents.ID]; 'handrail agents adopt AGENT_ID' lists them.",
    Reason.AGENTS_LEASE_LOST: "Look whether the tool acted; another worker of the environment may do it again.",
    Reason.AGENTS_BYPASSED: "'handrail agents adopt AGENT_ID --write' sets its policies; then release and follow it.",
    Reason.AGENTS_AMBIGUOUS: "'handrail agents show SESSION_ID' says when it is known.",
    Reason.TLS_CERTIFICATE: "Mend the files of [server.tls]; they are looked at every second.",
    Reason.DEPENDENCY_UNSUCCESSFUL: "'handrail plan show ID' shows which step did not succeed, and why.",
    Reason.LIMIT_PLANS: "Wait until a plan of yours is done, then send it again as it is.",
    Reason.LIMIT_APPROVALS: "Have open requests answered ('handrail approvals list'), then send it again as it is.",
    Reason.LIMIT_RUNS: "Wait until a run of yours has ended ('handrail runs list'), or cancel one.",
    Reason.LIMIT_LOGINS: "Wait a minute.",
    Reason.LIMIT_NOTICES: "Wait a minute.",
    Reason.LIMIT_REQUESTS: "Send more slowly; whoever runs the gateway may set [limits] requests_per_second.",
    Reason.LIMIT_ANONYMOUS: "See that your key is the right one, and wait; whoever runs the gateway may set [limits].",
    Reason.LIMIT_CONNECTIONS: "Let each connection carry more requests; whoever runs the gateway may set [limits].",
    Reason.LIMIT_REPORTS: "Wait for the other report, or interrupt the command that asked for it.",
    Reason.LIMIT_READS: "Read more slowly; whoever runs the gateway may set [server] log_reads_per_second.",
    Reason.OVERLOADED: _LATER,
    Reason.DRAINING: _LATER,
    Reason.INTERNAL: _OPERATOR,
}
"""Reason -> what to do next. A meta-test requires an entry for every reason."""

CONFLICT_HINTS: Final[Mapping[Conflict, str]] = {
    Conflict.PRINCIPALS_EXIST: "Log in as one of them; 'handrail principals list' shows them.",
    Conflict.ID_TAKEN: "Choose another id, and a key of its own: handrail keys new --out FILE",
    Conflict.KEY_TAKEN: "Make a key for this alone: handrail keys new --out FILE",
    Conflict.KEY_TWICE: "Make a key for each person: handrail keys new --out FILE",
    Conflict.REVOKED: "Nothing is left to do: no later time of a theft gives anything back. What is new has a new id.",
    Conflict.LAST_ADMIN: "Add a security admin first: handrail principals add ID --role security_admin",
    Conflict.NOT_AN_APPROVER: "Add a principal with the role approver: handrail principals add ID --role approver",
    Conflict.SECURITY_KEYS: "Revoke one that is not used: handrail principals unenrol ID KEY",
    Conflict.ISSUER_RIGHTS: "Leave --speaks-for and the other rights out, or add another issuer that has them.",
    Conflict.DIGEST_OTHER: "Look at what it offers now and pin that: handrail hands pin ID",
    Conflict.KEY_UNUSED: "'handrail keys list' shows the purposes; [log] and [keys] say which are used.",
    Conflict.SPARE_KEYS: "'handrail keys list' shows them; rotate the purpose to use one.",
    Conflict.KEY_TOO_NEW: "Wait for retry_after_seconds; a compromised key is revoked, not rotated.",
    Conflict.DECIDES: "Nothing is left to do: 'handrail policy show' shows what decides.",
    Conflict.CANARY_OTHER: "End it first ('handrail policy canary stop'), or shadow the bundle that is its candidate.",
    Conflict.CANARY_RUNS: "Look at it ('handrail policy canary show') and end it first: handrail policy canary stop",
    Conflict.SHADOW_RUNS: "Look at it ('handrail policy shadow show') and end it first: handrail policy shadow stop",
    Conflict.SHADOW_OTHER: "End the shadow first: handrail policy shadow stop",
    Conflict.SHADOW_MEANWHILE: "Look at it: handrail policy shadow show",
    Conflict.PROPOSAL_EXISTS: "Nothing is left to do: 'handrail proposals list' shows it.",
    Conflict.PROPOSAL_OPEN: "'handrail proposals list' shows it; the proposer can withdraw it.",
    Conflict.COUNTED: "Sign it: handrail proposals sign ID",
    Conflict.NOT_COUNTED: "Activate it: handrail proposals activate ID",
    Conflict.SIGNED: "Somebody else has to sign as well; 'handrail proposals show ID' says how many.",
    Conflict.STEP_DECIDED: "Look at what became of it: handrail plan show ID",
    Conflict.OFFER_DECIDED: "Look at what became of it: handrail plan show ID",
    Conflict.REQUEST_DECIDED: "Look at how it stands: handrail approvals show ID",
    Conflict.PLANS_UNDER_WAY: "Ask again in a moment; 'handrail privacy erase' goes on where it stopped.",
    Conflict.ONESELF: "Have another privacy officer erase it.",
    Conflict.RECORD_CHANGED: "Send it again as it is.",
    Conflict.LINK_TAKEN: "'handrail principals links ID' shows whose it is; give another subject.",
    Conflict.FREEZE_ONESELF: "Have somebody else freeze you, or revoke the API key: handrail principals revoke ID",
    Conflict.SECRET_EXISTS: "Give it a new value: handrail secrets rotate NAME --file FILE",
    Conflict.SECRET_CHANGED: "Look who else changes it ('handrail secrets show NAME'), then try again.",
    Conflict.CONNECTION_CHANGED: "Look at what is connected ('handrail connections list'), then try again.",
    Conflict.STEP_REPORTED: "Nothing is left to do: what was reported first stays ('handrail plan show PLAN_ID').",
    Conflict.STEP_NOT_RELEASED: "Report what a step with the status released came to: 'handrail plan show PLAN_ID'",
    Conflict.LETTER_SETTLED: "Look at what became of it: handrail steps list --status retried (or discarded)",
    Conflict.LETTER_STATEMENT: "Look whether it happened. If it did not: --not-executed. If it did: steps discard.",
    Conflict.LETTER_OWN: "Sign a new plan and send it, or have another operator retry this one.",
    Conflict.LETTER_ERASED: "Discard it: handrail steps discard PLAN_ID/STEP_ID --why TEXT",
    Conflict.LETTER_OLD: "Discard it: handrail steps discard PLAN_ID/STEP_ID --why TEXT",
    Conflict.RUN_TURN: "Look at where it is: handrail runs show ID",
    Conflict.AGENT_SESSION: "'handrail agents list' shows it; one that was let go can be followed again.",
    Conflict.AGENT_CHANGED: "Look again: handrail agents adopt AGENT_ID",
    Conflict.EXPORT_OTHER: "Something of it was erased or dropped meanwhile. Start anew: --force, and no --resume.",
    Conflict.EXPORT_KEYS: "Start anew: --force, and no --resume.",
    Conflict.EXPORT_ENDING: "'handrail audit export --resume' does; else cut what you have before 'manifest.json'.",
}
"""Cause of a ``request.conflict`` -> what to do next. A meta-test requires an entry for every cause."""

_LINE_END: Final = "There is white space after the signed text, as 'echo' writes it: save it again with printf %s."


def hint_for(code: str, facts: Mapping[str, Any]) -> str:
    """What to do about a refusal; a code of a newer gateway gets the general answer."""
    if facts.get("problem") == "trailing_white_space":
        return _LINE_END
    if code == Reason.VERIFY_REPLAYED and "plan_id" in facts:
        return f"To run it anew, sign it again. What became of it: handrail plan show {facts['plan_id']}"
    if code == Reason.REQUEST_CONFLICT and facts.get("problem") in set(Conflict):
        return CONFLICT_HINTS[Conflict(facts["problem"])]
    try:
        return HINTS[Reason(code)]
    except ValueError:
        return "docs/api.md of the gateway's own version says what this code means."
