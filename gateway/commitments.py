"""Commitments: how the log vouches for a value that can still be erased. A commitment is salted, and the salt is kept,
sealed, beside the value: from a commitment alone nobody can tell what was erased.
"""

import hashlib
import secrets
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.canonical import canonical
from gateway.randomness import random_16_bytes

NAME_KEY: Final = "n-"
"""With which the ids of data keys begin that wrap names. No other id does: those are hexadecimal."""
_PRINCIPAL: Final = "@principal/"
_LINK: Final = "@link/"
_PERSON: Final = "@person/"


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


def name_subject(principal_id: str) -> str:
    """The data subject that a principal's id is: its data key is of no value, and wraps the id (``audit.names``)."""
    return f"{_PRINCIPAL}{principal_id}"


def named_principal(subject: str) -> str:
    """The id that :func:`name_subject` is of."""
    return subject.removeprefix(_PRINCIPAL)


def named_link(subject: str) -> tuple[str, str]:
    """Source and subject that :func:`link_subject` is of: a URL has no blank."""
    source, _, name = subject.removeprefix(_LINK).partition(" ")
    return source, name


def link_subject(source: str, subject: str) -> str:
    """The same of what a link says: an issuer's URL, and the subject of its tokens."""
    return f"{_LINK}{source} {subject}"


def new_name_key() -> str:
    """An id for the data key of a name. By its prefix it is kept until an erasure, though no value needs it."""
    return f"{NAME_KEY}{secrets.token_hex(15)}"


def person_key(name: str) -> str:
    """The data subject that a value names: a customer's number, an address, whatever the operator knows people by.

    Spellings that differ only in case, in surrounding blanks or in Unicode compatibility (NFKC) are one subject. The
    prefix is no tenant's name, so nobody is taken for a principal's context.
    """
    return _PERSON + unicodedata.normalize("NFKC", name).strip().casefold()


def person_named(subject: str) -> str | None:
    """A name that :func:`person_key` makes this subject of; ``None`` where it is no person's."""
    return subject.removeprefix(_PERSON) if subject.startswith(_PERSON) else None
