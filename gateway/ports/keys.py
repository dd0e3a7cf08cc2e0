"""The gateway's own keys: what signs its messages and mints step credentials."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Protocol

from gateway.model import Binding, Plan


class Purpose(StrEnum):
    """What a key of the gateway may sign. One key never serves two purposes."""

    CONNECTOR = "connector"
    """Plans that an ingress signs for its caller."""
    STEP = "step"
    """Step credentials."""
    RECEIPT = "receipt"
    """Receipts, acceptances, the manifests of exported evidence, and the history of the gateway's keys."""
    CHECKPOINT = "checkpoint"
    """The log's signed notes."""
    CHECKPOINT_PQ = "checkpoint-pq"
    """The log's second signature, by ML-DSA-44, where it is configured."""
    POLICY = "policy"
    """Nothing yet; kept for policy bundles that the gateway builds itself."""
    APPROVAL = "approval"
    """Approvals and acts on proposals that the gateway attests."""


class Typ(StrEnum):
    """JWS ``typ`` per message class."""

    PLAN = "plan+jws"
    ACCEPT = "accept+jws"
    STEP = "step+jws"
    RESULT = "result+jws"
    RECEIPT = "receipt+jws"
    APPROVAL = "approval+jws"
    PROPOSAL = "proposal+jws"
    BUNDLE = "bundle+jws"
    EXPORT = "export+jws"
    HISTORY = "history+jws"


class Signer(Protocol):
    """Signs the gateway's own messages with the active key of a purpose. Thread-safe.

    No I/O, unless a token or a service holds the key: those of services (``checkpoint, policy, approval``) are used in
    threads alone.
    """

    def sign(self, purpose: Purpose, typ: Typ, payload: bytes) -> str:
        """Compact JWS, ``alg: Ed25519``, ``kid`` = RFC 7638 thumbprint.

        Raises:
            Unavailable: ``key.unavailable``.
        """

    def sign_raw(self, purpose: Purpose, message: bytes) -> bytes:
        """Signature by the purpose's active key, for signed notes: 64 bytes of Ed25519 (RFC 8032), or of
        ``checkpoint-pq`` 2,420 of ML-DSA-44 (FIPS 204)."""

    def active_jwk(self, purpose: Purpose) -> Mapping[str, str]:
        """Public JWK of the active key (``kty, crv, x, kid, alg, use``; of ML-DSA-44 ``kty, alg, pub, kid, use``)."""

    def jwks(self) -> Mapping[str, Any]:
        """RFC 7517 set of every key that is next, active or retiring."""


class Credentials(Protocol):
    """Mints step credentials (RFC 8693 and RFC 9396 in shape)."""

    def mint(
        self, plan: Plan, hand: str, action: str, binding: Binding, ttl_seconds: int, now: float
    ) -> tuple[str, str]:
        """A single-use JWT for one exact call, and its ``jti``. At most 60 s old when it dies.

        Raises:
            Unavailable: ``key.unavailable``.
        """

    def prove(self, credential: str, method: str, url: str) -> str:
        """A DPoP proof (RFC 9449) for the one HTTP request that presents ``credential``, by the key that it is bound
        to. Thread-safe; no I/O."""
