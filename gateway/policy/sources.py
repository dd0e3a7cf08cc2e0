"""Where the bundle that decides comes from: a directory that people edit, or what two people activated."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from gateway.errors import HandrailError, Unavailable
from gateway.policy.activations import Activation
from gateway.policy.bundle import Bundle, load
from gateway.policy.faults import BundleError, Problem
from gateway.policy.signed import SignedBundle


class BundleSource(Protocol):
    """Asked at every reload interval."""

    @property
    def lasting(self) -> bool:
        """Whether a gateway may start without a usable bundle: everything is denied until there is one."""

    async def changed(self, active: str) -> Bundle | None:
        """The bundle that should decide; ``None`` where ``active`` is its digest, or where there is none yet.

        Raises:
            BundleError: there is one, and it cannot be read or believed.
            Unavailable: the source cannot be asked now.
        """


class DirectorySource:
    """The newest state of a directory: for development, and for those who deploy policies as files."""

    lasting = False

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def changed(self, active: str) -> Bundle | None:
        """See :class:`BundleSource`."""
        bundle = await asyncio.to_thread(load, self._directory)
        return None if bundle.digest == active else bundle


class KeptBundle(Protocol):
    """A stored bundle."""

    @property
    def signed(self) -> SignedBundle:
        """Its signature holds."""


class BundleStore(Protocol):
    """What :class:`ActivatedSource` needs of ``gateway.store.bundles``."""

    async def history(self) -> Sequence[Activation]:
        """Every change of the bundle that decides, oldest first."""

    async def get(self, digest: str) -> KeptBundle | None:
        """A kept bundle whose signature holds."""


class ActivatedSource:
    """The bundle that two people activated last, or that one went back to: the same for every gateway on a database."""

    lasting = True

    def __init__(self, store: BundleStore) -> None:
        self._store = store

    async def changed(self, active: str) -> Bundle | None:
        """See :class:`BundleSource`."""
        try:
            history = await self._store.history()
        except Unavailable:
            raise
        except HandrailError as error:
            raise BundleError([Problem("", 0, 0, f"which bundle decides cannot be believed: {error.detail}")]) from None
        if not history or history[-1].digest == active:
            return None
        digest = history[-1].digest
        found = await self._store.get(digest)
        if found is None:
            raise BundleError([Problem("", 0, 0, "the bundle that was activated is not stored")], digest)
        return found.signed.bundle
