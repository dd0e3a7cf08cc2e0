"""Who somebody elsewhere is here: subjects of other issuers, and client certificates, linked to principals.

A security admin makes a link, or a subject's first token does where the operator wrote which claims make a principal. A
subject is never given to another principal, also not after its link was revoked. Entries name a link by a random id;
what it links lies under their commitment.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NoReturn, TypedDict

from sqlalchemy import Connection, bindparam, insert, update

from gateway.canonical import canonical
from gateway.commitments import link_subject, name_subject, new_name_key
from gateway.dual_control import TrustChange, is_trusted
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Refused
from gateway.model import Principal
from gateway.permissions import Permission, require
from gateway.ports import Append, Guard, Naming, Unless, Write
from gateway.reasons import Conflict, Reason, because
from gateway.store import directory_rows as rows
from gateway.store.directory_changes import CHANGED, Change, Changes, committed
from gateway.store.directory_reads import Found, principal
from gateway.store.tables import identity_links, principals
from gateway.times import format_time
from gateway.two_person import Kind

TOKEN: Final = "token"  # noqa: S105 - a kind of proof
CLAIMS: Final = "claims"
CERTIFICATE: Final = "certificate"
LINKS_MAX: Final = 64
"""Links of one principal, revoked ones included."""

_ADD_LINK: Final = insert(identity_links)
_ADD_PRINCIPAL: Final = insert(principals)
_REVOKE: Final = (
    update(identity_links)
    .where(identity_links.c.link_id == bindparam("named"), identity_links.c.revoked_at.is_(None))
    .values(revoked_at=bindparam("at"), mac=bindparam("new_mac"))
)
_WIDEN: Final = (
    update(principals)
    .where(
        principals.c.pseudonym == bindparam("named"),
        principals.c.revoked_at.is_(None),
        principals.c.mac == bindparam("old_mac"),
    )
    .values(roles=bindparam("new_roles"), mac=bindparam("new_mac"))
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody as they are known elsewhere.

    Attributes:
        kind: ``token``, or ``claims`` where the token's claims also say what its subject may do; ``certificate``.
        source: the issuer's URL; of a certificate a ``NameKind``, which is no URL.
        subject: ``sub``, or the certificate's name of that kind.
        expires_at: of a certificate that was shown, when it is over; a caller is judged by the one that they show.
    """

    kind: str
    tenant: str
    source: str
    subject: str
    expires_at: float | None = None


class LinkView(TypedDict):
    """A link as the API shows it. Source and subject are ``None`` where no key is left that opens them."""

    id: str
    kind: str
    source: str | None
    subject: str | None
    expires_at: str | None
    created_at: str
    revoked_at: str | None


