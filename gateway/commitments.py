"""Commitments: how the log vouches for a value that can still be erased. A commitment is salted, and the salt is kept,
sealed, beside the value: from a commitment alone nobody can tell what was erased.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.canonical import canonical
from gateway.randomness import random_16_bytes


@dataclass(frozen=True, slots=True)
class Committed:
    """A value that the log commits to without carrying: ``commitment = SHA-256(salt || value)``.

    Attributes:
        subject: whose data key seals value and salt in the erasable side table.
    """

    value: bytes
    salt: bytes
    commitment: str
    subject: str


def commit(value: bytes, subject: str) -> Committed:
    """Commit to ``value`` under a fresh 128-bit salt."""
    salt = random_16_bytes()
    return Committed(value, salt, hashlib.sha256(salt + value).hexdigest(), subject)


def fields_root(commitments: Mapping[str, str]) -> str:
    """The one root that an entry carries over the commitments of all its personal fields.

    SHA-256 over the RFC 8785 form of ``{field name: hex commitment}``; the empty string where there is no field.
    """
    return hashlib.sha256(canonical(dict(commitments))).hexdigest() if commitments else ""


def subject_key(tenant: str, principal_id: str, context_id: str) -> str:
    """The data subject that owns the payloads of a principal's context."""
    return f"{tenant}/{principal_id}/{context_id}"
