"""What people were asked about a step, and who of them approved it."""

from dataclasses import dataclass

from gateway.model import ApprovalRequest, Attestation, Decision


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's approval of a step, as a receipt names it."""

    approver: str
    """Pseudonym."""
    attested_by: Attestation


@dataclass(frozen=True, slots=True)
class Question:
    """What people were asked about a step, before policy or hand changed.

    Attributes:
        request: ``None`` where it is not known in full any more.
        asked: how often it was put to people.
        closed: it was answered.
    """

    approval_id: str
    request: ApprovalRequest | None
    asked: int
    closed: bool
    decision: Decision | None
    manifest_digest: str | None
    args_sha256: str

    def asks_the_same(self, new: Decision | None, manifest_digest: str | None, args_sha256: str) -> bool:
        """Whether it still waits, and a new decision about the step asks for exactly the same about exactly the same
        call."""
        old = self.decision
        if self.closed or old is None or new is None:
            return False
        same_call = (self.manifest_digest, self.args_sha256) == (manifest_digest, args_sha256)
        return same_call and (old.effect, old.reasons, old.obligations) == (new.effect, new.reasons, new.obligations)
