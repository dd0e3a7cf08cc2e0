"""The exception root of the client. Exceptions of the libraries below stop at this package's boundary."""

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """Root of everything this package raises on purpose. The text is for people and holds no secret."""


class MalformedError(ClientError):
    """Bytes that two readers could read differently, or that are not what they should be."""


class JwsError(MalformedError):
    """A text that is not a compact JWS of the class that is expected.

    Attributes:
        code: ``verify.malformed``, ``verify.algorithm``, ``verify.header`` or ``verify.type``.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class KeyFileError(ClientError):
    """A key file that is missing, unreadable, not an Ed25519 JWK, or open to other users."""


class PlanError(ClientError):
    """A plan that no gateway would accept: a wrong id, an unknown dependency, a circle."""


class ApprovalMismatchError(ClientError):
    """The call shown is not the call that the binding names, so nothing was signed.

    Attributes:
        member: the member of the binding that disagrees.
    """

    def __init__(self, member: str, text: str) -> None:
        super().__init__(f"{member}: {text}")
        self.member = member


class Unreachable(ClientError):
    """Nothing answered at the gateway's URL, or the connection broke before an answer came."""


class Unverified(Unreachable):
    """The gateway's certificate does not verify by the authorities that were given, or by the system's."""


class CertificateRefused(Unreachable):
    """The gateway, or what stands before it, does not take the client's certificate, or wants one."""


class UnexpectedReply(ClientError):
    """Something answered, but not in the gateway's words (a proxy, another program).

    Attributes:
        status: the HTTP status code.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class HandrailProblem(ClientError):
    """The gateway's own refusal, an RFC 9457 problem document.

    Attributes:
        code: closed reason code (``verify.replayed``).
        status: HTTP status code.
        detail: the gateway's fixed sentence for the code.
        facts: further members of the document: safe facts such as a pointer or a limit.
        request_id: what to quote to the operator.
    """

    def __init__(
        self, code: str, status: int, detail: str, facts: Mapping[str, Any] | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.status = status
        self.detail = detail
        self.facts = dict(facts or {})
        self.request_id = request_id


class TrustError(ClientError):
    """The trust document cannot be used, so nothing can be verified with it."""


class VerificationError(ClientError):
    """A receipt that does not hold.

    Attributes:
        step: number of the failed step of :func:`handrail.verify.verify_receipt`.
        title: what that step checks.
        reason: what was found instead, in plain words.
    """

    def __init__(self, step: int, title: str, reason: str) -> None:
        super().__init__(f"step {step} ({title}): {reason}")
        self.step = step
        self.title = title
        self.reason = reason


class WebhookError(ClientError):
    """A webhook message is not genuine, not whole or not fresh."""


class StepRefused(ClientError):
    """A hand must not do what it was asked: no credential for exactly this call came with it.

    Attributes:
        code: ``credential.missing``, ``verify.*``, ``credential.refused`` or ``proof.refused``.
        challenge: value of the ``WWW-Authenticate`` header for an answer 401 (RFC 9449 section 7.1).
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        if code == "credential.missing":
            self.challenge = 'DPoP algs="Ed25519"'
        else:
            error = "invalid_dpop_proof" if code == "proof.refused" else "invalid_token"
            self.challenge = f'DPoP error="{error}", algs="Ed25519"'


class ToolError(ClientError):
    """An action of a remote hand failed. The text is for whoever asked: it is returned as the step's result."""
