"""What checks look at: the settings, and through them files and the database. Nothing is made or changed."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, make_url, select

from audit.database import make_engine
from audit.epochs import EpochKeys
from audit.errors import LogUnavailable
from audit.names import Names
from audit.reader import Reader
from gateway.errors import Unavailable
from gateway.keyring import stores as key_stores
from gateway.model import DEFAULT_TENANT
from gateway.policy.bundle import Bundle, load
from gateway.policy.engine import bundle_directory
from gateway.reasons import Reason
from gateway.settings import Settings
from gateway.store.bundles import SqlBundles
from gateway.store.directory_reads import DirectoryReads, Found
from gateway.store.proposals import SqlProposals
from gateway.store.row_macs import RowMacs
from gateway.store.tables import principals
from gateway.two_person import Kind
from keys.rotation import KeyRecord
from keys.stores.root import DataRoot


class Scene:
    """Parts are opened when a check asks for them. Close it.

    What cannot be opened raises ``HandrailError``: the check that asked is then not made, and counts as failed.
    """

    def __init__(self, settings: Settings, now: float) -> None:
        self.settings = settings
        self.now = now

    def close(self) -> None:
        """Let go of the database, where it was opened."""
        if "engine" in self.__dict__:
            self.engine.dispose()

    @property
    def master_key_file(self) -> Path:
        """Where the master key lies, unless the environment holds it."""
        return self.settings.master_key_file

    @cached_property
    def engine(self) -> Engine:
        """The database. Raises ``LogUnavailable`` where SQLite would make it."""
        url = make_url(self.settings.database_url)
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
            raise LogUnavailable(f"there is no database yet: {url.database}")
        return make_engine(self.settings.database_url)

    def connect(self) -> AbstractContextManager[Connection]:
        """A read connection. Raises ``LogUnavailable``."""
        return Reader(self.engine).connect()

    @cached_property
    def root(self) -> DataRoot:
        """What seals and MACs are derived from. Raises ``key.unavailable``; none is made."""
        return key_stores.open_root(self.settings)

    @cached_property
    def signing_keys(self) -> Sequence[KeyRecord]:
        """The gateway's own keys. Raises ``key.unavailable``."""
        directory = self.settings.home / "keys"
        if self.settings.keys.store == "file" and not directory.is_dir():
            raise Unavailable(Reason.KEY_UNAVAILABLE, f"there are no keys: {directory}")
        store = key_stores.open_store(self.settings, self.root, lambda: self.engine, key_stores.recorded(self.engine))
        return [stored.record for stored in store.load()]

    @cached_property
    def tenants(self) -> Sequence[str]:
        """Every tenant that has a principal, and the operator's."""
        with self.connect() as connection:
            found = connection.execute(select(principals.c.tenant).distinct()).scalars().all()
        return sorted({DEFAULT_TENANT, *found})

    @cached_property
    def people(self) -> Mapping[str, Sequence[Found]]:
        """Tenant -> rows of its live principals, each as the gateway left it."""
        reads = self.directory
        with self.connect() as connection:
            return {
                tenant: [
                    row for row in reads.principal_rows(connection, tenant, strict=False) if row["revoked_at"] is None
                ]
                for tenant in self.tenants
            }

    @cached_property
    def directory(self) -> DirectoryReads:
        """How rows of the directory are believed."""
        epochs = EpochKeys(self.settings.epochs_directory, self.root.derive("epoch"))
        return DirectoryReads(RowMacs(self.root.derive("directory rows")), Names(self.engine, epochs))

    @cached_property
    def bundle(self) -> Bundle | None:
        """The bundle that decides; ``None`` where nobody activated one. Raises ``BundleError``."""
        if self.settings.policy.source == "directory":
            return load(bundle_directory(self.settings.policy))
        return asyncio.run(self._activated())

    async def _activated(self) -> Bundle | None:
        bundles = SqlBundles(self.engine, self.root.derive("policy rows"))
        history = await bundles.history()
        stored = await bundles.get(history[-1].digest) if history else None
        return None if stored is None else stored.signed.bundle

    @cached_property
    def observed(self) -> Sequence[str]:
        """Hands on which policy is not enforced now."""
        store = SqlProposals(self.engine, self.root.derive("proposal rows"))
        found = asyncio.run(store.in_force([Kind.POLICY_OBSERVE], self.now))
        return sorted({proposal.subject for proposal in found})

    def policy_data(self, *path: str) -> Any:
        """A value of the deciding bundle's data; ``None`` where there is none."""
        value: Any = None if self.bundle is None else self.bundle.data
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        return value
