"""A change takes two people: attacks on that, by people, clients and whoever writes to the database."""

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from gateway.canonical import sha256_canonical
from gateway.errors import HandrailError, Refused, Unavailable
from gateway.model import Role
from gateway.ports import Append
from gateway.proposals.acts import Said
from gateway.reasons import Reason
from gateway.store.tables import proposal_acts, proposals
from gateway.times import parse_time
from gateway.two_person import RULES, Act, Kind, ProposalStatus
from tests.proposals.support import Bench, Person, open_bench

DOCUMENT = {"digest": "a" * 64}
SHA256 = sha256_canonical(DOCUMENT)
OBSERVE = {"hand": "mail", "lasts_seconds": 3600}


@pytest.fixture
def ann(bench: Bench) -> Person:
    person = Person("ann", Role.AUTHOR)
    bench.add(person)
    return person


@pytest.fixture
def oli(bench: Bench) -> Person:
    person = Person("oli", Role.OPERATOR)
    bench.add(person)
    return person


async def refusal(awaitable: Any) -> Reason:
    with pytest.raises(HandrailError) as caught:
        await awaitable
    return caught.value.reason


async def test_a_second_person_activates_what_the_first_proposed(bench: Bench, ann: Person, oli: Person) -> None:
    made = await bench.proposals.propose(ann.principal, Kind.POLICY_ACTIVATE, DOCUMENT)
    assert (made["status"], made["subject"], made["proposed_by"]) == ("open", "a" * 64, "ann")
    done = await bench.proposals.activate(made["id"], oli.principal, document_sha256=SHA256)
    assert (done["status"], done["decided_by"], done["decided_attested_by"]) == ("activated", "oli", "gateway")
    assert [one.id for one in bench.handler.applied_] == [made["id"]]
    proposed, activated = bench.entries()[-2:]
    assert [proposed["type"], activated["type"]] == ["POLPRO", "POLACT"]
    assert [proposed["principal"], activated["principal"]] == ["p-ann-default", "p-oli-default"]
    assert proposed["facts"]["proposal"] == activated["facts"]["proposal"] == made["id"]
    assert activated["facts"]["document_sha256"] == SHA256
    assert "ann" not in str({**proposed, "principal": ""})


async def test_whoever_proposed_cannot_activate_with_whatever_key(bench: Bench) -> None:
    both = Person("both", Role.AUTHOR, Role.OPERATOR)
    bench.add(both)
    made = await bench.proposals.propose(both.principal, Kind.POLICY_ACTIVATE, DOCUMENT)
    # A second API key of the same person authenticates the same principal, perhaps with other roles by now.
    later = dataclasses.replace(both.principal, roles=frozenset({Role.OPERATOR}))
    for caller in (both.principal, later):
        activation = bench.proposals.activate(made["id"], caller, document_sha256=SHA256)
        assert await refusal(activation) is Reason.PROPOSAL_SELF
    assert bench.types().count("POLACT") == 0


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OPERATOR])
async def test_only_the_right_role_activates(bench: Bench, ann: Person, role: Role) -> None:
    made = await bench.proposals.propose(ann.principal, Kind.POLICY_ACTIVATE, DOCUMENT)
    activation = bench.proposals.activate(made["id"], Person("x", role).principal, document_sha256=SHA256)
    assert await refusal(activation) is Reason.AUTH_FORBIDDEN


@pytest.mark.parametrize("role", [Role.AGENT, Role.APPROVER, Role.AUDITOR, Role.SECURITY_ADMIN])
async def test_only_the_right_role_proposes(bench: Bench, role: Role) -> None:
    asked = bench.proposals.propose(Person("x", role).principal, Kind.POLICY_ACTIVATE, DOCUMENT)
    assert await refusal(asked) is Reason.AUTH_FORBIDDEN


