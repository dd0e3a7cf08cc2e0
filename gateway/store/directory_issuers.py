"""Changes to who may sign plans: each makes its rows and its audit entry in one append, or nothing."""

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import bindparam, insert, update

from gateway.dual_control import TrustChange
from gateway.entries import EntryDraft, EntryType
from gateway.errors import Malformed, Refused
from gateway.model import CONNECTOR_PREFIX, Principal
from gateway.permissions import Permission, require
from gateway.ports import Append, Guard, Write
from gateway.reasons import Conflict, Reason, because
from gateway.store import directory_rows as rows
from gateway.store.directory_changes import Change, Changes, committed, conflict
from gateway.store.directory_reads import Found
from gateway.store.directory_rows import IssuerView
from gateway.store.tables import issuer_keys, issuers, principals
from gateway.two_person import Kind

_ADD_ISSUER: Final = insert(issuers)
_ADD_ISSUER_KEY: Final = insert(issuer_keys)
_REVOKE_ISSUER: Final = (
    update(issuers)
    .where(
        issuers.c.tenant == bindparam("in_tenant"),
        issuers.c.issuer_id == bindparam("named"),
        issuers.c.revoked_at.is_(None),
    )
    .values(revoked_at=bindparam("at"), mac=bindparam("new_mac"))
)
_REVOKE_ISSUER_KEY: Final = (
    update(issuer_keys)
    .where(
        issuer_keys.c.tenant == bindparam("in_tenant"),
        issuer_keys.c.issuer_id == bindparam("named"),
        issuer_keys.c.kid == bindparam("key"),
        issuer_keys.c.revoked_at.is_(None),
    )
    .values(revoked_at=bindparam("at"), mac=bindparam("new_mac"))
)


