"""How rows of the directory are read: each as the gateway left it, or not at all.

Two things vouch for a row. Its MAC says that the gateway wrote it. The log says that it was not revoked since: rows of
the directory change in no other way, so an older copy that somebody put back is one that the log knows as revoked.
"""

import json
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, select, tuple_

from audit.history import directory_changes
from audit.names import Names
from gateway.canonical import b64url_encode, canonical
from gateway.commitments import name_subject, named_link, named_principal
from gateway.model import Issuer, IssuerKey, Principal, Role
from gateway.store.directory_rows import PSEUDONYM, ApiKey, Linked, Name
from gateway.store.row_macs import RowChanged, RowMacs, sound
from gateway.store.tables import api_keys, identity_links, issuer_keys, issuers, principals, security_keys

Found = dict[str, Any]
"""A row by column name."""

_KEYS: Final = select(api_keys).where(api_keys.c.key_id.in_(bindparam("keys", expanding=True)))
_LIVE_KEYS: Final = select(api_keys).where(
    api_keys.c.tenant == bindparam("tenant"),
    api_keys.c.pseudonym == bindparam("pseudonym"),
    api_keys.c.revoked_at.is_(None),
)
_PEOPLE: Final = select(principals).where(principals.c.pseudonym.in_(bindparam("pseudonyms", expanding=True)))
_NAMED: Final = select(principals).where(
    principals.c.tenant == bindparam("tenant"), principals.c.name_key.in_(bindparam("name_keys", expanding=True))
)
_ADMINISTRATORS: Final = select(principals).where(
    principals.c.tenant == bindparam("tenant"), principals.c.roles.contains(Role.SECURITY_ADMIN)
)
_ADMINISTERED: Final = select(principals.c.tenant).where(principals.c.roles.contains(Role.SECURITY_ADMIN)).distinct()
_NAMELESS_ROLES: Final = frozenset({Role.SECURITY_ADMIN})
_ISSUERS: Final = select(issuers).where(
    tuple_(issuers.c.tenant, issuers.c.issuer_id).in_(bindparam("keys", expanding=True))
)
_ISSUER_KEYS: Final = (
    select(issuer_keys)
    .where(tuple_(issuer_keys.c.tenant, issuer_keys.c.issuer_id).in_(bindparam("keys", expanding=True)))
    .order_by(issuer_keys.c.not_before, issuer_keys.c.kid)
)
_LINKS: Final = select(identity_links).where(identity_links.c.name_mac.in_(bindparam("keys", expanding=True)))
_LINKS_BY_ID: Final = select(identity_links).where(identity_links.c.link_id.in_(bindparam("keys", expanding=True)))
_REVOKED_PART: Final = {"revoked": "", "key_revoked": "kid", "link_revoked": "link"}
"""Change -> the fact that says which part of its subject was revoked; the empty one is none: all of it."""
_PUT_BACK: Final = "was put back from before its revocation"