class LinkAdmin(Changes):
    """Operations on links. Those of security admins check the actor themselves."""

    async def link(self, actor: Principal, principal_id: str, identity: Identity) -> LinkView:
        """Let whoever holds a token of a subject, or a certificate's key, call as a principal.

        Raises:
            Refused: ``auth.forbidden``; ``request.not_found`` (also for a revoked principal); ``request.conflict``
                where the identity is or was somebody's, or the principal has too many; ``proposal.required`` where the
                principal may decide and several people have to agree.
        """
        require(actor, Permission.PRINCIPALS_MANAGE)
        change = await self.prepare_link(actor.tenant, actor.pseudonym, principal_id, identity)
        return await self._make(actor.tenant, change)

    async def prepare_link(self, tenant: str, by: str, principal_id: str, identity: Identity) -> Change[LinkView]:
        """A link, ready to be made. ``by``: the pseudonym of who makes it. Raises as :meth:`link`."""
        found = await self._linkable(tenant, principal_id)
        person = principal(found)
        held = await self._rows(person)
        if len(held) >= LINKS_MAX:
            raise Refused(Reason.REQUEST_CONFLICT, "too many links", limit=LINKS_MAX, **because(Conflict.LINK_TAKEN))
        row = self._row_of(person.pseudonym, identity)
        entry = _entry(person, by, "linked", row)
        guard = Guard(_ADD_LINK, self._macs.seal(identity_links, row), _taken)
        item = Append([entry], guards=[guard], namings=[_naming(row)])
        # What its row says: who has no name may use less of it, until somebody names them.
        roles: list[str] = json.loads(found["roles"])
        before = {
            "roles": roles,
            "hands": None if found["hands"] is None else json.loads(found["hands"]),
            "links": sorted(one["link_id"] for one in held if one["revoked_at"] is None),
        }
        # Which subject it is, the request says, to which the proposal commits; in an entry it would outlast an erasure.
        after = {**before, "new_link": identity.kind}
        trust = TrustChange(Kind.TRUST_PRINCIPAL, "principal.link", person.pseudonym, before, after)
        trusted = is_trusted(roles) or await self.grows(tenant, person.pseudonym)
        return Change(item, _view(row), trust if trusted else None)

    async def links(self, actor: Principal, principal_id: str) -> list[LinkView]:
        """A principal's links, the revoked among them, oldest first.

        Raises:
            Refused: ``auth.forbidden``.
            RowChanged: ``gateway.internal``; a list that left a row out would look whole.
        """
        require(actor, Permission.PRINCIPALS_MANAGE)
        person = await self._anybody(actor.tenant, principal_id)
        return [] if person is None else [_view(row) for row in await self._rows(person)]

    async def unlink(self, actor: Principal, principal_id: str, link_id: str) -> LinkView:
        """Revoke a link, for ever.

        Raises:
            Refused: ``auth.forbidden``; ``request.not_found``; ``request.conflict`` where it is revoked.
        """
        require(actor, Permission.PRINCIPALS_MANAGE)
        person = await self._anybody(actor.tenant, principal_id)
        held = () if person is None else await self._rows(person)
        found = next((row for row in held if row["link_id"] == link_id), None)
        if person is None or found is None:
            raise Refused(Reason.REQUEST_NOT_FOUND, "no such link")
        if found["revoked_at"] is not None:
            raise Refused(Reason.REQUEST_CONFLICT, "revoked already", **because(Conflict.REVOKED))
        now = self._clock()
        gone = self._macs.seal(identity_links, {**found, "revoked_at": now})
        write = Write(_REVOKE, {"named": link_id, "at": now, "new_mac": gone["mac"]})
        await self._append(Append([_entry(person, actor.pseudonym, "link_revoked", found)], [write]))
        return _view({**found, "revoked_at": now})

    async def provision(self, identity: Identity, name: str, roles: Sequence[str], hands: Sequence[str] | None) -> None:
        """Make a principal of a subject whose token's claims say that it is one, with its link, in one append.

        Args:
            name: of the issuer in the settings; the principal's id begins with it.

        Raises:
            Refused: ``request.conflict`` where another request or gateway made it first; ``request.malformed``.
        """
        scope = rows.hand_scope(hands)
        principal_id = rows.identifier(f"{name}:{secrets.token_hex(10)}", "id")
        person: Found = {
            "id": principal_id,
            "named": True,
            "tenant": identity.tenant,
            "pseudonym": f"p-{secrets.token_hex(16)}",
            "name_key": new_name_key(),
            "roles": json.dumps(rows.roles(roles)),
            "hands": None if scope is None else json.dumps(scope),
            "approval_jwk": None,
            "created_at": self._clock(),
            "revoked_at": None,
        }
        link = self._row_of(person["pseudonym"], identity)
        entry = _entry(principal(person), person["pseudonym"], "provisioned", link)
        # The link first: where it is taken already, nobody is added.
        guards = [
            Guard(_ADD_LINK, self._macs.seal(identity_links, link), _taken),
            Guard(_ADD_PRINCIPAL, self._macs.seal(principals, person), _taken),
        ]
        named = Naming(identity.tenant, name_subject(principal_id), person["name_key"], _taken)
        await self._append(Append([entry], guards=guards, namings=[_naming(link), named]))

    async def widen(self, person: Principal, roles: Sequence[str]) -> None:
        """Keep on record that a token's claims give a principal made from claims more roles than before.

        Its row holds every role that its tokens ever gave; what one request may do is what its own token gives.

        Raises:
            Malformed: ``request.malformed`` where both together are roles that nobody may have.
            Overtaken: its row changed meanwhile.
        """
        before = await self._read(
            lambda connection: self._reads.person_row(connection, person.tenant, person.pseudonym)
        )
        if before is None or before["revoked_at"] is not None:
            return
        known = set(json.loads(before["roles"]))
        if known.issuperset(roles):
            return
        united = rows.roles({*known, *roles})
        after = self._macs.seal(principals, {**before, "roles": json.dumps(united)})
        row = {"named": person.pseudonym, "old_mac": before["mac"]}
        write = Write(_WIDEN, {**row, "new_roles": after["roles"], "new_mac": after["mac"]})
        entry = _entry(principal({**before, **after}), person.pseudonym, "roles_widened", None)
        await self._append(Append([entry], [write], unless=[Unless(CHANGED, row)]))

    # --- inside ------------------------------------------------------------------------------------------------------

    def _name_mac(self, identity: Identity) -> str:
        """One column for what must be unique: however a subject came to be linked, it is linked once in a tenant."""
        message = canonical([identity.tenant, identity.source, identity.subject])
        return self._macs.of_message("identity link", message).hex()

    def _row_of(self, pseudonym: str, identity: Identity) -> Found:
        return {
            "name_mac": self._name_mac(identity),
            "link_id": secrets.token_hex(8),
            "tenant": identity.tenant,
            "pseudonym": pseudonym,
            "kind": identity.kind,
            "name_key": new_name_key(),
            "source": identity.source,
            "subject": identity.subject,
            "expires_at": identity.expires_at,
            "created_at": self._clock(),
            "revoked_at": None,
        }

    async def _linkable(self, tenant: str, principal_id: str) -> Found:
        found = await self._read(lambda connection: self._reads.principal_rows(connection, tenant, principal_id))
        if not found or found[0]["revoked_at"] is not None:
            raise Refused(Reason.REQUEST_NOT_FOUND, "no such principal")
        return found[0]

    async def _anybody(self, tenant: str, principal_id: str) -> Principal | None:
        """Also one that is revoked."""
        found = await self._read(lambda connection: self._reads.principal_rows(connection, tenant, principal_id))
        return principal(found[0]) if found else None

    async def _rows(self, person: Principal) -> list[Found]:
        return await self._read(lambda connection: self._reads.link_rows(connection, person.tenant, person.pseudonym))