async def test_another_tenant_changes_nothing_for_everybody_and_sees_nothing(bench: Bench, ann: Person) -> None:
    foreign = Person("ann", Role.AUTHOR, Role.OPERATOR, tenant="acme").principal
    assert await refusal(bench.proposals.propose(foreign, Kind.POLICY_ACTIVATE, DOCUMENT)) is Reason.AUTH_FORBIDDEN
    made = await bench.proposals.propose(ann.principal, Kind.POLICY_ACTIVATE, DOCUMENT)
    activation = bench.proposals.activate(made["id"], foreign, document_sha256=SHA256)
    assert await refusal(activation) is Reason.REQUEST_NOT_FOUND
    assert (await bench.proposals.list(foreign))["proposals"] == []
    assert (await bench.proposals.propose(foreign, Kind.POLICY_OBSERVE, OBSERVE))["tenant"] == "acme"


async def test_another_document_than_the_one_looked_at_is_not_activated(bench: Bench, ann: Person, oli: Person) -> None:
    made = await bench.proposals.propose(ann.principal, Kind.POLICY_ACTIVATE, DOCUMENT)
    other = sha256_canonical({"digest": "b" * 64})
    activation = bench.proposals.activate(made["id"], oli.principal, document_sha256=other)
    assert await refusal(activation) is Reason.PROPOSAL_MISMATCH


async def test_nobody_activates_twice_or_after_its_time_or_what_was_withdrawn(
    bench: Bench, ann: Person, oli: Person
) -> None:
    first = (await bench.proposals.propose(ann.principal, Kind.POLICY_ACTIVATE, DOCUMENT))["id"]
    await bench.proposals.activate(first, oli.principal, document_sha256=SHA256)
    second = (await bench.proposals.propose(ann.principal, Kind.POLICY_ACTIVATE, DOCUMENT))["id"]
    await bench.proposals.withdraw(second, ann.principal)
    third = (await bench.proposals.propose(ann.principal, Kind.POLICY_ACTIVATE, DOCUMENT))["id"]
    for done in (first, second):
        activation = bench.proposals.activate(done, oli.principal, document_sha256=SHA256)
        assert await refusal(activation) is Reason.PROPOSAL_CLOSED
        assert await refusal(bench.proposals.withdraw(done, ann.principal)) is Reason.PROPOSAL_CLOSED
    bench.now[0] = 3601
    for _ in range(2):  # before upkeep has looked, and after
        activation = bench.proposals.activate(third, oli.principal, document_sha256=SHA256)
        assert await refusal(activation) is Reason.PROPOSAL_EXPIRED
        await bench.proposals.expire()
    assert bench.types()[-1] == "PRPEXP"
    assert bench.types().count("PRPEXP") == 1
    assert [one["status"] for one in (await bench.proposals.list(ann.principal))["proposals"]] == [
        "expired",
        "withdrawn",
        "activated",
    ]


async def test_one_proposal_about_a_thing_is_open_at_a_time(bench: Bench, ann: Person, oli: Person) -> None:
    """Two for one freeze, hand or bundle: what the second one's reader looked at is not what would be left."""
    made = await bench.proposals.propose(ann.principal, Kind.POLICY_OBSERVE, OBSERVE)
    with pytest.raises(Refused) as caught:
        await bench.proposals.propose(oli.principal, Kind.POLICY_OBSERVE, {**OBSERVE, "lasts_seconds": 60})
    assert (caught.value.reason, caught.value.facts["problem"]) == (Reason.REQUEST_CONFLICT, "proposal.open")
    foreign = Person("ann", Role.AUTHOR, tenant="acme")
    assert (await bench.proposals.propose(foreign.principal, Kind.POLICY_OBSERVE, OBSERVE))["status"] == "open"
    assert (await bench.proposals.propose(ann.principal, Kind.POLICY_OBSERVE, {**OBSERVE, "hand": "git"}))["id"]
    await bench.proposals.withdraw(made["id"], ann.principal)
    again = await bench.proposals.propose(ann.principal, Kind.POLICY_OBSERVE, OBSERVE)
    bench.now[0] = 3601
    await bench.proposals.expire()
    assert (await bench.proposals.show(again["id"], ann.principal))["status"] == "expired"
    racing = [bench.proposals.propose(ann.principal, Kind.POLICY_OBSERVE, OBSERVE) for _ in range(10)]
    answers = await asyncio.gather(*racing, return_exceptions=True)
    assert sum(isinstance(answer, dict) for answer in answers) == 1


