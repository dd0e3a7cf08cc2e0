"""Sums over sliding windows, and what they are made of. Pure."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.arguments import amount, by_role
from gateway.manifest import ActionManifest, ArgumentRole
from gateway.policy.accounts import (
    HISTORY_MAX,
    TAINTS_MAX,
    ContextAccount,
    PastStep,
    PrincipalAccount,
    Reservation,
    Sums,
    Window,
)
from gateway.ports import Topic, TopicKind

ONE = Sums(1, 1, 2.5)
PERSON = Topic(TopicKind.PRINCIPAL, "default", "somebody")
JOURNEY = Topic(TopicKind.CONTEXT, "default", "c")


def test_what_is_older_than_the_window_counts_no_more() -> None:
    window = Window(60, 1)
    window.add(1000.0, ONE)
    assert window.total(1059.0) == ONE
    assert window.total(1061.0) == Sums()


def test_tokens_outlast_the_steps_that_were_taken_back() -> None:
    context, person = ContextAccount("c", JOURNEY), PrincipalAccount(PERSON)
    for step in ("a", "b"):
        context.reserve(("p", step), ONE)
        person.reserve(("p", step), Reservation(ONE, 1000.0))
    context.use(70)
    person.use(70, 1000.0)
    for step in ("a", "b"):
        context.release(("p", step))
        person.release(("p", step))
    left = {"steps": 0, "changes": 0, "amount": 0, "tokens": 70}
    assert context.spent.document() == left
    assert person.spent(1030.0) == {"minute": left, "hour": left, "day": left}
    assert [window["tokens"] for window in person.spent(1100.0).values()] == [0, 70, 70]


@given(
    st.lists(st.floats(0, 500, allow_nan=False), min_size=1, max_size=60).map(sorted),
    st.floats(0, 600, allow_nan=False),
)
def test_a_window_counts_at_least_its_seconds_and_at_most_a_bucket_more(times: list[float], later: float) -> None:
    window = Window(60, 5)
    for at in times:
        window.add(at, Sums(1))
    now = times[-1] + later
    counted = window.total(now).steps
    assert sum(at > now - 60 for at in times) <= counted <= sum(at > now - 65 for at in times)


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=40))
def test_what_is_taken_back_was_never_there(steps: list[tuple[float, bool]]) -> None:
    window, plain = Window(600, 10), Window(600, 10)
    for at, kept in sorted(steps):
        window.add(at, ONE)
        if kept:
            plain.add(at, ONE)
        else:
            window.remove(at, ONE)
    assert window.total(100) == plain.total(100)


def test_a_clock_that_is_set_back_makes_no_room() -> None:
    window = Window(60, 1)
    window.add(1000.0, ONE)
    window.add(500.0, ONE)
    assert window.total(1030.0).steps == 2
    assert window.total(500.0).steps == 2


def test_a_sum_of_amounts_ends_where_numbers_end() -> None:
    huge = Sums(1, 0, 9e15)
    sums = Sums()
    sums.add(huge)
    sums.add(huge)
    assert sums.document() == {"steps": 2, "changes": 0, "amount": 2**53 - 1, "tokens": 0}


def test_amounts_that_are_all_taken_back_leave_no_dust() -> None:
    sums = Sums()
    for value in (0.1, 0.2, 0.3):
        sums.add(Sums(1, 0, value))
    for value in (0.3, 0.1, 0.2):
        sums.add(Sums(1, 0, value), -1)
    assert sums == Sums()


def test_a_reservation_is_counted_in_every_window_and_released_from_all() -> None:
    account = PrincipalAccount(PERSON)
    account.reserve(("p", "s"), Reservation(ONE, 1000.0))
    assert {name: sums["steps"] for name, sums in account.spent(1000.0).items()} == {"minute": 1, "hour": 1, "day": 1}
    account.release(("p", "s"))
    assert {name: sums["steps"] for name, sums in account.spent(1000.0).items()} == {"minute": 0, "hour": 0, "day": 0}


def test_what_was_dispatched_cannot_be_released() -> None:
    account = PrincipalAccount(PERSON)
    account.reserve(("p", "s"), Reservation(ONE, 1000.0))
    account.settle(("p", "s"))
    assert account.release(("p", "s")) is None
    assert account.spent(1000.0)["day"] == {"steps": 1, "changes": 1, "amount": 2.5, "tokens": 0}


def test_history_is_bounded_and_a_step_judged_anew_is_in_it_once() -> None:
    context = ContextAccount("c", JOURNEY)
    for number in range(HISTORY_MAX + 10):
        context.note(("p", str(number)), PastStep("h", str(number), "allow", "none", "deferred", number), final=False)
    assert len(context.history) == HISTORY_MAX
    context.note(("p", "70"), PastStep("h", "70", "deny", "none", "denied", 99.0), final=True)
    assert [past.effect for past in context.history if past.action == "70"] == ["deny"]
    assert len(context.history) == HISTORY_MAX


def test_a_context_that_read_one_thing_taints_the_others_and_not_itself() -> None:
    account = PrincipalAccount(PERSON)
    account.read(("web", "get"), "first", 1000.0)
    assert account.taint_beside("first", 1000.0) == []
    assert account.taint_beside("second", 1000.0) == [("web", "get")]
    account.read(("web", "get"), "second", 1001.0)
    account.read(("web", "get"), "second", 1002.0)
    assert account.taint_beside("first", 1003.0) == [("web", "get")]
    assert account.taint_beside("second", 1003.0) == [("web", "get")]
    assert account.taint_beside("second", 1000.0 + 3601) == []


def test_taints_are_bounded_and_the_newest_stay() -> None:
    account = PrincipalAccount(PERSON)
    for number in range(TAINTS_MAX + 5):
        account.read(("web", str(number)), "first", 1000.0 + number)
    found = account.taint_beside("second", 1100.0)
    assert len(found) == TAINTS_MAX
    assert ("web", "0") not in found
    assert ("web", str(TAINTS_MAX + 4)) in found


def action(**roles: str) -> ActionManifest:
    return ActionManifest("pay", "Pays.", {}, roles={f"/{name}": ArgumentRole(role) for name, role in roles.items()})


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"sum": 12}, 12.0),
        ({"sum": 1.5}, 1.5),
        ({"sum": "12.50"}, 12.5),
        ({"sum": " 7 "}, 7.0),
        ({"sum": -12}, 12.0),
        ({"sum": True}, 0.0),
        ({"sum": "much"}, 0.0),
        ({"sum": "1e9"}, 0.0),
        ({"sum": "٣"}, 0.0),
        ({"sum": None}, 0.0),
        ({"sum": [1, 2, {"x": 3}]}, 6.0),
        ({"other": 5}, 0.0),
    ],
)
def test_the_amount_of_a_call(args: dict[str, Any], expected: float) -> None:
    assert amount(args, action(sum="amount")) == expected


def test_an_amount_that_two_patterns_match_counts_once() -> None:
    twice = ActionManifest(
        "pay",
        "",
        {},
        roles={"/sums": ArgumentRole.AMOUNT, "/sums/*": ArgumentRole.AMOUNT, "/sums/0": ArgumentRole.AMOUNT},
    )
    assert amount({"sums": [2, 3]}, twice) == 5.0


def test_an_action_without_amounts_costs_no_look_at_its_args() -> None:
    assert amount({"sum": 5}, action(sum="account")) == 0.0


def test_arguments_by_role() -> None:
    mail = ActionManifest(
        "send",
        "",
        {},
        roles={"/to/*": ArgumentRole.RECIPIENT, "/odd~1name": ArgumentRole.URL, "/cc": ArgumentRole.RECIPIENT},
    )
    args = {"to": ["a", "b"], "odd/name": "u", "cc": {"x/y": ["c", None]}, "body": "text"}
    assert list(by_role(args, mail)) == [
        ("/to/0", ArgumentRole.RECIPIENT, "a"),
        ("/to/1", ArgumentRole.RECIPIENT, "b"),
        ("/odd~1name", ArgumentRole.URL, "u"),
        ("/cc/x~1y/0", ArgumentRole.RECIPIENT, "c"),
    ]
