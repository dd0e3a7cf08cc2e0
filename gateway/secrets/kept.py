"""What the API and the command line see of secrets: the sealed ones, and those that hands name in any store."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from gateway.errors import HandrailError, Refused
from gateway.manifest import Manifest, SecretUse
from gateway.model import Principal
from gateway.permissions import Permission, require
from gateway.reasons import Reason
from gateway.secrets.broker import Broker, problem_of
from gateway.secrets.sealed import Known, SealedSecrets
from gateway.settings import SEALED


@dataclass(frozen=True, slots=True)
class SecretsKept:
    """Secrets of a tenant, seen and changed. A value goes in and never comes out.

    Attributes:
        offered: tenant -> manifests of its hands that are declared and known now, pinned or not.
    """

    sealed: SealedSecrets
    broker: Broker
    offered: Callable[[str], Iterable[Manifest]]

    async def listed(self, actor: Principal) -> list[dict[str, Any]]:
        """Every secret of the tenant, by store and name. Raises as ``SealedSecrets.known``."""
        known = {(SEALED, one.name): one for one in await self.sealed.known(actor)}
        used = self._used(actor.tenant)
        return [_view(*key, known.get(key), used.get(key, [])) for key in sorted({*known, *used})]

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
        """Whether each secret that a hand of the tenant names could be used now: each store is asked.

        Raises:
            Refused: ``auth.forbidden``.
        """
        require(actor, Permission.SECRETS_MANAGE)

        async def one(store: str, name: str, hands: list[str]) -> dict[str, Any]:
            view: dict[str, Any] = {"store": store, "name": name, "hands": hands, "usable": True}
            try:
                return {**view, "version": (await self.broker.value(store, actor.tenant, name)).version}
            except HandrailError as error:
                return {**view, "usable": False, "reason": str(error.reason), "problem": problem_of(error)}

        used = self._used(actor.tenant)
        return list(await asyncio.gather(*(one(*key, hands) for key, hands in sorted(used.items()))))

    def _used(self, tenant: str) -> dict[tuple[str, str], list[str]]:
        used: dict[tuple[str, str], list[str]] = {}
        for manifest in self.offered(tenant):
            for use in manifest.secrets:
                if use.connection is not None:
                    continue
                used.setdefault(_key(use), []).append(manifest.hand)
        return used

    def _changed(self, actor: Principal, known: Known) -> dict[str, Any]:
        self.broker.forget(actor.tenant, known.name)
        return self._shown(actor, known)

    def _shown(self, actor: Principal, known: Known) -> dict[str, Any]:
        return _view(SEALED, known.name, known, self._used(actor.tenant).get((SEALED, known.name), []))


def _key(use: SecretUse) -> tuple[str, str]:
    return use.store, use.name


def _view(store: str, name: str, known: Known | None, hands: list[str]) -> dict[str, Any]:
    told = {"version": None, "set_by": None, "set_at": None} if known is None else known.document()
    return {**told, "store": store, "name": name, "hands": sorted(hands)}
