"""Rows of the signatures under proposals of counted kinds: only added, each as the gateway left it, or not there."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, NoReturn

from sqlalchemy import Connection, Engine, bindparam, insert, select

from gateway.dual_control import Signature
from gateway.errors import Overtaken, Refused
from gateway.ports import Guard
from gateway.reasons import Conflict, Reason, because
from gateway.store.reading import reading
from gateway.store.row_macs import RowMacs, sound
from gateway.store.tables import proposal_signatures

_INSERT: Final = insert(proposal_signatures)
_OF: Final = (
    select(proposal_signatures)
    .where(proposal_signatures.c.proposal_id.in_(bindparam("proposals", expanding=True)))
    .order_by(proposal_signatures.c.proposal_id, proposal_signatures.c.number)
)


class SqlSignatures:
    """``gateway.proposals.signing.SignatureStore`` over SQLAlchemy Core. Writes are carried by the log's writer."""

    def __init__(self, engine: Engine, mac_key: bytes) -> None:
        """Use ``engine`` for reads.

        Args:
            mac_key: 32 bytes from outside the database. Whoever can write there and has no key signs nothing.
        """
        self._engine = engine
        self._macs = RowMacs(mac_key)

    def insert(self, signature: Signature) -> Guard:
        """A further signature. Raises ``request.conflict`` where its person signed before, and ``Overtaken`` where
        somebody else signed at the same moment."""
        row = {one.name: getattr(signature, one.name) for one in proposal_signatures.c if one.name != "mac"}
        return Guard(_INSERT, self._macs.seal(proposal_signatures, row), partial(_conflict, signature))

    async def of(self, proposal_ids: Sequence[str]) -> Mapping[str, Sequence[Signature]]:
        """The signatures under proposals, in their order. A row that is not as the gateway left it counts for nothing.

        Raises:
            Unavailable: the database cannot be read.
        """

        def read(connection: Connection) -> dict[str, list[Signature]]:
            found: dict[str, list[Signature]] = {}
            verify: Callable[[Mapping[str, object]], None] = partial(self._macs.verify_row, proposal_signatures)
            for row in sound(connection.execute(_OF, {"proposals": list(proposal_ids)}).mappings(), verify):
                signature = Signature(**{name: value for name, value in row.items() if name != "mac"})
                found.setdefault(signature.proposal_id, []).append(signature)
            return found

        return await reading(self._engine, "proposals", read) if proposal_ids else {}


def _conflict(signature: Signature, connection: Connection) -> NoReturn:
    signed = select(proposal_signatures.c.number).where(
        proposal_signatures.c.proposal_id == signature.proposal_id, proposal_signatures.c.signer == signature.signer
    )
    if connection.execute(signed).first() is None:
        raise Overtaken
    raise Refused(Reason.REQUEST_CONFLICT, "signed before", **because(Conflict.SIGNED))
