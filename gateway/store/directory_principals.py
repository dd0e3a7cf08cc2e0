"""Changes to who may call: each makes its rows and its audit entry in one append, or nothing.

Entries carry pseudonyms and key ids; names and scopes are committed to and lie sealed in the log's side table.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import bindparam, insert, select, update

from gateway.commitments import name_subject, new_name_key
from gateway.dual_control import TrustChange, is_trusted
from gateway.entries import EntryDraft
from gateway.errors import Malformed, Refused
from gateway.model import DEFAULT_TENANT, Principal, Role
from gateway.permissions import Permission, require
from gateway.ports import Append, Guard, Naming, Write
from gateway.reasons import Conflict, Reason, because
from gateway.store import directory_rows as rows
from gateway.store.directory_changes import Change, Changes, conflict, principal_entry, state
from gateway.store.directory_reads import Found
from gateway.store.directory_rows import ApiKeyView, NewPrincipal, NewPrincipalView, PrincipalView
from gateway.store.tables import api_keys, issuer_keys, principals
from gateway.times import format_time
from gateway.two_person import Kind

SYSTEM: Final = "system"
"""Pseudonym of the gateway itself, before there is any principal."""

_ADD_PRINCIPAL: Final = insert(principals)
_ADD_KEY: Final = insert(api_keys)
_REVOKE_PRINCIPAL: Final = (
    update(principals)
    .where(
        principals.c.pseudonym == bindparam("named"),
        principals.c.revoked_at.is_(None),
    )
    .values(revoked_at=bindparam("at"), mac=bindparam("new_mac"))
)
_REVOKE_KEY: Final = (
    update(api_keys)
    .where(api_keys.c.key_id == bindparam("named"), api_keys.c.revoked_at.is_(None))
    .values(revoked_at=bindparam("at"), mac=bindparam("new_mac"))
)
_ANYBODY: Final = select(principals.c.pseudonym).where(principals.c.tenant == bindparam("in_tenant")).limit(1)
"""Believed without a look at its MAC: a row that was tampered with does not open the tenant to a second first one."""


class PrincipalAdmin(Changes):
    """Operations of security admins on principals, and the first of all. Each checks the actor itself."""

    async def bootstrap(self, people: Sequence[NewPrincipal], tenant: str = DEFAULT_TENANT) -> list[NewPrincipalView]:
        """Add the first principals of a tenant, in the name of the gateway itself.

        Raises:
            Refused: ``request.conflict`` where the tenant already has a principal, revoked or not.
        """
        if rows.TENANT.fullmatch(tenant) is None:
            raise Malformed("tenant", pointer="/tenant", expected="a tenant's name")
        if await self._read(lambda connection: connection.execute(_ANYBODY, {"in_tenant": tenant}).first()):
            raise Refused(
                Reason.REQUEST_CONFLICT, "the tenant has principals already", **because(Conflict.PRINCIPALS_EXIST)
            )
        change = await self.prepare_principals(tenant, SYSTEM, people)
        await self._append(change.item)
        return change.view

    async def add_principal(self, actor: Principal, person: NewPrincipal) -> NewPrincipalView:
        """Add a principal to the actor's tenant, with one API key, whose token is in the answer and nowhere else.

        Raises:
            Refused: ``auth.forbidden``; ``request.malformed``; ``request.conflict`` for an id that ever was in use (an
                id is not given twice: the log would say that one did what the other did), or for an approval key that
                somebody else holds; ``proposal.required`` where it may decide and several people have to agree.
        """
        require(actor, Permission.PRINCIPALS_MANAGE)
        return (await self._make(actor.tenant, await self.prepare_principals(actor.tenant, actor.pseudonym, [person])))[
            0
        ]

    async def add_administrator(self, principal_id: str, tenant: str = DEFAULT_TENANT) -> NewPrincipalView:
        """Add a security admin in the name of the gateway itself, where too few are left to agree on one. For whoever
        holds the gateway's machine, its database and its keys; the entry says ``console``.

        Raises:
            Refused: ``request.malformed``, ``request.conflict`` for an id that ever was in use.
        """
        person = NewPrincipal(principal_id, [str(Role.SECURITY_ADMIN)])
        change = await self.prepare_principals(tenant, SYSTEM, [person])
        entries = [replace(draft, facts={**draft.facts, "console": 1}) for draft in change.item.entries]
        await self._append(replace(change.item, entries=entries))
        return change.view[0]

    async def issue_api_key(
        self, actor: Principal, principal_id: str, ttl_days: int = 90, api_key: str | None = None
    ) -> ApiKeyView:
        """Give a principal another API key; the ones it has live on until they expire.

        Args:
            api_key: as in ``NewPrincipal``.

        Raises:
            Refused: ``auth.forbidden``, ``request.malformed``, ``request.not_found`` (also for a revoked principal);
                ``proposal.required`` where the principal may decide and several people have to agree.
        """
        require(actor, Permission.PRINCIPALS_MANAGE)
        change = await self.prepare_api_key(actor.tenant, actor.pseudonym, principal_id, ttl_days, api_key)
        return await self._make(actor.tenant, change)

    async def list_principals(self, actor: Principal) -> list[PrincipalView]:
        """Every principal of the actor's tenant, revoked ones too.

        Raises:
            Refused: ``auth.forbidden``.
            RowChanged: ``gateway.internal``; a list that left a row out would look whole.
        """
        require(actor, Permission.PRINCIPALS_MANAGE)
        found = await self._read(lambda connection: self._reads.principal_rows(connection, actor.tenant))
        return [rows.principal_view(row) for row in found]

    async def revoke_principal(self, actor: Principal, principal_id: str) -> PrincipalView:
        """Revoke a principal and all its API keys.

        Raises:
            Refused: ``auth.forbidden``, ``request.not_found``; ``request.conflict`` where it is revoked already, or is
                the tenant's last security admin, after whom nobody could add another; ``proposal.required`` where too
                few security admins would be left.
            RowChanged: ``gateway.internal``; its row was tampered with, and is of no use to anybody.
        """
        require(actor, Permission.PRINCIPALS_MANAGE)
        return await self._make(
            actor.tenant, await self.prepare_revocation(actor.tenant, actor.pseudonym, principal_id)
        )

    async def retire_principal(self, actor: Principal, principal_id: str) -> PrincipalView:
        """Revoke a principal, if it is not, because it is about to be erased.

        Raises:
            Refused: ``auth.forbidden``, ``request.not_found``; ``request.conflict`` for the last security admin;
                ``proposal.required`` for one of few, whom the others revoke first.
            RowChanged: ``gateway.internal``.
        """
        require(actor, Permission.PRIVACY_ERASE)
        found = await self._principal(actor.tenant, principal_id)
        if found["revoked_at"] is not None:
            return rows.principal_view(found)
        return await self._make(
            actor.tenant, await self.prepare_revocation(actor.tenant, actor.pseudonym, principal_id)
        )

    # --- changes, ready to be made: on one person's word, or as several signed them ----------------------------------

    async def prepare_api_key(
        self, tenant: str, by: str, principal_id: str, ttl_days: int, api_key: str | None
    ) -> Change[ApiKeyView]:
        """Another API key. ``by``: the pseudonym of who makes the change. Raises as :meth:`issue_api_key`."""
        lifetime = rows.ttl_seconds(ttl_days)
        found = await self._principal(tenant, principal_id)
        if found["revoked_at"] is not None:
            raise Refused(Reason.REQUEST_NOT_FOUND, "the principal is revoked")
        pseudonym = found["pseudonym"]
        view, row = _key(tenant, pseudonym, self._clock(), lifetime, api_key)
        entry = principal_entry(found, by, "key_added", (view["key_id"], row["expires_at"]))
        guard = Guard(_ADD_KEY, self._macs.seal(api_keys, row), conflict)
        held = await self._read(lambda connection: self._reads.live_key_rows(connection, tenant, pseudonym))
        before = {**state(found), "keys": sorted(one["key_id"] for one in held)}
        after = {**before, "keys": sorted([*before["keys"], view["key_id"]]), **_key_state(row, ttl_days)}
        trust = TrustChange(Kind.TRUST_PRINCIPAL, "principal.key", pseudonym, before, after)
        trusted = is_trusted(before["roles"]) or await self.grows(tenant, pseudonym)
        return Change(Append([entry], guards=[guard]), view, trust if trusted else None)

    async def prepare_revocation(self, tenant: str, by: str, principal_id: str) -> Change[PrincipalView]:
        """The end of a principal and its API keys. Raises as :meth:`revoke_principal`."""
        found = await self._principal(tenant, principal_id)
        if found["revoked_at"] is not None:
            raise Refused(Reason.REQUEST_CONFLICT, "revoked already", **because(Conflict.REVOKED))
        pseudonym = found["pseudonym"]
        # Somebody else's tampered row must not keep anybody from being revoked, and is no admin.
        everybody = await self._read(lambda connection: self._reads.principal_rows(connection, tenant, strict=False))
        if not any(_is_admin(row) for row in everybody if row["pseudonym"] != pseudonym):
            raise Refused(Reason.REQUEST_CONFLICT, "the last security admin stays", **because(Conflict.LAST_ADMIN))
        # A key that is added while this goes on is dead all the same: keys are good only with their principal.
        keys = await self._read(lambda connection: self._reads.live_key_rows(connection, tenant, pseudonym))
        now = self._clock()
        gone = self._macs.seal(principals, {**found, "revoked_at": now})
        writes = [
            Write(_REVOKE_PRINCIPAL, {"named": pseudonym, "at": now, "new_mac": gone["mac"]}),
        ]
        for row in keys:
            dead = self._macs.seal(api_keys, {**row, "revoked_at": now})
            writes.append(Write(_REVOKE_KEY, {"named": row["key_id"], "at": now, "new_mac": dead["mac"]}))
        before = {**state(found), "revoked": False}
        trust = TrustChange(
            Kind.TRUST_PRINCIPAL,
            "principal.revoke",
            pseudonym,
            before,
            {**before, "revoked": True},
            removes_admin=True,
        )
        entry = principal_entry(found, by, "revoked")
        if _is_admin(found):
            entry = replace(entry, facts={**entry.facts, "seal": self._reads.end_seal(tenant, pseudonym)})
        item = Append([entry], writes)
        view = rows.principal_view({**found, "revoked_at": now})
        return Change(item, view, trust if _is_admin(found) else None)

    async def prepare_principals(
        self, tenant: str, by: str, people: Sequence[NewPrincipal]
    ) -> Change[list[NewPrincipalView]]:
        """New principals. Raises as :meth:`add_principal`."""
        now = self._clock()
        entries: list[EntryDraft] = []
        guards: list[Guard] = []
        namings: list[Naming] = []
        added: list[Found] = []
        views: list[NewPrincipalView] = []
        trust: TrustChange | None = None
        for person in people:
            enrolled = (
                None
                if person.approval_jwk is None
                else rows.jwk_text(rows.public_key(person.approval_jwk, "/approval_jwk"))
            )
            given = rows.roles(person.roles)
            scope = rows.hand_scope(person.hands, given)
            row: Found = {
                "id": rows.identifier(person.id, "id"),
                "tenant": tenant,
                "pseudonym": f"p-{secrets.token_hex(16)}",
                "name_key": new_name_key(),
                "roles": json.dumps(given),
                "hands": None if scope is None else json.dumps(scope),
                "approval_jwk": enrolled,
                "created_at": now,
                "revoked_at": None,
            }
            if enrolled is not None:
                await self._refuse_shared(tenant, principals.c.approval_jwk, enrolled)
                await self._refuse_shared(tenant, issuer_keys.c.jwk, enrolled)
            pseudonym = row["pseudonym"]
            key_view, key_row = _key(tenant, pseudonym, now, rows.ttl_seconds(person.ttl_days), person.api_key)
            entries.append(principal_entry(row, by, "added", (key_view["key_id"], key_row["expires_at"])))
            namings.append(Naming(tenant, name_subject(person.id), row["name_key"], conflict))
            added.append(self._macs.seal(principals, row))
            guards.append(Guard(_ADD_PRINCIPAL, added[-1], conflict))
            guards.append(Guard(_ADD_KEY, self._macs.seal(api_keys, key_row), conflict))
            views.append({"principal": rows.principal_view(row), "api_key": key_view})
            if is_trusted(json.loads(row["roles"])):
                target = await self._stand_in(tenant, "principal", person.id)
                after = {**state(row), **_key_state(key_row, person.ttl_days)}
                trust = TrustChange(Kind.TRUST_PRINCIPAL, "principal.add", target, None, after)
        enrolled_keys = [one["approval_jwk"] for one in added if one["approval_jwk"]]
        if len(set(enrolled_keys)) != len(enrolled_keys):
            raise Refused(
                Reason.REQUEST_CONFLICT,
                "two principals with one approval key",
                member="approval_jwk",
                **because(Conflict.KEY_TWICE),
            )
        return Change(Append(entries, guards=guards, namings=namings), views, trust)

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _principal(self, tenant: str, principal_id: str) -> Found:
        found = await self._read(lambda connection: self._reads.principal_rows(connection, tenant, principal_id))
        if not found:
            raise Refused(Reason.REQUEST_NOT_FOUND, "no such principal")
        return found[0]


def _key(
    tenant: str, pseudonym: str, now: float, lifetime_seconds: int, api_key: str | None = None
) -> tuple[ApiKeyView, Found]:
    minted = rows.mint_token() if api_key is None else rows.made_elsewhere(api_key)
    expires_at = now + lifetime_seconds
    row: Found = {
        "key_id": minted.key_id,
        "tenant": tenant,
        "pseudonym": pseudonym,
        "secret_sha256": minted.secret_sha256,
        "created_at": now,
        "expires_at": expires_at,
        "revoked_at": None,
    }
    return {"key_id": minted.key_id, "token": minted.token, "expires_at": format_time(expires_at)}, row


def _key_state(row: Found, ttl_days: int) -> dict[str, Any]:
    return {"new_key": row["key_id"], "new_key_sha256": row["secret_sha256"], "new_key_days": ttl_days}


def _is_admin(row: Found) -> bool:
    return row["revoked_at"] is None and Role.SECURITY_ADMIN in json.loads(row["roles"])
