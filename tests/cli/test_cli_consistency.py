"""``handrail log consistency`` with checkpoints that are none, of other logs, and of a log's name before a restore."""

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse

from tests.cli.conftest import Run
from tests.client.receipt_forge import ORIGIN, Forge, vkey
from tests.client.stand_in import StandIn, problem

FORMER = "log.example/before"
CONSISTENCY = ("log", "consistency", "kept.txt", "--trust", "trust.json")


def keep(forge: Forge, name: str = FORMER) -> None:
    forge.checkpoint_origin, forge.checkpoint_signer = name, (name, forge.log_key)
    Path("kept.txt").write_text(forge.checkpoint())


def trusting(forge: Forge, *former: str) -> None:
    document = forge.trust()
    document["log"] += [vkey(name, forge.log_key) for name in former]
    Path("trust.json").write_text(json.dumps(document))


def restored(gateway: StandIn, size: int, known: int, **facts: Any) -> None:
    """The gateway shows the entry by which the log got its name."""
    page = gateway.forge.page()
    entry = {**gateway.forge.entry, "type": "BAKRST", "facts": {"origin": FORMER, "size": size, "known_size": known}}
    entry["facts"] |= facts
    page["entries"] = [{"index": size, "code": "BAKRST", "label": "backup restored", "entry": entry}]
    gateway.next("GET", "/v1/audit/entries", lambda _: JSONResponse(page))


def test_a_checkpoint_of_the_name_before_a_restore_holds_where_nothing_of_it_was_lost(
    run: Run, gateway: StandIn
) -> None:
    trusting(gateway.forge, FORMER)
    keep(Forge())
    done = run(*CONSISTENCY)
    assert done.exit_code == 0, done.output
    assert f"was called {FORMER} before" in done.output
    document = json.loads(run(*CONSISTENCY, "--json").stdout)
    assert (document["kept_origin"], document["origin"]) == (FORMER, ORIGIN)


def test_what_a_restore_lost_is_named_with_the_entry_that_says_so(run: Run, gateway: StandIn) -> None:
    trusting(gateway.forge, FORMER)
    keep(Forge(size=9))
    restored(gateway, 5, 9)
    done = run(*CONSISTENCY, "--json")
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    assert document["restored"] == {"index": 5, "size": 5, "known_size": 9}
    assert FORMER in document["reason"]
    assert "entry 5 says that the backup had 5 entries, of 9 that are known" in document["reason"]
    assert "Entries 5 to 8, which the kept checkpoint covers, are lost" in document["reason"]
    assert gateway.seen[-1][1] == "/v1/audit/entries?type=BAKRST"


def test_a_restore_does_not_excuse_a_change_of_what_the_backup_had(run: Run, gateway: StandIn) -> None:
    trusting(gateway.forge, FORMER)
    other = Forge()
    other.entry["hand"] = "mail"
    keep(other)
    restored(gateway, 7, 7)
    done = run(*CONSISTENCY)
    assert done.exit_code == 1
    assert "it was changed" in done.output


@pytest.mark.parametrize("page", [None, {"entries": [{"index": 5, "entry": {}}]}, {"entries": []}])
def test_who_may_not_read_the_entry_is_told_of_the_restore_all_the_same(run: Run, gateway: StandIn, page: Any) -> None:
    trusting(gateway.forge, FORMER)
    keep(Forge(size=9))
    answer = problem("auth.forbidden", 403) if page is None else JSONResponse(page)
    gateway.next("GET", "/v1/audit/entries", lambda _: answer)
    done = run(*CONSISTENCY)
    assert done.exit_code == 1
    assert f"was called {FORMER} before" in done.output
    assert "audit query --type BAKRST" in done.output


def test_a_checkpoint_of_another_log_or_an_outdated_trust_document_is_told_as_such(run: Run, gateway: StandIn) -> None:
    trusting(gateway.forge)
    keep(Forge())
    done = run(*CONSISTENCY)
    assert (done.exit_code, f"of the log {FORMER}, which your trust document does not name" in done.output) == (1, True)
    keep(Forge(), ORIGIN)
    gateway.forge.checkpoint_origin = "log.example/after"
    gateway.forge.checkpoint_signer = ("log.example/after", gateway.forge.log_key)
    done = run(*CONSISTENCY)
    assert (done.exit_code, "get the new trust document" in done.output) == (1, True)


def test_a_former_name_that_another_key_signed_for_is_refused(run: Run, gateway: StandIn) -> None:
    trusting(gateway.forge, FORMER)
    forge = Forge()
    forge.log_key = forge.receipt_key
    keep(forge)
    done = run(*CONSISTENCY)
    assert (done.exit_code, "no known key" in done.output) == (1, True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello\n",
        '{"v": 1}',
        "log.example/x\nseven\nAAAA\n\n\u2014 log.example/x AAAAAAAA\n",
        "a\0b\n\n\u2014 x AAAA\n",
    ],
)
def test_a_file_that_is_no_checkpoint_is_told_as_such(run: Run, gateway: StandIn, text: str) -> None:
    trusting(gateway.forge)
    Path("kept.txt").write_text(text)
    done = run(*CONSISTENCY, "--json")
    assert done.exit_code == 2
    assert "kept.txt: not a checkpoint" in json.loads(done.stdout)["error"]["detail"]
    assert not gateway.seen, "nobody is asked"
