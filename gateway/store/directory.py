"""Who may call and who may sign plans: API keys, principals and issuers, as the pipeline asks for them.

What is remembered is at most two seconds old, so a revocation by another gateway process bites by then; one by this
process bites at once. Changes are in ``directory_principals`` and ``directory_issuers``, reading in
``directory_reads``. A row that is not as the gateway left it is answered as if there were none, and logged.
"""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, Engine

from audit.names import Names
from gateway.errors import Absent, Refused
from gateway.model import Issuer, Principal
from gateway.ports import AuditLog
from gateway.reasons import Reason
from gateway.store import directory_rows as rows
from gateway.store.directory_cache import Key, Lookups, Unknown, Value
from gateway.store.directory_issuers import IssuerAdmin
from gateway.store.directory_links import Identity, LinkAdmin
from gateway.store.directory_names import NameAdmin
from gateway.store.directory_principals import PrincipalAdmin
from gateway.store.directory_rows import ApiKey, Linked, Name, NewPrincipal
from gateway.store.directory_security_keys import SecurityKeyAdmin
from gateway.store.row_macs import RowMacs

__all__ = ["NewPrincipal", "SqlDirectory"]

PRESENT_SECONDS: Final = 2.0
ABSENT_SECONDS: Final = 1.0
_NO_DIGEST: Final = "0" * 64
"""Compared with where there is no key, so that an unknown key takes no other way than a wrong secret."""


class SqlDirectory(PrincipalAdmin, NameAdmin, IssuerAdmin, SecurityKeyAdmin, LinkAdmin):
    """Implements ``gateway.ports.Directory`` over the database, and the operations on it. Belongs to one event loop."""

    def __init__(
        self, engine: Engine, log: AuditLog, mac_key: bytes, names: Names, clock: Callable[[], float] = time.time
    ) -> None:
        """Use ``engine`` for reads and ``log`` for changes.

        Args:
            mac_key: 32 bytes from outside the database. Whoever can write there and has no key can make nobody an
                administrator, and register no issuer.
        """
        super().__init__(engine, log, RowMacs(mac_key), names, clock)
        self._api_keys: Lookups[str, ApiKey] = self._lookups(self._reads.keys)
        self._links: Lookups[str, Linked] = self._lookups(self._reads.links)
        self._links_by_id: Lookups[str, Linked] = self._lookups(self._reads.links_by_id)
        self._principals: Lookups[Name, Principal] = self._lookups(self._reads.principals)
        self._people: Lookups[Name, Principal] = self._lookups(self._reads.people)
        self._names: Lookups[Name, str] = self._lookups(self._reads.names)
        self._issuers: Lookups[Name, Issuer] = self._lookups(self._reads.issuers)

    async def authenticate(self, token: str, now: float) -> Principal:
        """The principal behind an API key.

        Raises:
            Refused: ``auth.invalid`` (malformed, unknown, wrong secret, revoked, a changed row: alike),
                ``auth.expired``.
            Unavailable: the database cannot be read.
        """
        match = rows.TOKEN.fullmatch(token)
        if match is None:
            raise Refused(Reason.AUTH_INVALID, "not an API key")
        found = self._api_keys.known(match[1])
        if isinstance(found, Unknown):
            found = await self._api_keys.get(match[1])
        stored = _NO_DIGEST if found is None else found.secret_sha256
        holds = hmac.compare_digest(hashlib.sha256(match[2].encode()).hexdigest(), stored)
        if found is None or not holds or found.principal is None:
            raise Refused(Reason.AUTH_INVALID, f"key {match[1]}")
        if now >= found.expires_at:
            raise Refused(Reason.AUTH_EXPIRED, f"key {match[1]}")
        return found.principal

    async def holder(self, key_id: str, now: float) -> Principal:
        """The principal behind an API key that it has shown before: for a session that the key opened.

        Raises:
            Refused: ``auth.invalid`` (unknown or revoked, or its principal is), ``auth.expired``.
            Unavailable: the database cannot be read.
        """
        found = await self._api_keys.get(key_id)
        if found is None or found.principal is None:
            raise Refused(Reason.AUTH_INVALID, f"key {key_id}")
        if now >= found.expires_at:
            raise Refused(Reason.AUTH_EXPIRED, f"key {key_id}")
        return found.principal

    async def linked(self, identity: Identity) -> Linked | None:
        """Who an identity elsewhere is here, as API keys are looked up; ``None`` where it was never anybody.

        Raises:
            Unavailable: the database cannot be read.
        """
        return await self._links.get(self._name_mac(identity))

    async def link_of(self, link_id: str) -> Linked | None:
        """A link by its id: for a session that a login opened.

        Raises:
            Unavailable: the database cannot be read.
        """
        return await self._links_by_id.get(link_id)

    async def principal(self, tenant: str, principal_id: str) -> Principal:
        """A principal that is not revoked. Raises ``request.not_found``."""
        found = await self._principals.get((tenant, principal_id))
        if found is None:
            raise Absent("principal", principal_id)
        return found

    async def person(self, tenant: str, pseudonym: str) -> Principal:
        """The same by pseudonym, as rows and entries name people. Raises ``request.not_found``."""
        found = await self._people.get((tenant, pseudonym))
        if found is None:
            raise Refused(Reason.REQUEST_NOT_FOUND, "no such principal")
        return found

    async def names(self, tenant: str, pseudonyms: Iterable[str]) -> Mapping[str, str]:
        """Pseudonym -> id, also of who is revoked; without those that are nobody's (any more). Found together."""
        wanted = sorted(set(pseudonyms))
        found = await asyncio.gather(*(self._names.get((tenant, one)) for one in wanted))
        return {one: name for one, name in zip(wanted, found, strict=True) if name is not None}

    async def issuer(self, issuer_id: str, tenant: str) -> Issuer:
        """An issuer that is not revoked, with all its keys; whether one may sign is for whoever verifies.

        Raises:
            Refused: ``verify.unknown_issuer``.
        """
        found = await self._issuers.get((tenant, issuer_id))
        if found is None:
            raise Refused(Reason.VERIFY_UNKNOWN_ISSUER)
        return found

    def forget(self) -> None:
        """Believe nothing that was read until now."""
        by_people = (self._principals, self._people, self._names, self._issuers)
        for lookups in (self._api_keys, self._links, self._links_by_id, *by_people):
            lookups.forget()

    def _lookups(self, read: Callable[[Connection, Sequence[Key]], Mapping[Key, Value]]) -> Lookups[Key, Value]:
        def fetch(wanted: Sequence[Key]) -> Mapping[Key, Value]:
            return self._blocking_read(lambda connection: read(connection, wanted))

        return Lookups(fetch, self._clock, present_seconds=PRESENT_SECONDS, absent_seconds=ABSENT_SECONDS)
