"""Naming people anew. A database that was put back from before an erasure, or without its epoch keys, knows its
principals by pseudonym alone: their keys, roles and history are there, and nobody can tell any more who they are.
"""

from typing import Final

from sqlalchemy import bindparam, update

from gateway.commitments import name_subject, new_name_key
from gateway.dual_control import TrustChange, is_trusted
from gateway.errors import Refused
from gateway.model import Principal
from gateway.permissions import Permission, require
from gateway.ports import Append, Naming, Unless, Write
from gateway.reasons import Conflict, Reason, because
from gateway.store import directory_rows as rows
from gateway.store.directory_changes import CHANGED, Change, Changes, conflict, principal_entry, state
from gateway.store.directory_rows import PrincipalView
from gateway.store.tables import principals
from gateway.two_person import Kind

_NAME: Final = (
    update(principals)
    .where(principals.c.pseudonym == bindparam("named"), principals.c.mac == bindparam("old_mac"))
    .values(name_key=bindparam("new_key"), mac=bindparam("new_mac"))
)


class NameAdmin(Changes):
    """The operation on names. It checks the actor itself."""

    async def name_anew(self, actor: Principal, pseudonym: str, principal_id: str) -> PrincipalView:
        """Give an id to a principal that has none any more. Who has one keeps it.

        Raises:
            Refused: ``auth.forbidden``; ``request.malformed``; ``request.not_found`` where nobody without an id has the
                pseudonym; ``request.conflict`` where the principal is revoked, or the id is somebody's;
                ``proposal.required`` where it may decide and several people have to agree.
            Overtaken: somebody else changed the principal meanwhile.
        """
        require(actor, Permission.PRINCIPALS_MANAGE)
        change = await self.prepare_name(actor.tenant, actor.pseudonym, pseudonym, principal_id)
        return await self._make(actor.tenant, change)

    async def prepare_name(self, tenant: str, by: str, pseudonym: str, principal_id: str) -> Change[PrincipalView]:
        """A name, ready to be given: with it the principal has its roles back, and whatever policies and issuers say of
        that id. ``by``: the pseudonym of who gives it. Raises as :meth:`name_anew`."""
        given = rows.identifier(principal_id, "id")
        found = await self._read(lambda connection: self._reads.person_row(connection, tenant, pseudonym))
        if found is None or found["named"]:
            raise Refused(Reason.REQUEST_NOT_FOUND, "nobody without an id has that pseudonym")
        if found["revoked_at"] is not None:
            raise Refused(Reason.REQUEST_CONFLICT, "revoked already", **because(Conflict.REVOKED))
        after = {**found, "id": given, "name_key": new_name_key()}
        sealed = self._macs.seal(principals, after)
        row = {"named": pseudonym, "old_mac": found["mac"]}
        write = Write(_NAME, {**row, "new_key": sealed["name_key"], "new_mac": sealed["mac"]})
        naming = Naming(tenant, name_subject(given), sealed["name_key"], conflict)
        entry = principal_entry(after, by, "named")
        item = Append([entry], [write], unless=[Unless(CHANGED, row)], namings=[naming])
        before = {**state(found), "named": False}
        trust = TrustChange(Kind.TRUST_PRINCIPAL, "principal.name", pseudonym, before, {**before, "named": True})
        trusted = is_trusted(before["roles"]) or await self.grows(tenant, pseudonym)
        return Change(item, rows.principal_view(after), trust if trusted else None)
