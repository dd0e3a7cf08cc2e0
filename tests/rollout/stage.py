"""A gateway that takes signed bundles, and candidates to try beside the one that decides."""

import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from handrail import SigningKey

from gateway.errors import Refused
from gateway.policy import signed
from gateway.policy.canary import Canary
from gateway.policy.git import revision
from gateway.ports import Typ
from gateway.store.directory import NewPrincipal
from gateway.two_person import Kind
from keys import jws
from tests.lifecycle.repository import Repository
from tests.rollout.support import RULES, Place, open_place

DAY = 86_400
KIM = SigningKey(bytes([21]) * 32)
UNTESTED: Mapping[str, Any] = {"opa": None, "tests": None, "coverage": None}
QUICK: Mapping[str, Any] = {"canary_sample_min": 4, "canary_denied_margin": 0.25, "canary_error_margin": 0.25}


def denying(action: str, code: str = "trial.no", severity: str = "high") -> str:
    """The active rules, and one that denies an action besides."""
    return (
        RULES
        + f"""
# METADATA
# custom:
#   severity: {severity}
decisions contains {{"step": s.id, "effect": "deny", "reasons": [{{"code": "{code}", "message": "No."}}]}} if {{
	some s in input.steps
	s.action == "{action}"
}}
"""
    )


STRICT = denying("read")
LAX = RULES.replace('s.action == "write"', 's.action == "nothing"')
ASKING = RULES.replace('s.action == "change"', 's.action in {"change", "read"}')
CHANGED = RULES.replace('{"approver_role": "approver"}', '{"approver_role": "approver", "quorum": 2}')
FAULTY = (
    RULES
    + """
decisions contains {"step": s.id, "effect": "deny", "reasons": []} if {
	some s in input.steps
	s.action == "read"
	to_number(s.id) > 1
}
"""
)
"""Fails in the engine where a step's id is no number."""
GARBAGE = (
    RULES
    + """
decisions contains {"step": s.id, "effect": "perhaps", "reasons": []} if {
	some s in input.steps
	s.action == "read"
}
"""
)


@dataclass
class Stage:
    """A place, and bundles of kim's for it."""

    place: Place
    repository: Repository

    async def bring(self, rules: str) -> str:
        """A signed bundle of these rules, brought; its digest."""
        self.repository.commit({"policies/handrail/main.rego": rules})
        found = revision(self.repository.path, "HEAD", "policies")
        raw = signed.payload(found, "policies", built_at=int(time.time()), signer="kim", checks=UNTESTED)
        token = jws.sign(KIM.sign, jws.protected(KIM.kid, Typ.BUNDLE), raw).encode()
        return str((await self.place.gateway.lifecycle.add(self.place.people["ann"], token))["digest"])

    async def put_in_force(self, rules: str) -> str:
        """Have a bundle decide."""
        digest = await self.bring(rules)
        lifecycle = self.place.gateway.lifecycle
        commit = (await lifecycle.show(digest, self.place.people["ann"]))["commit"]
        document = {"digest": digest, "commit": commit, "replaces": await lifecycle.deciding() or None}
        await self.place.two_people(Kind.POLICY_ACTIVATE, document)
        return digest

    async def document(self, digest: str, percent: int = 100, lasts: int = DAY) -> dict[str, Any]:
        active = await self.place.gateway.lifecycle.deciding()
        return {"digest": digest, "active": active, "percent": percent, "lasts_seconds": lasts}

    async def canary(self, rules: str, percent: int = 100) -> Canary:
        """Try a bundle as a canary."""
        digest = await self.bring(rules)
        await self.place.two_people(Kind.POLICY_CANARY, await self.document(digest, percent))
        found = self.place.gateway.rollout.trial.canary
        assert found is not None
        return found

    async def end(self, canary: Canary) -> None:
        await self.place.gateway.proposals.withdraw(canary.id, self.place.people["oli"])

    async def shadow(self, rules: str, **lasts: int) -> dict[str, Any]:
        """Shadow a bundle."""
        return await self.place.gateway.rollout.shadows.start(
            self.place.people["ann"], await self.bring(rules), **lasts
        )

    async def shadowed(self) -> dict[str, Any]:
        """What came of the shadow, once nothing waits any more."""
        await self.place.gateway.rollout.shadowing.idle()
        return await self.place.gateway.rollout.shadows.show(self.place.people["ann"])

    async def settle(self) -> None:
        """What upkeep does every second."""
        await self.place.gateway.rollout.refresh()
        await self.place.gateway.rollout.follow()

    def covered(self, canary: Canary, inside: bool = True) -> str:
        """An agent that the canary covers, or one that it does not."""
        key = self.place.gateway.rollout.trial._key
        agents = [name for name in self.place.people if name.startswith("agent")]
        return next(name for name in agents if canary.covers(key, "default", name) is inside)


MANY: Final = 24
"""Agents enough that half of them are inside and half outside but once in 2**23 random keys."""


@asynccontextmanager
async def open_stage(
    directory: Path, *, rules: str = RULES, rollout: Mapping[str, Any] = QUICK, **more: Any
) -> AsyncIterator[Stage]:
    """Opening the same directory again, with the same brain, is a restart."""
    async with open_place(directory, source="signed", rollout=rollout, **more) as place:
        stage = Stage(place, Repository(directory / "repository"))
        jwk = dict(KIM.public.public_jwk())
        with contextlib.suppress(Refused):  # a restart
            await place.gateway.directory.add_principal(
                place.people["adm"], NewPrincipal("kim", ["author"], approval_jwk=jwk)
            )
        if not place.gateway.policy.digest:
            await stage.put_in_force(rules)
        yield stage


def second_home(first: Path, second: Path) -> str:
    """A home for another gateway on the first one's database, whose URL is returned."""
    shutil.copytree(first / "home", second / "home", ignore=shutil.ignore_patterns("handrail.db*", "gateway-id"))
    for name in ("tokens.json",):
        shutil.copy(first / name, second / name)
    return f"sqlite:///{(first / 'home' / 'handrail.db').absolute()}"


def codes(shown: Mapping[str, Any]) -> list[str]:
    return [reason["code"] for reason in shown["decision"]["reasons"]]


def rows(place: Place, table: Any) -> list[dict[str, Any]]:
    with place.gateway.engine.connect() as connection:
        return [dict(row) for row in connection.execute(table.select()).mappings()]


def execute(place: Place, statement: Any) -> None:
    with place.gateway.engine.begin() as connection:
        connection.execute(statement)