def _naming(row: Found) -> Naming:
    """What a link says, wrapped beside its row."""
    return Naming(row["tenant"], link_subject(row["source"], row["subject"]), row["name_key"], _taken)


def _view(row: Found) -> LinkView:
    return {
        "id": row["link_id"],
        "kind": row["kind"],
        "source": row["source"],
        "subject": row["subject"],
        "expires_at": format_time(row["expires_at"]),
        "created_at": format_time(row["created_at"]),
        "revoked_at": format_time(row["revoked_at"]),
    }


def _entry(person: Principal, actor: str, change: str, link: Found | None) -> EntryDraft:
    """What is linked lies under the commitment; that something is, and by which kind of proof, stands in clear."""
    facts: dict[str, str | int] = {
        "change": change,
        "subject": person.pseudonym,
        "roles": ",".join(sorted(map(str, person.roles))),
        "hands": "*" if person.hands is None else ",".join(sorted(person.hands)),
    }
    document: dict[str, object] = {"id": person.id}
    if link is not None:
        facts |= {"link": link["link_id"], "link_kind": link["kind"]}
        document |= {"source": link["source"], "subject": link["subject"]}
    return EntryDraft(
        EntryType.PRINCIPAL_CHANGED,
        person.tenant,
        principal=actor,
        facts=facts,
        fields={"principal": committed(document, person.tenant, person.id)},
    )


def _taken(_connection: Connection | None = None) -> NoReturn:
    raise Refused(
        Reason.REQUEST_CONFLICT, "the identity is or was somebody's", member="subject", **because(Conflict.LINK_TAKEN)
    )