class Revocations:
    """What the log says was revoked: principals and issuers by pseudonym, their keys and links by pseudonym and id.

    Read on from where the last reading ended, and kept: a revocation is for ever. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_to: dict[str, int] = {}
        self._revoked: set[tuple[str, str]] = set()

    def read(self, connection: Connection, tenants: Iterable[str]) -> None:
        """Take in what was logged since; to be done *before* the rows are read, which are then as new at least."""
        for tenant in tenants:
            found = list(directory_changes(connection, tenant, self._read_to.get(tenant, -1)))
            with self._lock:
                self._revoked.update(
                    (facts.get("subject", ""), facts.get(_REVOKED_PART[facts["change"]], ""))
                    for _, facts in found
                    if facts.get("change") in _REVOKED_PART
                )
                if found:
                    self._read_to[tenant] = max(found[-1][0], self._read_to.get(tenant, -1))

    def __contains__(self, what: tuple[str, str]) -> bool:
        """Whether ``(pseudonym, id of a key or link)`` was revoked; the id is empty for all of a subject."""
        return what in self._revoked


class DirectoryReads:
    """Reads through a connection that the caller gives. Thread-safe."""

    def __init__(self, macs: RowMacs, names: Names) -> None:
        self._macs = macs
        self._names = names
        self._revocations = Revocations()

    # --- what the pipeline needs; a refused row is not there ---------------------------------------------------------

    def keys(self, connection: Connection, key_ids: Sequence[str]) -> dict[str, ApiKey]:
        """API keys by id, each with its principal."""
        found = connection.execute(_KEYS, {"keys": list(key_ids)}).mappings()
        rows = sound(found, partial(self._macs.verify_row, api_keys))
        people = self.people(connection, [_name(row) for row in rows])
        return {
            row["key_id"]: ApiKey(
                row["secret_sha256"],
                row["expires_at"],
                None if row["revoked_at"] is not None else people.get(_name(row)),
            )
            for row in rows
        }

    def links(self, connection: Connection, name_macs: Sequence[str]) -> dict[str, Linked]:
        """Links by the MAC of what they link, each with its principal; also revoked ones: they are not made anew."""
        return self._linked(connection, _LINKS, name_macs, "name_mac")

    def links_by_id(self, connection: Connection, link_ids: Sequence[str]) -> dict[str, Linked]:
        """The same by the links' ids."""
        return self._linked(connection, _LINKS_BY_ID, link_ids, "link_id")

    def people(self, connection: Connection, wanted: Iterable[Name]) -> dict[Name, Principal]:
        """Principals that are not revoked, by tenant and pseudonym."""
        rows = self._people(connection, set(wanted))
        return {_name(row): principal(row) for row in rows if row["revoked_at"] is None}

    def principals(self, connection: Connection, wanted: Iterable[Name]) -> dict[Name, Principal]:
        """The same by tenant and id."""
        ids: dict[str, set[str]] = {}
        for tenant, principal_id in wanted:
            ids.setdefault(tenant, set()).add(principal_id)
        rows = [row for tenant, some in ids.items() for row in self._of_ids(connection, tenant, some)]
        return {(row["tenant"], row["id"]): principal(row) for row in rows if row["revoked_at"] is None}

    def names(self, connection: Connection, wanted: Iterable[Name]) -> dict[Name, str]:
        """Tenant and pseudonym -> id, also of who is revoked; without those whose name does not open."""
        rows = self._people(connection, set(wanted))
        return {_name(row): row["id"] for row in rows if row["named"]}

    def issuers(self, connection: Connection, names: Sequence[Name]) -> dict[Name, Issuer]:
        """Issuers that are not revoked, with all their keys, the revoked among them."""
        self._revocations.read(connection, {tenant for tenant, _ in names})
        rows = sound(connection.execute(_ISSUERS, {"keys": list(names)}).mappings(), self._verify_issuer)
        pseudonyms = {(row["tenant"], row["issuer_id"]): row["pseudonym"] for row in rows}
        spoken_for = self.names(connection, [name for row in rows for name in _spoken_for(row)])
        held: dict[Name, dict[str, IssuerKey]] = {}
        found = connection.execute(_ISSUER_KEYS, {"keys": list(names)}).mappings()
        for row in sound(found, partial(self._verify_issuer_key, pseudonyms)):
            key = IssuerKey(row["kid"], json.loads(row["jwk"]), row["not_before"], row["not_after"], row["revoked_at"])
            held.setdefault((row["tenant"], row["issuer_id"]), {})[row["kid"]] = key
        return {
            (row["tenant"], row["issuer_id"]): Issuer(
                row["issuer_id"],
                row["tenant"],
                held.get((row["tenant"], row["issuer_id"]), {}),
                frozenset(spoken_for[name] for name in _spoken_for(row) if name in spoken_for),
                row["attests_request"],
            )
            for row in rows
            if row["revoked_at"] is None
        }

    # --- what the operations need ------------------------------------------------------------------------------------

    def principal_rows(
        self, connection: Connection, tenant: str, principal_id: str | None = None, *, strict: bool = True
    ) -> list[Found]:
        """Rows of a tenant's principals, the revoked among them, by id. Each has two more members: ``id``, and whether
        it is ``named``; where it is not, the id is the pseudonym.

        Args:
            principal_id: the id of one; also the pseudonym of one without a name.
            strict: raise ``RowChanged`` for a refused row, instead of leaving it out.
        """
        if principal_id is not None:
            return self._of_ids(connection, tenant, {principal_id}, strict=strict)
        self._revocations.read(connection, [tenant])
        found = connection.execute(select(principals).where(principals.c.tenant == tenant)).mappings()
        rows = self._with_ids(connection, sound(found, self._verify_principal, strict=strict))
        return sorted(rows, key=lambda row: str(row["id"]))

    def person_row(self, connection: Connection, tenant: str, pseudonym: str) -> Found | None:
        """The row of one principal, as :meth:`principal_rows` gives it."""
        return next(iter(self._people(connection, {(tenant, pseudonym)}, strict=True)), None)

    def administered(self, connection: Connection) -> list[str]:
        """Tenants that have, or had, a security admin by their rows."""
        return list(connection.execute(_ADMINISTERED).scalars())

    def administrators(self, connection: Connection, tenant: str) -> tuple[set[str], set[str]]:
        """Pseudonyms of a tenant's security admins by their rows, and of those whose row says that they are revoked.
        Whatever the log says of them: what is asked is only whether the gateway wrote the row."""
        found = connection.execute(_ADMINISTRATORS, {"tenant": tenant}).mappings()
        rows = sound(found, partial(self._macs.verify_row, principals))
        admins = [row for row in rows if Role.SECURITY_ADMIN in json.loads(row["roles"])]
        gone = {row["pseudonym"] for row in admins if row["revoked_at"] is not None}
        return {row["pseudonym"] for row in admins} - gone, gone

    def end_seal(self, tenant: str, pseudonym: str) -> str:
        """The fact ``seal`` of the entry of a security admin's revocation, by which it is believed without the row. A
        revocation is for ever, so that nobody gains by what the entry shows."""
        return b64url_encode(self._macs.of_message("end of a security admin", canonical([tenant, pseudonym])))

    def live_key_rows(self, connection: Connection, tenant: str, pseudonym: str) -> list[Found]:
        """Rows of a principal's API keys that are not revoked; a refused one is of no use to anybody anyhow."""
        found = connection.execute(_LIVE_KEYS, {"tenant": tenant, "pseudonym": pseudonym}).mappings()
        return sound(found, partial(self._macs.verify_row, api_keys))

    def security_key_rows(
        self, connection: Connection, tenant: str, pseudonym: str | None = None, *, kid: str | None = None
    ) -> list[Found]:
        """Rows of security keys that are not revoked, of a principal or by thumbprint, oldest first."""
        query = select(security_keys).where(security_keys.c.tenant == tenant, security_keys.c.revoked_at.is_(None))
        if pseudonym is not None:
            query = query.where(security_keys.c.pseudonym == pseudonym)
        if kid is not None:
            query = query.where(security_keys.c.kid == kid)
        self._revocations.read(connection, [tenant])
        found = connection.execute(query.order_by(security_keys.c.created_at)).mappings()
        return sound(found, self._verify_security_key)

    def link_rows(self, connection: Connection, tenant: str, pseudonym: str) -> list[Found]:
        """Rows of a principal's links, the revoked among them, oldest first. Each has two more members, ``source`` and
        ``subject``; both are ``None`` where what it links does not open.

        Raises:
            RowChanged: one of them is refused.
        """
        query = (
            select(identity_links)
            .where(identity_links.c.tenant == tenant, identity_links.c.pseudonym == pseudonym)
            .order_by(identity_links.c.created_at, identity_links.c.link_id)
        )
        self._revocations.read(connection, [tenant])
        rows = sound(connection.execute(query).mappings(), self._verify_link, strict=True)
        opened = self._names.open(connection, [row["name_key"] for row in rows])
        for row in rows:
            known = opened.get(row["name_key"])
            row["source"], row["subject"] = (None, None) if known is None else named_link(known)
        return rows

    def issuer_rows(
        self, connection: Connection, tenant: str, issuer_id: str | None = None
    ) -> list[tuple[Found, list[Found]]]:
        """Rows of a tenant's issuers, each with those of its keys, the revoked among them.

        Raises:
            RowChanged: one of them is refused.
        """
        query = select(issuers).where(issuers.c.tenant == tenant).order_by(issuers.c.issuer_id)
        if issuer_id is not None:
            query = query.where(issuers.c.issuer_id == issuer_id)
        self._revocations.read(connection, [tenant])
        rows = sound(connection.execute(query).mappings(), self._verify_issuer, strict=True)
        pseudonyms = {(tenant, row["issuer_id"]): row["pseudonym"] for row in rows}
        held: dict[str, list[Found]] = {row["issuer_id"]: [] for row in rows}
        found = connection.execute(_ISSUER_KEYS, {"keys": list(pseudonyms)}).mappings() if rows else ()
        for row in sound(found, partial(self._verify_issuer_key, pseudonyms), strict=True):
            held[row["issuer_id"]].append(row)
        return [(row, held[row["issuer_id"]]) for row in rows]

    # --- inside ------------------------------------------------------------------------------------------------------

    def _people(self, connection: Connection, wanted: Collection[Name], *, strict: bool = False) -> list[Found]:
        if not wanted:
            return []
        self._revocations.read(connection, {tenant for tenant, _ in wanted})
        found = connection.execute(_PEOPLE, {"pseudonyms": [pseudonym for _, pseudonym in wanted]}).mappings()
        rows = sound(found, self._verify_principal, strict=strict)
        return self._with_ids(connection, [row for row in rows if _name(row) in wanted])

    def _of_ids(
        self, connection: Connection, tenant: str, ids: Collection[str], *, strict: bool = False
    ) -> list[Found]:
        """Rows of who has one of these ids, and of who has none, by pseudonym."""
        self._revocations.read(connection, [tenant])
        keys = self._names.find(connection, tenant, map(name_subject, ids))
        found = connection.execute(_NAMED, {"tenant": tenant, "name_keys": sorted(keys.values())}).mappings()
        rows = self._with_ids(connection, sound(found, self._verify_principal, strict=strict))
        unnamed = {(tenant, name) for name in ids if PSEUDONYM.fullmatch(name)}
        return rows + [row for row in self._people(connection, unnamed, strict=strict) if not row["named"]]

    def _with_ids(self, connection: Connection, rows: list[Found]) -> list[Found]:
        opened = self._names.open(connection, [row["name_key"] for row in rows])
        for row in rows:
            known = opened.get(row["name_key"])
            row["named"] = known is not None
            row["id"] = row["pseudonym"] if known is None else named_principal(known)
        return rows

    def _linked(self, connection: Connection, query: Select[Any], keys: Sequence[str], by: str) -> dict[str, Linked]:
        found = connection.execute(query, {"keys": list(keys)}).mappings().all()
        self._revocations.read(connection, {str(row["tenant"]) for row in found})
        rows = {row["link_id"]: row for row in sound(found, self._verify_link) if row["revoked_at"] is None}
        people = self.people(connection, [_name(row) for row in rows.values()])
        standing = {link_id: people.get(_name(row)) for link_id, row in rows.items()}
        says = self._names.open(connection, [row["name_key"] for row in rows.values()])
        sources = {link_id: named_link(says.get(row["name_key"], ""))[0] for link_id, row in rows.items()}
        # A row that is not as the gateway left it stands for nobody, and is still somebody's: nobody else gets it.
        return {
            row[by]: Linked(
                row["link_id"],
                standing.get(row["link_id"]),
                row["kind"] == "claims",
                sources.get(row["link_id"], ""),
            )
            for row in found
        }

    def _verify_principal(self, row: Mapping[str, Any]) -> None:
        self._macs.verify_row(principals, row)
        if row["revoked_at"] is None and (row["pseudonym"], "") in self._revocations:
            raise RowChanged(principals, row, _PUT_BACK)

    def _verify_security_key(self, row: Mapping[str, Any]) -> None:
        self._macs.verify_row(security_keys, row)
        if (row["pseudonym"], row["kid"]) in self._revocations:
            raise RowChanged(security_keys, row, _PUT_BACK)

    def _verify_link(self, row: Mapping[str, Any]) -> None:
        self._macs.verify_row(identity_links, row)
        if row["revoked_at"] is None and (row["pseudonym"], row["link_id"]) in self._revocations:
            raise RowChanged(identity_links, row, _PUT_BACK)

    def _verify_issuer(self, row: Mapping[str, Any]) -> None:
        self._macs.verify_row(issuers, row)
        if row["revoked_at"] is None and (row["pseudonym"], "") in self._revocations:
            raise RowChanged(issuers, row, _PUT_BACK)

    def _verify_issuer_key(self, pseudonyms: Mapping[Name, str], row: Mapping[str, Any]) -> None:
        self._macs.verify_row(issuer_keys, row)
        issuer = pseudonyms.get((row["tenant"], row["issuer_id"]), "")
        if row["revoked_at"] is None and (issuer, row["kid"]) in self._revocations:
            raise RowChanged(issuer_keys, row, _PUT_BACK)


def _name(row: Mapping[str, Any]) -> Name:
    return (row["tenant"], row["pseudonym"])


def _spoken_for(row: Mapping[str, Any]) -> list[Name]:
    return [(row["tenant"], pseudonym) for pseudonym in json.loads(row["speaks_for"])]


def principal(row: Found) -> Principal:
    """A row of :meth:`DirectoryReads.principal_rows` as the rest of the gateway knows it.

    Policies, plans and signatures speak of people by their ids. Who has none any more, because the database was put
    back from before an erasure, may do nothing but what it takes to name people anew.
    """
    roles = frozenset(Role(role) for role in json.loads(row["roles"]))
    hands = None if row["hands"] is None else frozenset(json.loads(row["hands"]))
    return Principal(
        row["id"],
        row["tenant"],
        row["pseudonym"],
        roles if row["named"] else roles & _NAMELESS_ROLES,
        hands if row["named"] else frozenset(),
        None if row["approval_jwk"] is None else json.loads(row["approval_jwk"]),
    )