class IssuerAdmin(Changes):
    """Operations of security admins on issuers. Each checks the actor itself."""

    async def add_issuer(
        self,
        actor: Principal,
        issuer_id: str,
        public_jwk: Mapping[str, Any],
        speaks_for: Sequence[str] = (),
        *,
        attests_request: bool = False,
    ) -> IssuerView:
        """Register an issuer with its first key, or one more key of an issuer that is registered.

        A further key changes nothing else: ``speaks_for`` and ``attests_request`` must be left out or be as they are.

        Raises:
            Refused: ``auth.forbidden``; ``request.malformed`` (a private key among it); ``request.conflict`` where the
                issuer is revoked, has the key, has other rights, or the key is enrolled for approvals: whoever signs
                plans must not be able to approve them; ``proposal.required`` where several people have to agree.
            RowChanged: ``gateway.internal``; a row of the issuer was tampered with.
        """
        require(actor, Permission.ISSUERS_MANAGE)
        change = await self.prepare_issuer(
            actor.tenant, actor.pseudonym, issuer_id, public_jwk, speaks_for, attests_request=attests_request
        )
        return await self._make(actor.tenant, change)

    async def prepare_issuer(
        self,
        tenant: str,
        by: str,
        issuer_id: str,
        public_jwk: Mapping[str, Any],
        speaks_for: Sequence[str] = (),
        *,
        attests_request: bool = False,
    ) -> Change[IssuerView]:
        """An issuer or a key of one, ready to be registered. ``by``: the pseudonym of who does it. Raises as
        :meth:`add_issuer`."""
        rows.identifier(issuer_id, "id")
        if issuer_id.startswith(CONNECTOR_PREFIX):
            expected = f"an id that does not begin with {CONNECTOR_PREFIX}"
            raise Malformed("the gateway's own prefix", pointer="/id", expected=expected)
        key = rows.public_key(public_jwk, "/jwk")
        named = await self._spoken_for(tenant, rows.subjects(speaks_for))
        await self._refuse_shared(tenant, principals.c.approval_jwk, rows.jwk_text(key))
        known = await self._issuer(tenant, issuer_id)
        now = self._clock()
        key_row: Found = {
            "tenant": tenant,
            "issuer_id": issuer_id,
            "kid": key.kid,
            "jwk": rows.jwk_text(key),
            "not_before": int(now),
            "not_after": None,
            "revoked_at": None,
        }
        row: Found
        held: list[Found] = []
        if known is None:
            row = {
                "tenant": tenant,
                "issuer_id": issuer_id,
                "pseudonym": f"i-{secrets.token_hex(16)}",
                "speaks_for": json.dumps(named),
                "attests_request": attests_request,
                "created_at": now,
                "revoked_at": None,
            }
            guards = [Guard(_ADD_ISSUER, self._macs.seal(issuers, row), conflict)]
            change = "added"
        else:
            row, held = known
            _refuse_other_rights(row, named, attests_request=attests_request)
            guards = []
            change = "key_added"
        guards.append(Guard(_ADD_ISSUER_KEY, self._macs.seal(issuer_keys, key_row), conflict))
        item = Append([_issuer_entry(row, by, change, key.kid)], guards=guards)
        before = None if known is None else _state(row, held)
        after = {**_state(row, [*held, key_row]), "new_key": key.kid}
        target = await self._stand_in(tenant, "issuer", issuer_id) if known is None else row["pseudonym"]
        trust = TrustChange(Kind.TRUST_ISSUER, "issuer.add", target, before, after)
        return Change(item, await self._view(row, [*held, key_row]), trust)

    async def list_issuers(self, actor: Principal) -> list[IssuerView]:
        """Every issuer of the actor's tenant, revoked ones too.

        Raises:
            Refused: ``auth.forbidden``.
            RowChanged: ``gateway.internal``; a list that left a row out would look whole.
        """
        require(actor, Permission.ISSUERS_MANAGE)
        found = await self._read(lambda connection: self._reads.issuer_rows(connection, actor.tenant))
        return await self._views(found)

    async def revoke_issuer(self, actor: Principal, issuer_id: str) -> IssuerView:
        """Stop believing an issuer, whatever its keys.

        Raises:
            Refused: ``auth.forbidden``, ``request.not_found``; ``request.conflict`` where it is revoked already.
        """
        require(actor, Permission.ISSUERS_MANAGE)
        row, held = await self._live_issuer(actor.tenant, issuer_id)
        now = self._clock()
        gone = self._macs.seal(issuers, {**row, "revoked_at": now})
        values = {"in_tenant": actor.tenant, "named": issuer_id, "at": now, "new_mac": gone["mac"]}
        await self._append(Append([_issuer_entry(row, actor.pseudonym, "revoked")], [Write(_REVOKE_ISSUER, values)]))
        return await self._view(gone, held)

    async def revoke_issuer_key(self, actor: Principal, issuer_id: str, kid: str) -> IssuerView:
        """Stop believing one key of an issuer. Raises ``auth.forbidden``, ``request.not_found``, ``.conflict``."""
        require(actor, Permission.ISSUERS_MANAGE)
        row, held = await self._live_issuer(actor.tenant, issuer_id)
        key = next((key for key in held if key["kid"] == kid), None)
        if key is None:
            raise Refused(Reason.REQUEST_NOT_FOUND, "no such key")
        if key["revoked_at"] is not None:
            raise Refused(Reason.REQUEST_CONFLICT, "revoked already", **because(Conflict.REVOKED))
        now = int(self._clock())
        gone = self._macs.seal(issuer_keys, {**key, "revoked_at": now})
        values = {"in_tenant": actor.tenant, "named": issuer_id, "key": kid, "at": now, "new_mac": gone["mac"]}
        await self._append(
            Append([_issuer_entry(row, actor.pseudonym, "key_revoked", kid)], [Write(_REVOKE_ISSUER_KEY, values)])
        )
        return await self._view(row, [gone if one is key else one for one in held])

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _spoken_for(self, tenant: str, ids: Sequence[str]) -> list[str]:
        """The pseudonyms of principals, sorted."""
        wanted = [(tenant, one) for one in ids]
        found = await self._read(lambda connection: self._reads.principals(connection, wanted))
        if len(found) != len(ids):
            expected = "ids of principals that are not revoked"
            raise Malformed("somebody who is no principal", pointer="/speaks_for", expected=expected)
        return sorted(person.pseudonym for person in found.values())

    async def _view(self, row: Found, keys: list[Found]) -> IssuerView:
        return (await self._views([(row, keys)]))[0]

    async def _views(self, found: Sequence[tuple[Found, list[Found]]]) -> list[IssuerView]:
        wanted = {(row["tenant"], one) for row, _ in found for one in json.loads(row["speaks_for"])}
        names = await self._read(lambda connection: self._reads.names(connection, wanted)) if wanted else {}
        return [rows.issuer_view(row, keys, names) for row, keys in found]

    async def _issuer(self, tenant: str, issuer_id: str) -> tuple[Found, list[Found]] | None:
        found = await self._read(lambda connection: self._reads.issuer_rows(connection, tenant, issuer_id))
        return found[0] if found else None

    async def _live_issuer(self, tenant: str, issuer_id: str) -> tuple[Found, list[Found]]:
        known = await self._issuer(tenant, issuer_id)
        if known is None:
            raise Refused(Reason.REQUEST_NOT_FOUND, "no such issuer")
        if known[0]["revoked_at"] is not None:
            raise Refused(Reason.REQUEST_CONFLICT, "revoked already", **because(Conflict.REVOKED))
        return known


def _state(row: Found, keys: Sequence[Found]) -> dict[str, Any]:
    """What a change of trust shows of an issuer; in whose names it may sign is named by the request alone."""
    return {
        "keys": sorted(key["kid"] for key in keys if key["revoked_at"] is None),
        "speaks_for": len(json.loads(row["speaks_for"])),
        "attests_request": bool(row["attests_request"]),
    }


def _issuer_entry(row: Found, actor: str, change: str, kid: str | None = None) -> EntryDraft:
    tenant, issuer_id = row["tenant"], row["issuer_id"]
    facts: dict[str, str | int] = {
        "change": change,
        "subject": row["pseudonym"],
        "attests_request": int(row["attests_request"]),
    }
    if kid is not None:
        facts["kid"] = kid
    document = {"id": issuer_id, "speaks_for": json.loads(row["speaks_for"])}
    return EntryDraft(
        EntryType.ISSUER_CHANGED,
        tenant,
        principal=actor,
        facts=facts,
        fields={"issuer": committed(document, tenant, issuer_id)},
    )


def _refuse_other_rights(row: Found, named: Sequence[str], *, attests_request: bool) -> None:
    if row["revoked_at"] is not None:
        raise Refused(Reason.REQUEST_CONFLICT, "the issuer is revoked", **because(Conflict.REVOKED))
    if (named and list(named) != json.loads(row["speaks_for"])) or (attests_request and not row["attests_request"]):
        raise Refused(
            Reason.REQUEST_CONFLICT,
            "a further key does not change an issuer's rights",
            member="speaks_for",
            **because(Conflict.ISSUER_RIGHTS),
        )
