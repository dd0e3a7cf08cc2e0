"""What the API and the command line see of secrets: the sealed ones, and those that hands and connections name in any
store.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import HandrailError, Refused
from gateway.manifest import Manifest
from gateway.model import DEFAULT_TENANT, Principal
from gateway.permissions import Permission, require
from gateway.reasons import Reason
from gateway.secrets.broker import Broker, problem_of
from gateway.secrets.sealed import Known, SealedSecrets
from gateway.settings import SEALED, ConnectionSettings


@dataclass(frozen=True, slots=True)
class _Users:
    """What names a secret."""

    hands: list[str] = field(default_factory=list)
    connections: list[str] = field(default_factory=list)

    def document(self) -> dict[str, list[str]]:
        return {"hands": sorted(self.hands), "connections": sorted(self.connections)}


@dataclass(frozen=True, slots=True)
class SecretsKept:
    """Secrets of a tenant, seen and changed. A value goes in and never comes out.

    Attributes:
        offered: tenant -> manifests of its hands that are declared and known now, pinned or not.
        connections: by name. The secrets that they name are the default tenant's, whoever's people use them.
    """

    sealed: SealedSecrets
    broker: Broker
    offered: Callable[[str], Iterable[Manifest]]
    connections: Mapping[str, ConnectionSettings]

    async def listed(self, actor: Principal) -> list[dict[str, Any]]:
        """Every secret of the tenant, by store and name. Raises as ``SealedSecrets.known``."""
        known = {(SEALED, one.name): one for one in await self.sealed.known(actor)}
        used = self._used(actor.tenant)
        return [_view(*key, known.get(key), used.get(key, _Users())) for key in sorted({*known, *used})]

    async def show(self, actor: Principal, name: str) -> dict[str, Any]:
        """One sealed secret. Raises ``request.not_found``, and as ``SealedSecrets.known``."""
        for one in await self.sealed.known(actor):
            if one.name == name:
                return self._shown(actor, one)
        raise Refused(Reason.REQUEST_NOT_FOUND, "no such secret")

    async def set(self, actor: Principal, name: str, value: str) -> dict[str, Any]:
        """See ``SealedSecrets.set``."""
        return self._changed(actor, await self.sealed.set(actor, name, value))

    async def rotate(self, actor: Principal, name: str, value: str) -> dict[str, Any]:
        """See ``SealedSecrets.rotate``."""
        return self._changed(actor, await self.sealed.rotate(actor, name, value))

    async def remove(self, actor: Principal, name: str) -> dict[str, Any]:
        """See ``SealedSecrets.remove``."""
        return self._changed(actor, await self.sealed.remove(actor, name))

    async def check(self, actor: Principal) -> list[dict[str, Any]]:
        """Whether each secret that a hand or connection of the tenant names could be used now: each store is asked.

        Raises:
            Refused: ``auth.forbidden``.
        """
        require(actor, Permission.SECRETS_MANAGE)

        async def one(store: str, name: str, users: _Users) -> dict[str, Any]:
            view: dict[str, Any] = {"store": store, "name": name, **users.document(), "usable": True}
            try:
                return {**view, "version": (await self.broker.value(store, actor.tenant, name)).version}
            except HandrailError as error:
                return {**view, "usable": False, "reason": str(error.reason), "problem": problem_of(error)}

        used = self._used(actor.tenant)
        return list(await asyncio.gather(*(one(*key, users) for key, users in sorted(used.items()))))

    def _used(self, tenant: str) -> dict[tuple[str, str], _Users]:
        """Store and name -> what names it."""
        used: defaultdict[tuple[str, str], _Users] = defaultdict(_Users)
        for manifest in self.offered(tenant):
            for use in manifest.secrets:
                if use.connection is None:
                    used[use.store, use.name].hands.append(manifest.hand)
        if tenant == DEFAULT_TENANT:
            for connection, one in self.connections.items():
                if one.client_secret is not None:
                    used[one.client_secret_store, one.client_secret].connections.append(connection)
        return dict(used)

    def _changed(self, actor: Principal, known: Known) -> dict[str, Any]:
        self.broker.forget(actor.tenant, known.name)
        return self._shown(actor, known)

    def _shown(self, actor: Principal, known: Known) -> dict[str, Any]:
        return _view(SEALED, known.name, known, self._used(actor.tenant).get((SEALED, known.name), _Users()))


def _view(store: str, name: str, known: Known | None, users: _Users) -> dict[str, Any]:
    told = {"version": None, "set_by": None, "set_at": None} if known is None else known.document()
    return {**told, "store": store, "name": name, **users.document()}