async def test_a_hundred_activations_at_once_are_one(bench: Bench, ann: Person) -> None:
    made = await bench.proposals.propose(ann.principal, Kind.POLICY_ACTIVATE, DOCUMENT)
    people = [Person(f"op{number}", Role.OPERATOR) for number in range(100)]
    bench.add(*people)
    racing = (bench.proposals.activate(made["id"], one.principal, document_sha256=SHA256) for one in people)
    answers = await asyncio.gather(*racing, return_exceptions=True)
    assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
    refused = [answer for answer in answers if isinstance(answer, Refused)]
    assert {answer.reason for answer in refused} == {Reason.PROPOSAL_CLOSED}
    assert len(refused) == 99
    assert bench.types().count("POLACT") == 1


async def test_a_reader_that_began_before_a_decision_takes_no_row_for_one_put_back(
    bench: Bench, ann: Person, oli: Person
) -> None:
    """It sees the row as it was, while another reader has taken in the decision already."""
    made = await bench.proposals.propose(ann.principal, Kind.POLICY_ACTIVATE, DOCUMENT)
    store = bench.proposals.store
    wanted = proposals.c.proposal_id == made["id"]
    with bench.engine.connect() as early:
        early.execute(select(proposals.c.status).where(wanted)).all()
        await bench.proposals.activate(made["id"], oli.principal, document_sha256=SHA256)
        assert (await store.get("default", made["id"])).status is ProposalStatus.ACTIVATED
        [seen] = store._found(early, wanted, 1, strict=True)
        assert seen.status is ProposalStatus.OPEN


async def test_a_proposer_who_was_revoked_meanwhile_proposes_nothing(bench: Bench, ann: Person, oli: Person) -> None:
    made = await bench.proposals.propose(ann.principal, Kind.POLICY_ACTIVATE, DOCUMENT)
    kept = bench.directory.people.pop(("default", "ann"))
    activation = bench.proposals.activate(made["id"], oli.principal, document_sha256=SHA256)
    assert await refusal(activation) is Reason.PROPOSAL_OUTDATED
    bench.directory.people["default", "ann"] = dataclasses.replace(kept, roles=frozenset({Role.AGENT}))
    activation = bench.proposals.activate(made["id"], oli.principal, document_sha256=SHA256)
    assert await refusal(activation) is Reason.PROPOSAL_OUTDATED


async def test_what_the_handler_finds_outdated_is_not_activated(bench: Bench, ann: Person, oli: Person) -> None:
    made = await bench.proposals.propose(ann.principal, Kind.POLICY_ACTIVATE, DOCUMENT)
    bench.handler.outdated = True
    activation = bench.proposals.activate(made["id"], oli.principal, document_sha256=SHA256)
    assert await refusal(activation) is Reason.PROPOSAL_OUTDATED
    assert (await bench.proposals.show(made["id"], ann.principal))["status"] == "open"


async def test_a_kind_that_nothing_handles_cannot_be_proposed(bench: Bench, ann: Person) -> None:
    asked = bench.proposals.propose(ann.principal, Kind.POLICY_CANARY, {**DOCUMENT, "lasts_seconds": 60})
    assert await refusal(asked) is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize("document", [[], "x", None, {"digest": "x" * 20_000}, {"digest": "a b"}, {"digest": ""}, {}])
async def test_a_document_that_is_none_is_refused(bench: Bench, ann: Person, document: Any) -> None:
    asked = bench.proposals.propose(ann.principal, Kind.POLICY_ACTIVATE, document)
    assert await refusal(asked) is Reason.REQUEST_MALFORMED


