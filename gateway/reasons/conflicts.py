"""What stands in the way of a request that is ``request.conflict``: a closed set, told beside the reason."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Conflict(StrEnum):
    """Why something is ``request.conflict``: a closed set, and nothing of the request is in it."""

    PRINCIPALS_EXIST = "principals.exist"
    ID_TAKEN = "id.taken"
    KEY_TAKEN = "key.taken"
    KEY_TWICE = "key.twice"
    REVOKED = "revoked"
    LAST_ADMIN = "admin.last"
    NOT_AN_APPROVER = "principal.not_approver"
    SECURITY_KEYS = "security_keys.limit"
    ISSUER_RIGHTS = "issuer.rights"
    DIGEST_OTHER = "hand.digest"
    KEY_TOO_NEW = "key.too_new"
    SPARE_KEYS = "key.spares"
    KEY_UNUSED = "key.unused"
    DECIDES = "policy.decides"
    CANARY_OTHER = "canary.other"
    CANARY_RUNS = "canary.runs"
    SHADOW_RUNS = "shadow.runs"
    SHADOW_OTHER = "shadow.other"
    SHADOW_MEANWHILE = "shadow.meanwhile"
    PROPOSAL_EXISTS = "proposal.exists"
    PROPOSAL_OPEN = "proposal.open"
    COUNTED = "proposal.counted"
    NOT_COUNTED = "proposal.not_counted"
    SIGNED = "proposal.signed"
    STEP_DECIDED = "step.decided"
    OFFER_DECIDED = "offer.decided"
    REQUEST_DECIDED = "approval.decided"
    RECORD_CHANGED = "record.changed"
    PLANS_UNDER_WAY = "plans.under_way"
    ONESELF = "erasure.oneself"
    EXPORT_OTHER = "export.other"
    EXPORT_KEYS = "export.keys"
    EXPORT_ENDING = "export.ending"
    LINK_TAKEN = "link.taken"
    FREEZE_ONESELF = "freeze.oneself"
    SECRET_EXISTS = "secret.exists"
    SECRET_CHANGED = "secret.changed"
    CONNECTION_CHANGED = "connection.changed"
    STEP_REPORTED = "step.reported"
    STEP_NOT_RELEASED = "step.not_released"
    LETTER_SETTLED = "letter.settled"
    LETTER_STATEMENT = "letter.statement"
    LETTER_OWN = "letter.own"
    LETTER_ERASED = "letter.erased"
    LETTER_OLD = "letter.old"
    RUN_TURN = "run.turn"
    AGENT_SESSION = "agents.followed"
    AGENT_CHANGED = "agents.changed"


CONFLICTS: Final[Mapping[Conflict, str]] = {
    Conflict.PRINCIPALS_EXIST: "The tenant has principals already.",
    Conflict.ID_TAKEN: "The id or the key is in use, or was: an id is never given twice.",
    Conflict.KEY_TAKEN: "The key is in use: a key with which a person approves is nobody else's and signs no plans.",
    Conflict.KEY_TWICE: "Two principals of the request have one approval key.",
    Conflict.REVOKED: "It is revoked already, and that is for ever.",
    Conflict.LAST_ADMIN: "It is the last security admin: nobody could add another one.",
    Conflict.NOT_AN_APPROVER: "Security keys are for who approves or signs proposals, and the principal does neither.",
    Conflict.SECURITY_KEYS: "The person has as many security keys as one may have.",
    Conflict.ISSUER_RIGHTS: "A further key does not change what an issuer may do.",
    Conflict.DIGEST_OTHER: "The hand offers something else than the digest that was given.",
    Conflict.KEY_TOO_NEW: "The next key is not known everywhere yet.",
    Conflict.KEY_UNUSED: "This gateway uses no keys of the purpose.",
    Conflict.SPARE_KEYS: "As many next keys of the purpose wait as may.",
    Conflict.DECIDES: "This bundle decides already.",
    Conflict.CANARY_OTHER: "A canary of another bundle is in force.",
    Conflict.CANARY_RUNS: "A canary is in force, and there is one at a time.",
    Conflict.SHADOW_RUNS: "A shadow is in force, and there is one at a time.",
    Conflict.SHADOW_OTHER: "Another bundle is shadowed.",
    Conflict.SHADOW_MEANWHILE: "Somebody else started a shadow at the same moment.",
    Conflict.PROPOSAL_EXISTS: "This proposal was taken in before: it was sent twice.",
    Conflict.PROPOSAL_OPEN: "A proposal about the same is open: have it decided, or withdraw it, first.",
    Conflict.COUNTED: "This proposal takes effect when enough people have signed it; nobody activates it.",
    Conflict.NOT_COUNTED: "This proposal is activated by a second person; nobody signs it.",
    Conflict.SIGNED: "You signed this proposal before, and a person counts once.",
    Conflict.STEP_DECIDED: "The step was let go or ended before.",
    Conflict.OFFER_DECIDED: "The step was claimed, withdrawn or ended meanwhile.",
    Conflict.REQUEST_DECIDED: "The approval request was answered, or judged anew, elsewhere.",
    Conflict.PLANS_UNDER_WAY: "The person is revoked, and plans of theirs are still under way: ask again in a moment.",
    Conflict.ONESELF: "Nobody erases themselves: another privacy officer does.",
    Conflict.RECORD_CHANGED: "Something was recorded about the context or the principal meanwhile.",
    Conflict.LINK_TAKEN: "The subject is, or was, somebody's: it is never given to another.",
    Conflict.FREEZE_ONESELF: "Nobody freezes themselves: somebody has to be left who can lift it.",
    Conflict.SECRET_EXISTS: "There is a secret of that name already: rotate it.",
    Conflict.SECRET_CHANGED: "Others change secrets of the tenant at this moment.",
    Conflict.CONNECTION_CHANGED: "Others change connections of the person at this moment.",
    Conflict.STEP_REPORTED: "Something else was reported of the step before, and it is reported once.",
    Conflict.STEP_NOT_RELEASED: "The step was not released to a client, so that nobody has anything to report of it.",
    Conflict.LETTER_SETTLED: "The dead letter was retried or discarded before.",
    Conflict.LETTER_STATEMENT: "The step may have run, and twice is not the same as once: say that it did not.",
    Conflict.LETTER_OWN: "Whoever asked for a step does not retry it: they send a new plan.",
    Conflict.LETTER_ERASED: "What the step was to do was erased, so nobody can do it again.",
    Conflict.LETTER_OLD: "The log no longer holds what became of the step, so it can only be discarded.",
    Conflict.RUN_TURN: "The run went on, or ended, elsewhere meanwhile.",
    Conflict.EXPORT_OTHER: "The export begins with other bytes now than the ones that you have of it.",
    Conflict.EXPORT_KEYS: "A key of the gateway has changed since the export was begun: it has to be begun anew.",
    Conflict.EXPORT_ENDING: "What you have reaches into the manifest, which is made anew: go on where that begins.",
    Conflict.AGENT_SESSION: "The session is followed already, or was.",
    Conflict.AGENT_CHANGED: "The agent was changed at Anthropic while it was looked at.",
}
"""Cause -> the one sentence a client may see."""


def because(cause: Conflict) -> dict[str, str]:
    """The hints of a ``request.conflict``: ``problem`` for programs, and ``why`` in words."""
    return {"problem": str(cause), "why": CONFLICTS[cause]}
