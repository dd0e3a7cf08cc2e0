"""Security keys of people: how one is enrolled, found, used and revoked.

A person enrols a key at the page, logged in with their own API key, *and* with a ticket that a security admin gave
them: somebody who stole the API key alone enrols nothing, so that a policy which asks for an own key asks for more.
"""

import hmac
import json
import secrets
from collections.abc import Sequence
from typing import Final, TypedDict

from sqlalchemy import Connection, bindparam, insert, update

from gateway.canonical import b64url_decode, b64url_encode, canonical, parse
from gateway.dual_control import ENOUGH
from gateway.entries import EntryDraft, EntryType
from gateway.errors import HandrailError, Refused
from gateway.model import Principal
from gateway.permissions import Permission, require, signs
from gateway.ports import Append, Guard, Write
from gateway.reasons import Conflict, Reason, because
from gateway.store.directory_changes import Changes, committed, conflict
from gateway.store.directory_reads import Found
from gateway.store.tables import security_keys
from gateway.times import format_time
from gateway.webauthn import Registered, RelyingParty, SecurityKey, check_public, thumbprint
from keys import jwk

TICKET_SECONDS: Final = 86_400
"""How long a ticket may be used."""
KEYS_MAX: Final = 16
"""Security keys that one person may have."""
_PREFIX: Final = "hre_"
_TICKET_MAX: Final = 1024

_ENROL: Final = insert(security_keys)
_USED: Final = (
    update(security_keys)
    .where(security_keys.c.tenant == bindparam("in_tenant"), security_keys.c.kid == bindparam("named"))
    .values(sign_count=bindparam("new_count"), mac=bindparam("new_mac"))
)
_REVOKE: Final = (
    update(security_keys)
    .where(
        security_keys.c.tenant == bindparam("in_tenant"),
        security_keys.c.kid == bindparam("named"),
        security_keys.c.revoked_at.is_(None),
    )
    .values(revoked_at=bindparam("at"), mac=bindparam("new_mac"))
)


class TicketView(TypedDict):
    """A ticket for one enrolment, shown this once."""

    ticket: str
    expires_at: str