async def test_nothing_is_activated_that_the_log_cannot_take(
    bench: Bench, ann: Person, oli: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await bench.proposals.propose(ann.principal, Kind.POLICY_ACTIVATE, DOCUMENT)

    async def full(item: Append) -> object:
        raise Unavailable(Reason.LOG_UNAVAILABLE)

    monkeypatch.setattr(bench.log, "append", full)
    activation = bench.proposals.activate(made["id"], oli.principal, document_sha256=SHA256)
    assert await refusal(activation) is Reason.LOG_UNAVAILABLE
    assert bench.handler.applied_ == []
    assert (await bench.proposals.show(made["id"], ann.principal))["status"] == "open"


async def test_a_restart_between_proposal_and_activation_forgets_nothing(tmp_path: Path) -> None:
    ann, oli = Person("ann", Role.AUTHOR), Person("oli", Role.OPERATOR)
    first = await open_bench(tmp_path)
    first.add(ann, oli)
    made = await first.proposals.propose(ann.principal, Kind.POLICY_ACTIVATE, DOCUMENT)
    await first.close()
    second = await open_bench(tmp_path)
    second.add(ann, oli)
    done = await second.proposals.activate(made["id"], oli.principal, document_sha256=SHA256)
    assert done["status"] == "activated"
    await second.close()


# --- what stands for a while ------------------------------------------------------------------------------------------


async def test_what_is_in_force_ends_by_itself_and_by_one_persons_word(bench: Bench, ann: Person, oli: Person) -> None:
    ids = []
    for _ in range(2):
        made = await bench.proposals.propose(ann.principal, Kind.POLICY_OBSERVE, OBSERVE)
        done = await bench.proposals.activate(made["id"], oli.principal, document_sha256=sha256_canonical(OBSERVE))
        assert parse_time(done["in_force_until"]) == parse_time(done["decided_at"]) + 3600
        ids.append(made["id"])
    assert {one.id for one in await bench.proposals.in_force(Kind.POLICY_OBSERVE)} == set(ids)
    assert await bench.proposals.in_force(Kind.POLICY_CANARY) == []
    assert await refusal(bench.proposals.withdraw(ids[0], ann.principal)) is Reason.AUTH_FORBIDDEN
    ended = await bench.proposals.withdraw(ids[0], oli.principal)
    assert (ended["status"], ended["ended_by"]) == ("ended", "oli")
    assert [one.id for one in await bench.proposals.in_force(Kind.POLICY_OBSERVE)] == [ids[1]]
    bench.now[0] = 3601
    assert await bench.proposals.in_force(Kind.POLICY_OBSERVE) == [], "its time is over, whether upkeep looked or not"
    assert await bench.proposals.expire() == 1
    assert bench.types()[-2:] == ["PRPEND", "PRPEND"]
    assert [one.status for one in bench.handler.applied_] == ["activated", "activated", "ended", "ended"]


@pytest.mark.parametrize("lasts", [0, -1, True, 1.5, "3600", None, 14 * 86_400 + 1])
async def test_nothing_stands_longer_than_its_kind_may(bench: Bench, ann: Person, lasts: Any) -> None:
    asked = bench.proposals.propose(ann.principal, Kind.POLICY_OBSERVE, {**OBSERVE, "lasts_seconds": lasts})
    assert await refusal(asked) is Reason.REQUEST_MALFORMED


# --- signatures -------------------------------------------------------------------------------------------------------


@pytest.fixture
def keen(bench: Bench) -> Person:
    person = Person("keen", Role.AUTHOR, enrolled=True)
    bench.add(person)
    return person


@pytest.fixture
def kit(bench: Bench) -> Person:
    person = Person("kit", Role.OPERATOR, enrolled=True)
    bench.add(person)
    return person


async def signed_proposal(bench: Bench, keen: Person, **changes: Any) -> dict[str, Any]:
    act = keen.act("propose", Kind.POLICY_ACTIVATE, "a" * 64, DOCUMENT, **changes)
    return await bench.proposals.propose(keen.principal, Kind.POLICY_ACTIVATE, DOCUMENT, signed=act)


async def test_both_sign_with_their_own_keys(bench: Bench, keen: Person, kit: Person) -> None:
    made = await signed_proposal(bench, keen)
    assert made["proposed_attested_by"] == "proposer"
    act = kit.act("activate", Kind.POLICY_ACTIVATE, "a" * 64, DOCUMENT, id=made["id"])
    done = await bench.proposals.activate(made["id"], kit.principal, document_sha256=SHA256, said=Said(act))
    assert done["decided_attested_by"] == "activator"
    assert [entry["facts"]["attested_by"] for entry in bench.entries()[-2:]] == ["proposer", "activator"]
    assert bench.entries()[-1]["commitment"]


async def test_who_has_a_key_must_sign_so_that_a_stolen_api_key_is_not_enough(
    bench: Bench, keen: Person, kit: Person
) -> None:
    unsigned = bench.proposals.propose(keen.principal, Kind.POLICY_ACTIVATE, DOCUMENT)
    assert await refusal(unsigned) is Reason.PROPOSAL_KEY
    made = await signed_proposal(bench, keen)
    unsigned = bench.proposals.activate(made["id"], kit.principal, document_sha256=SHA256)
    assert await refusal(unsigned) is Reason.PROPOSAL_KEY


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"act": "propose"}, Reason.PROPOSAL_MISMATCH),
        ({"id": "0" * 32}, Reason.PROPOSAL_MISMATCH),
        ({"of_kind": "policy.observe"}, Reason.PROPOSAL_MISMATCH),
        ({"about": "b" * 64}, Reason.PROPOSAL_MISMATCH),
        ({"tenant": "acme"}, Reason.PROPOSAL_MISMATCH),
        ({"document_sha256": "b" * 64}, Reason.PROPOSAL_MISMATCH),
        ({"by": "keen"}, Reason.PROPOSAL_MISMATCH),
        ({"aud": "another/log"}, Reason.PROPOSAL_MISMATCH),
        ({"v": True}, Reason.PROPOSAL_MISMATCH),
        ({"extra": 1}, Reason.PROPOSAL_MISMATCH),
        ({"proposal": {}}, Reason.PROPOSAL_MISMATCH),
        ({"exp": 2**40}, Reason.VERIFY_LIFETIME),
        ({"iat": 1, "exp": 2}, Reason.VERIFY_EXPIRED),
        ({"iat": 2**40, "exp": 2**40 + 60}, Reason.VERIFY_NOT_YET_VALID),
    ],
)
async def test_a_signature_over_anything_else_activates_nothing(
    bench: Bench, keen: Person, kit: Person, changes: dict[str, Any], reason: Reason
) -> None:
    made = await signed_proposal(bench, keen)
    act = changes.pop("act", "activate")
    kind, subject = changes.pop("of_kind", Kind.POLICY_ACTIVATE), changes.pop("about", "a" * 64)
    signed = kit.act(act, kind, subject, DOCUMENT, **{"id": made["id"], **changes})
    activation = bench.proposals.activate(made["id"], kit.principal, document_sha256=SHA256, said=Said(signed))
    assert await refusal(activation) is reason


