"""Several writers on one log: every entry once, no fork, no lost entry."""

import asyncio

from audit.checkpoint import VerifierKey
from audit.database import make_engine
from audit.fsck import check
from gateway.canonical import b64url_decode
from gateway.errors import Refused
from gateway.ports import Append
from tests.audit.conftest import draft, once


async def test_two_writers_never_fork_the_log(engine, database_url, open_log, signer):
    other_engine = make_engine(database_url)
    async with (
        open_log(engine, "g1", group_max_entries=8) as one,
        open_log(other_engine, "g2", group_max_entries=8) as two,
    ):
        taken = await asyncio.gather(
            *((one if number % 2 else two).append(Append([draft(number), draft(number)])) for number in range(100))
        )
        notes = await asyncio.gather(one.checkpoint(), two.checkpoint())
    other_engine.dispose()
    assert sorted(index for indices in taken for index in indices) == list(range(1, 201))
    key = VerifierKey("handrail.local/log", b64url_decode(signer.active_jwk(None)["x"]))
    assert list(check(engine, keys=[key], kept=notes)) == []


async def test_a_replay_to_two_gateways_at_once_is_accepted_once(engine, database_url, open_log):
    other_engine = make_engine(database_url)
    async with open_log(engine, "g1") as one, open_log(other_engine, "g2") as two:
        outcomes = await asyncio.gather(
            *((one if number % 2 else two).append(Append([draft()], guards=[once()])) for number in range(200)),
            return_exceptions=True,
        )
    other_engine.dispose()
    assert sum(1 for outcome in outcomes if not isinstance(outcome, BaseException)) == 1
    assert sum(1 for outcome in outcomes if isinstance(outcome, Refused)) >= 50
    assert list(check(engine)) == []