class SecurityKeyAdmin(Changes):
    """Operations on security keys. Each checks the actor itself."""

    async def offer_enrolment(self, actor: Principal, principal_id: str) -> TicketView:
        """A ticket with which the principal may enrol one security key, once.

        Raises:
            Refused: ``auth.forbidden``, also for a ticket of one's own where somebody else could give it;
                ``request.not_found`` (also for a revoked principal); ``request.conflict`` for who has nothing to sign.
        """
        require(actor, Permission.PRINCIPALS_MANAGE)
        person = await self._person(actor.tenant, principal_id)
        if person is None:
            raise Refused(Reason.REQUEST_NOT_FOUND, "no such principal")
        if not signs(person):
            raise Refused(
                Reason.REQUEST_CONFLICT,
                "nothing to sign with security keys",
                member="roles",
                **because(Conflict.NOT_AN_APPROVER),
            )
        if person.pseudonym == actor.pseudonym:
            # A stolen API key of an approver who is a security admin too would be ticket and person in one.
            known = await self.administrators(actor.tenant)
            if len(known.pseudonyms) >= ENOUGH:
                raise Refused(Reason.AUTH_FORBIDDEN, "a ticket comes from another security admin")
        expires_at = self._clock() + TICKET_SECONDS
        body = canonical([actor.tenant, person.pseudonym, int(expires_at), secrets.token_hex(16)])
        ticket = f"{_PREFIX}{b64url_encode(body)}.{b64url_encode(self._ticket_mac(body))}"
        await self._append(Append([_entry(person, actor.pseudonym, "enrolment_offered")]))
        return {"ticket": ticket, "expires_at": format_time(expires_at)}

    async def enrol(self, person: Principal, ticket: str, registered: Registered, party: RelyingParty) -> SecurityKey:
        """Enrol the person's own security key.

        Raises:
            Refused: ``approval.key`` for a ticket that is not theirs, is over or was used, or a key that is taken or
                unsound; ``request.conflict`` where the person has too many.
        """
        nonce = self._open_ticket(person, ticket)
        if registered.jwk["kty"] == "OKP":
            jwk.public(registered.jwk)
        check_public(registered.jwk)
        if len(await self.security_keys(person.tenant, person.pseudonym)) >= KEYS_MAX:
            raise Refused(
                Reason.REQUEST_CONFLICT, "too many security keys", limit=KEYS_MAX, **because(Conflict.SECURITY_KEYS)
            )
        kid = thumbprint(registered.jwk)
        row: Found = {
            "tenant": person.tenant,
            "kid": kid,
            "pseudonym": person.pseudonym,
            "credential_id": registered.credential_id,
            "jwk": canonical(registered.jwk).decode(),
            "rp_id": party.id,
            "sign_count": registered.sign_count,
            "ticket": nonce,
            "created_at": self._clock(),
            "revoked_at": None,
        }
        guard = Guard(_ENROL, self._macs.seal(security_keys, row), _taken)
        await self._append(Append([_entry(person, person.pseudonym, "security_key_added", kid)], guards=[guard]))
        return _key(row)

    async def security_keys(self, tenant: str, pseudonym: str) -> Sequence[SecurityKey]:
        """The keys of a principal that are not revoked; none where the principal is."""

        def read(connection: Connection) -> list[SecurityKey]:
            if not self._reads.people(connection, [(tenant, pseudonym)]):
                return []
            return [_key(row) for row in self._reads.security_key_rows(connection, tenant, pseudonym)]

        return await self._read(read)

    async def used(self, tenant: str, key: SecurityKey, sign_count: int) -> Write:
        """The row that keeps a key's counter, to be written with what the key signed.

        Raises:
            Refused: ``approval.key`` where the key was revoked meanwhile.
        """
        row = await self._row(tenant, key.kid)
        sealed = self._macs.seal(security_keys, {**row, "sign_count": sign_count})
        return Write(_USED, {"in_tenant": tenant, "named": key.kid, "new_count": sign_count, "new_mac": sealed["mac"]})

    async def revoke_security_key(self, actor: Principal, principal_id: str, kid: str) -> None:
        """Revoke one key of a principal, for ever.

        Raises:
            Refused: ``auth.forbidden``; ``request.not_found`` where the principal has no such key, or no more.
        """
        require(actor, Permission.PRINCIPALS_MANAGE)
        person = await self._person(actor.tenant, principal_id)
        try:
            row = await self._row(actor.tenant, kid)
        except Refused:
            row = None
        if person is None or row is None or row["pseudonym"] != person.pseudonym:
            raise Refused(Reason.REQUEST_NOT_FOUND, "no such security key")
        now = self._clock()
        gone = self._macs.seal(security_keys, {**row, "revoked_at": now})
        write = Write(_REVOKE, {"in_tenant": actor.tenant, "named": kid, "at": now, "new_mac": gone["mac"]})
        await self._append(Append([_entry(person, actor.pseudonym, "key_revoked", kid)], [write]))

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _person(self, tenant: str, principal_id: str) -> Principal | None:
        found = await self._read(lambda connection: self._reads.principals(connection, [(tenant, principal_id)]))
        return found.get((tenant, principal_id))

    async def _row(self, tenant: str, kid: str) -> Found:
        found = await self._read(lambda connection: self._reads.security_key_rows(connection, tenant, kid=kid))
        if not found:
            raise Refused(Reason.APPROVAL_KEY, "revoked, or never enrolled")
        return found[0]

    def _open_ticket(self, person: Principal, ticket: str) -> str:
        """The ticket's nonce."""
        try:
            if not ticket.startswith(_PREFIX) or len(ticket) > _TICKET_MAX:
                raise ValueError("no ticket")
            body, mac = (b64url_decode(part) for part in ticket.removeprefix(_PREFIX).split("."))
            if not hmac.compare_digest(mac, self._ticket_mac(body)):
                raise ValueError("mac")
            tenant, pseudonym, expires_at, nonce = parse(body)
        except (HandrailError, ValueError):
            raise Refused(Reason.APPROVAL_KEY, "not a ticket of this gateway") from None
        if (tenant, pseudonym) != (person.tenant, person.pseudonym):
            raise Refused(Reason.APPROVAL_KEY, "somebody else's ticket")
        if self._clock() >= expires_at:
            raise Refused(Reason.APPROVAL_KEY, "the ticket is over")
        return str(nonce)

    def _ticket_mac(self, body: bytes) -> bytes:
        return self._macs.of_message("enrolment ticket", body)


def _key(row: Found) -> SecurityKey:
    return SecurityKey(row["kid"], row["credential_id"], json.loads(row["jwk"]), row["rp_id"], row["sign_count"])


def _entry(person: Principal, actor: str, change: str, kid: str | None = None) -> EntryDraft:
    facts: dict[str, str | int] = {
        "change": change,
        "subject": person.pseudonym,
        "roles": ",".join(sorted(map(str, person.roles))),
    }
    if kid is not None:
        facts["kid"] = kid
    return EntryDraft(
        EntryType.PRINCIPAL_CHANGED,
        person.tenant,
        principal=actor,
        facts=facts,
        fields={"principal": committed({"id": person.id}, person.tenant, person.id)},
    )


def _taken(connection: Connection) -> None:
    try:
        conflict(connection)
    except Refused:
        raise Refused(Reason.APPROVAL_KEY, "the key or the ticket was used before") from None