async def test_somebody_elses_key_and_another_class_of_message_sign_nothing(
    bench: Bench, keen: Person, kit: Person
) -> None:
    made = await signed_proposal(bench, keen)
    good = {"id": made["id"], "by": "kit"}
    stolen = keen.act("activate", Kind.POLICY_ACTIVATE, "a" * 64, DOCUMENT, **good)
    assert (
        await refusal(bench.proposals.activate(made["id"], kit.principal, document_sha256=SHA256, said=Said(stolen)))
        is Reason.PROPOSAL_KEY
    )
    other = kit.sign({"v": 1}, typ="approval+jws")
    assert (
        await refusal(bench.proposals.activate(made["id"], kit.principal, document_sha256=SHA256, said=Said(other)))
        is Reason.VERIFY_TYPE
    )
    act = bytearray(kit.act("activate", Kind.POLICY_ACTIVATE, "a" * 64, DOCUMENT, **good))
    act[-10] = act[-10] ^ 1 if chr(act[-10] ^ 1).isalnum() else ord("A")
    tampered = bench.proposals.activate(made["id"], kit.principal, document_sha256=SHA256, said=Said(bytes(act)))
    assert await refusal(tampered) is Reason.VERIFY_SIGNATURE


async def test_a_signed_proposal_is_taken_once(bench: Bench, keen: Person) -> None:
    act = keen.act("propose", Kind.POLICY_ACTIVATE, "a" * 64, DOCUMENT)
    await bench.proposals.propose(keen.principal, Kind.POLICY_ACTIVATE, DOCUMENT, signed=act)
    again = bench.proposals.propose(keen.principal, Kind.POLICY_ACTIVATE, DOCUMENT, signed=act)
    assert await refusal(again) is Reason.REQUEST_CONFLICT


