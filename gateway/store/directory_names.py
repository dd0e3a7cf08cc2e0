"""Naming people anew. A database that was put back from before an erasure, or without its epoch keys, knows its
principals by pseudonym alone: their keys, roles and history are there, and nobody can tell any more who they are.
"""

from typing import Final

from sqlalchemy import bindparam, update

from gateway.commitments import name_subject, new_name_key
from gateway.errors import Refused
from gateway.model import Principal
from gateway.permissions import Permission, require
from gateway.ports import Append, Naming, Unless, Write
from gateway.reasons import Conflict, Reason, because
from gateway.store import directory_rows as rows
from gateway.store.directory_changes import CHANGED, Changes, conflict, principal_entry
from gateway.store.directory_rows import PrincipalView
from gateway.store.tables import principals

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
                pseudonym; ``request.conflict`` where the principal is revoked, or the id is somebody's.
            Overtaken: somebody else changed the principal meanwhile.
        """
        require(actor, Permission.PRINCIPALS_MANAGE)
        given = rows.identifier(principal_id, "id")
        found = await self._read(lambda connection: self._reads.person_row(connection, actor.tenant, pseudonym))
        if found is None or found["named"]:
            raise Refused(Reason.REQUEST_NOT_FOUND, "nobody without an id has that pseudonym")
        if found["revoked_at"] is not None:
            raise Refused(Reason.REQUEST_CONFLICT, "revoked already", **because(Conflict.REVOKED))
        after = {**found, "id": given, "name_key": new_name_key()}
        sealed = self._macs.seal(principals, after)
        row = {"named": pseudonym, "old_mac": found["mac"]}
        write = Write(_NAME, {**row, "new_key": sealed["name_key"], "new_mac": sealed["mac"]})
        naming = Naming(actor.tenant, name_subject(given), sealed["name_key"], conflict)
        entry = principal_entry(after, actor.pseudonym, "named")
        await self._append(Append([entry], [write], unless=[Unless(CHANGED, row)], namings=[naming]))
        return rows.principal_view(after)
