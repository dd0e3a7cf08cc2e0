"""Commitments: how the log vouches for a value that can still be erased. A commitment is salted, and the salt is kept,
sealed, beside the value: from a commitment alone nobody can tell what was erased.
"""

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.canonical import canonical
from gateway.randomness import random_16_bytes


@dataclass(frozen=True, slots=True)
class Committed:
    """A value that the log commits to without carrying: ``commitment = SHA-256(salt || value)``.

    Attributes:
        subjects: whose data keys, all of them together, seal value and salt in the erasable side table.
    """

    value: bytes
    salt: bytes
    commitment: str
    subjects: tuple[str, ...]


def commit(value: bytes, *subjects: str) -> Committed:
    """Commit to ``value``, which concerns ``subjects`` (at least one), under a fresh 128-bit salt."""
    salt = random_16_bytes()
    owners = subjects if len(subjects) == 1 else tuple(sorted(set(subjects)))
    return Committed(value, salt, hashlib.sha256(salt + value).hexdigest(), owners)


def fields_root(commitments: Mapping[str, str]) -> str:
    """The one root that an entry carries over the commitments of all its personal fields.

    SHA-256 over the RFC 8785 form of ``{field name: hex commitment}``; the empty string where there is no field.
    """
    return hashlib.sha256(canonical(dict(commitments))).hexdigest() if commitments else ""


def subject_key(tenant: str, principal_id: str, context_id: str) -> str:
    """The data subject that owns the payloads of a principal's context."""
    return f"{tenant}/{principal_id}/{context_id}"


def person_key(name: str) -> str:
    """The data subject that a value names: a customer's number, an address, whatever the operator knows people by.

    Spellings that differ only in case, in surrounding blanks or in Unicode compatibility (NFKC) are one subject. The
    prefix is no tenant's name, so nobody is taken for a principal's context.
    """
    return "@person/" + unicodedata.normalize("NFKC", name).strip().casefold()