# --- whoever writes to the database and holds no key ------------------------------------------------------------------


def stored(bench: Bench) -> dict[str, Any]:
    with bench.engine.connect() as connection:
        return dict(connection.execute(select(proposals)).mappings().one())


def overwrite(bench: Bench, **values: Any) -> None:
    with bench.engine.begin() as connection:
        connection.execute(update(proposals).values(**values))


@pytest.mark.parametrize(
    "change",
    [
        {"status": "activated"},
        {"proposed_by": "oli"},
        {"document": '{"digest":"' + "b" * 64 + '"}'},
        {"subject": "b" * 64},
        {"kind": "policy.observe"},
        {"expires_at": 9e12},
        {"tenant": "acme"},
        {"mac": "0" * 64},
    ],
)
async def test_sql_changes_no_proposal(bench: Bench, ann: Person, oli: Person, change: dict[str, Any]) -> None:
    made = await bench.proposals.propose(ann.principal, Kind.POLICY_ACTIVATE, DOCUMENT)
    overwrite(bench, **change)
    activation = bench.proposals.activate(made["id"], oli.principal, document_sha256=SHA256)
    assert await refusal(activation) in {Reason.INTERNAL, Reason.REQUEST_NOT_FOUND}
    assert (await bench.proposals.list(oli.principal))["proposals"] == []


async def test_sql_makes_no_proposal(bench: Bench, ann: Person, oli: Person) -> None:
    made = await bench.proposals.propose(ann.principal, Kind.POLICY_ACTIVATE, DOCUMENT)
    with bench.engine.begin() as connection:
        connection.execute(insert(proposals).values({**stored(bench), "proposal_id": "f" * 32, "subject": "b" * 64}))
    assert [one["id"] for one in (await bench.proposals.list(oli.principal))["proposals"]] == [made["id"]]


async def test_a_row_put_back_from_before_its_end_is_in_force_no_more(bench: Bench, ann: Person, oli: Person) -> None:
    made = await bench.proposals.propose(ann.principal, Kind.POLICY_OBSERVE, OBSERVE)
    opened = stored(bench)
    await bench.proposals.activate(made["id"], oli.principal, document_sha256=sha256_canonical(OBSERVE))
    standing = stored(bench)
    await bench.proposals.withdraw(made["id"], oli.principal)
    for before in (standing, opened):
        with bench.engine.begin() as connection:
            connection.execute(proposal_acts.delete())
            connection.execute(update(proposals).values(**before))
        assert await bench.proposals.in_force(Kind.POLICY_OBSERVE) == []
        activation = bench.proposals.activate(made["id"], oli.principal, document_sha256=sha256_canonical(OBSERVE))
        assert await refusal(activation) is Reason.INTERNAL


# --- two gateways -----------------------------------------------------------------------------------------------------


async def test_two_gateways_on_postgresql_activate_once_between_them(tmp_path: Path, postgres_url: str) -> None:
    ann, oli, kim = Person("ann", Role.AUTHOR), Person("oli", Role.OPERATOR), Person("kim", Role.OPERATOR)
    benches = [await open_bench(tmp_path, postgres_url, gateway=f"gw-{name}") for name in "ab"]
    for bench in benches:
        bench.add(ann, oli, kim)
    for _ in range(10):
        made = await benches[0].proposals.propose(ann.principal, Kind.POLICY_ACTIVATE, DOCUMENT)
        answers = await asyncio.gather(
            benches[0].proposals.activate(made["id"], oli.principal, document_sha256=SHA256),
            benches[1].proposals.activate(made["id"], kim.principal, document_sha256=SHA256),
            benches[1].proposals.withdraw(made["id"], ann.principal),
            return_exceptions=True,
        )
        assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
        assert all(answer.reason is Reason.PROPOSAL_CLOSED for answer in answers if isinstance(answer, HandrailError))
    for bench in benches:
        await bench.close()


def test_every_kind_has_its_rule_and_every_act_its_entry() -> None:
    assert set(RULES) == set(Kind)
    assert all(rule.entry(act) for rule in RULES.values() for act in Act)
