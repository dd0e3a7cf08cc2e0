"""The pages over HTTP: who gets in, what a page says, and what other sites, cookies and hostile calls cannot do."""

import html
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.console.approvals import call_of
from gateway.console.html import element
from gateway.console.routes import table
from gateway.console.visits import Origin
from gateway.errors import Unavailable
from gateway.freeze import Cause, Scope
from gateway.freezing import FreezeOrder
from gateway.model import Principal, Role
from gateway.reasons import Reason
from gateway.store.directory import NewPrincipal
from gateway.web.authentication import PAGE_PATHS, is_page
from gateway.web.routes import TABLE
from gateway.web.throttle import Throttle
from tests.approvals.visitor import Visitor, hidden, visitor
from tests.approvals.world import World, bundle, world


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as running:
        yield running


# --- the tables ------------------------------------------------------------------------------------------------------


async def test_pages_are_those_in_the_one_list_and_none_of_them_is_a_route_of_the_api(here: World) -> None:
    paths = {page.path for page in table(here.gateway)}
    assert {path for path in paths if "{" not in path} == PAGE_PATHS
    assert all(is_page(path.replace("{", "").replace("}", "")) for path in paths)
    assert not any(is_page(endpoint.path) for endpoint in TABLE)


@pytest.mark.parametrize("role", list(Role))
async def test_a_page_serves_exactly_the_roles_that_have_its_permission(here: World, role: Role) -> None:
    root = await here.gateway.directory.principal("default", "root")
    hands = ["mail"] if role is Role.HAND else None
    made = await here.gateway.directory.add_principal(root, NewPrincipal("one", [str(role)], hands))
    here.keys["one"] = made["api_key"]["token"]
    one = Visitor(here)
    answer = await one.log_in("one")
    if role not in {Role.APPROVER, Role.AUDITOR, Role.AUTHOR, Role.OPERATOR, Role.SECURITY_ADMIN}:
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
        return
    assert answer.status_code == 303
    home = (await one.get("/")).headers["location"]
    assert home == ("/approvals" if role in {Role.APPROVER, Role.AUDITOR} else "/proposals")
    assert (await one.get("/proposals")).status_code == (403 if role is Role.APPROVER else 200)
    assert (await one.get("/security-keys")).status_code == 200
    approval_id = await here.ask()
    sees = 200 if role in {Role.APPROVER, Role.AUDITOR} else 403
    assert (await one.get("/approvals")).status_code == sees
    assert (await one.get(f"/approvals/{approval_id}")).status_code == sees
    fields = {"csrf_token": hidden((await one.get(home)).text)["csrf_token"]}
    refused = await one.post(f"/approvals/{approval_id}", {**fields, "answer": "refuse", "call": "0" * 64})
    assert refused.status_code == (409 if role is Role.APPROVER else 403)


# --- coming and going ------------------------------------------------------------------------------------------------


async def test_a_stranger_is_sent_to_the_login_and_back(here: World) -> None:
    leads = {
        "/": "/approvals",
        "/approvals": "/login?next=%2Fapprovals",
        "/approvals/abc": "/login?next=%2Fapprovals%2Fabc",
        "/approvals/%2e%2evil.example": "/login?next=%2Fapprovals",
    }
    for path, onward in leads.items():
        answer = await here.http.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, onward), path


async def test_a_login_is_on_record_leads_to_the_page_and_ends_with_the_logout(here: World) -> None:
    approval_id = await here.ask()
    one = Visitor(here)
    answer = await one.log_in("bob", f"/approvals/{approval_id}")
    assert answer.headers["location"] == f"/approvals/{approval_id}"
    assert re.fullmatch(
        r"handrail_session=[A-Za-z0-9_-]{43}; Path=/; Max-Age=3600; HttpOnly; SameSite=Strict",
        answer.headers["set-cookie"],
    )
    page = await one.get("/approvals")
    assert page.status_code == 200
    stolen = one.cookie
    left = await one.post("/logout", hidden(page.text))
    assert (left.status_code, left.headers["location"]) == (303, "/login")
    assert "Max-Age=0" in left.headers["set-cookie"]
    one.cookie = stolen
    assert (await one.get("/approvals")).status_code == 303, "the cookie is worth nothing after the logout"
    opened, closed = here.entries("SESOPN"), here.entries("SESCLO")
    assert (len(opened), len(closed)) == (1, 1)
    bob = await here.gateway.directory.principal("default", "bob")
    assert opened[0]["principal"] == closed[0]["principal"] == bob.pseudonym
    assert stolen.partition("=")[2] not in str(opened)


async def test_a_wrong_key_logs_nobody_in_and_is_on_record(here: World) -> None:
    for key in ("", "hr_nobody", "hr_0123456789abcdef_" + "A" * 43, "\u00e9\u00e9", here.keys["bob"][:-1]):
        answer = await Visitor(here).post("/login", {"api_key": key})
        assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
        assert 'role="alert"' in answer.text
        assert not key or key not in answer.text


async def test_nothing_that_an_agent_holds_logs_in(here: World) -> None:
    answer = await Visitor(here).log_in("bot")
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
    root = await here.gateway.directory.principal("default", "root")
    assert (await here.gateway.directory.add_principal(root, NewPrincipal("au", ["agent", "auditor"])))["api_key"]
    made = await here.gateway.directory.issue_api_key(root, "au")
    answer = await Visitor(here).post("/login", {"api_key": made["token"]})
    assert answer.status_code == 403, "also where the agent may look at approvals through the API"


async def test_a_login_leads_nowhere_but_to_pages_of_ours(here: World) -> None:
    away = (
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/v1/plans",
        "/approvals/../v1",
        "/approvals/a/b",
    )
    for onward in (*away, ""):
        answer = await Visitor(here).log_in("bob", onward)
        assert (answer.status_code, answer.headers["location"]) == (303, "/approvals")


async def test_a_login_takes_over_no_session_that_was_there_before(here: World) -> None:
    one = Visitor(here)
    one.cookie = "handrail_session=" + "A" * 43
    await one.log_in("bob")
    first = one.cookie
    assert first != "handrail_session=" + "A" * 43
    await one.log_in("cy")
    second = one.cookie
    one.cookie = first
    assert (await one.get("/approvals")).status_code == 303, "the session before is closed"
    one.cookie = second
    assert "cy" in (await one.get("/approvals")).text


async def test_guessing_is_throttled_by_source_and_right_keys_too(here: World) -> None:
    one = Visitor(here)
    codes = [(await one.post("/login", {"api_key": "hr_x"})).status_code for _ in range(20)]
    assert codes == [401] * 20
    answer = await one.log_in("bob")
    assert answer.status_code == 429
    assert "wait a minute" in answer.text


def test_a_flood_of_sources_is_not_remembered_for_ever() -> None:
    throttle = Throttle(2)
    for number in range(20_000):
        throttle.check(f"192.0.2.{number}")
    assert len(throttle._counts) <= 10_000
    throttle.check("192.0.2.19999")
    with pytest.raises(Unavailable) as refused:
        throttle.check("192.0.2.19999")
    assert refused.value.reason is Reason.LIMIT_LOGINS


async def test_a_session_ends_with_its_key_its_principal_and_its_time(here: World) -> None:
    one, two = await visitor(here), await visitor(here, "cy")
    root = await here.gateway.directory.principal("default", "root")
    await here.gateway.directory.revoke_principal(root, "bob")
    assert (await one.get("/approvals")).status_code == 303
    assert (await two.get("/approvals")).status_code == 200
    now = here.gateway.clock()
    here.gateway.sessions._clock = lambda: now + 3601
    assert (await two.get("/approvals")).status_code == 303
    await visitor(here, "dee")
    with here.gateway.engine.connect() as connection:
        count = connection.exec_driver_sql("SELECT count(*) FROM sessions").scalar_one()
    assert count == 1, "what is past its time went with the next login"


async def test_a_freeze_is_said_on_every_page_and_ends_the_session_of_whoever_is_frozen(here: World) -> None:
    bob = Visitor(here)
    await bob.log_in("bob")
    assert "Frozen:" not in (await bob.get("/approvals")).text
    freezing = here.gateway.freezing
    chief = Principal("chief", "default", "p-chief", frozenset({Role.SECURITY_ADMIN}))
    await freezing.set(chief, FreezeOrder(Scope.HAND, "mail", Cause.DRILL))
    assert "Frozen: hands." in (await bob.get("/approvals")).text
    await freezing.set(chief, FreezeOrder(Scope.PRINCIPAL, "bob", Cause.DRILL))
    assert (await bob.get("/approvals")).headers["location"].startswith("/login")
    again = await bob.log_in("bob")
    assert "two people have to lift that" in html.unescape(again.text)
    me = {"authorization": f"Bearer {here.keys['bob']}"}
    assert (await here.http.get("/v1/me", headers=me)).json()["id"] == "bob"
    refused = await here.http.get("/v1/approvals", headers=me)
    assert (refused.status_code, refused.json()["code"]) == (403, "freeze.active")
    ready = (await here.http.get("/readyz")).json()
    assert ready["notices"]["freeze"] == "freeze.active"


async def test_a_row_that_is_put_back_after_the_logout_logs_nobody_in(here: World) -> None:
    one = await visitor(here)
    page = await one.get("/approvals")
    with here.gateway.engine.connect() as connection:
        row = dict(connection.exec_driver_sql("SELECT * FROM sessions").mappings().one())
    cookie = one.cookie
    assert (await one.post("/logout", hidden(page.text))).status_code == 303
    with here.gateway.engine.connect() as connection:
        names = ", ".join(row)
        connection.exec_driver_sql(
            f"INSERT INTO sessions ({names}) VALUES ({', '.join('?' * len(row))})", tuple(row.values())
        )
        connection.commit()
    one.cookie = cookie
    assert (await one.get("/approvals")).status_code == 303


async def test_a_session_outlives_a_restart(tmp_path: Path) -> None:
    async with world(tmp_path) as before:
        one = await visitor(before)
    async with world(tmp_path) as after:
        one.here = after
        assert (await one.get("/approvals")).status_code == 200


async def test_a_row_that_somebody_wrote_logs_nobody_in(here: World) -> None:
    one = await visitor(here)
    with here.gateway.engine.connect() as connection:
        connection.exec_driver_sql("UPDATE sessions SET pseudonym = 'p-cy', expires_at = expires_at + 9999")
        connection.commit()
    assert (await one.get("/approvals")).status_code == 303


# --- other sites -----------------------------------------------------------------------------------------------------

FOREIGN = {
    "another site": {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
    "another port": {"origin": "http://localhost:1"},
    "another scheme": {"origin": "https://localhost"},
    "a sandboxed frame": {"origin": "null"},
    "no word from the browser": {"origin": "", "sec-fetch-site": ""},
    "a sibling site": {"sec-fetch-site": "same-site"},
    "a typed address": {"sec-fetch-site": "none"},
}


async def test_a_form_of_another_site_does_nothing_whatever_cookie_it_carries(here: World) -> None:
    approval_id = await here.ask()
    one = await visitor(here)
    fields = await one.form(approval_id)
    forms = {
        "/login": {"api_key": here.keys["cy"]},
        "/logout": {"csrf_token": fields["csrf_token"]},
        f"/approvals/{approval_id}": {**fields, "answer": "approve"},
    }
    for name, headers in FOREIGN.items():
        for path, form in forms.items():
            answer = await one.post(path, form, **headers)
            assert (answer.status_code, "set-cookie" in answer.headers) == (403, False), (name, path)
    assert (await here.approval(approval_id))["answers"] == []
    assert "bob" in (await one.get("/approvals")).text


async def test_the_cookie_alone_answers_nothing(here: World) -> None:
    approval_id = await here.ask()
    one = await visitor(here)
    fields = await one.form(approval_id)
    of_another_session = (await (await visitor(here, "cy")).form(approval_id))["csrf_token"]
    for token in ("", "0" * 64, None, of_another_session):
        form = {name: value for name, value in {**fields, "csrf_token": token}.items() if value is not None}
        answer = await one.post(f"/approvals/{approval_id}", {**form, "answer": "approve"})
        assert answer.status_code == 403, token
    assert (await here.approval(approval_id))["answers"] == []


async def test_a_name_that_an_attacker_points_here_gets_no_page(here: World) -> None:
    for host in ("evil.example", "localhost.evil.example:80", "127.0.0.1", "", "localhost:1", "a@localhost"):
        answer = await here.http.get("/login", headers={"host": host})
        assert answer.status_code == 403, host


async def test_a_cookie_opens_no_route_of_the_api_and_a_key_no_page(here: World) -> None:
    approval_id = await here.ask()
    one = await visitor(here)
    for path in ("/v1/me", "/v1/approvals", f"/v1/approvals/{approval_id}"):
        assert (await one.get(path)).status_code == 401
    assert (await here.http.get("/approvals", headers=here.bearer("bob"))).status_code == 303
    posted = await one.here.http.post(
        f"/v1/approvals/{approval_id}", json={"answer": "approve"}, headers={"cookie": one.cookie}
    )
    assert posted.status_code == 401


async def test_two_cookies_of_one_name_are_none(here: World) -> None:
    one = await visitor(here)
    one.cookie = f"{one.cookie}; handrail_session={'A' * 43}"
    assert (await one.get("/approvals")).status_code == 303


async def test_every_page_forbids_what_it_does_not_need(here: World) -> None:
    approval_id = await here.ask()
    one = await visitor(here)
    answers = [await one.get(path) for path in ("/login", "/approvals", f"/approvals/{approval_id}", "/approvals/none")]
    answers.append(await Visitor(here).get("/login"))
    answers.append(await Visitor(here).get("/login", host="evil.example"))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        for part in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"):
            assert part in policy
        assert "unsafe" not in policy
        assert "http:" not in policy
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers.get_list("content-security-policy") == [policy]
        assert answer.headers["cache-control"] == "no-store"
    assert "no-store" not in (await here.http.get("/assets/console.css")).headers["cache-control"]


def test_pages_need_tls_beyond_this_machine() -> None:
    assert not Origin("http://gateway.example").safe
    for url in ("https://gateway.example", "http://localhost:8080", "http://127.0.0.1:8080", None):
        assert Origin(url).safe
    assert Origin("https://gateway.example").cookie_name == "__Host-handrail_session"


async def test_over_a_plain_public_url_no_page_is_served(tmp_path: Path) -> None:
    async with world(tmp_path, server={"public_url": "http://gateway.example"}) as here:
        answer = await here.http.get("/login", headers={"host": "gateway.example"})
        assert answer.status_code == 403
        assert str(Reason.REQUEST_ORIGIN) in answer.text


# --- one request -----------------------------------------------------------------------------------------------------


async def test_the_page_shows_the_exact_call_its_reasons_and_who_asked(here: World) -> None:
    approval_id = await here.ask(
        {"to": "ada@example.com", "body": "See you <b>soon</b>", "links": ["https://a.example"]}
    )
    page = (await (await visitor(here)).get(f"/approvals/{approval_id}")).text
    shown = await here.approval(approval_id)
    for word in (
        "mail send", "ada@example.com", "See you &lt;b&gt;soon&lt;/b&gt;", "A person must look at this.", "test.ask",
        "bot", "external", "Sends one message.", "a.example", "0 of 1", "recipient",
        *shown["binding"].values(),
    ):  # fmt: skip
        assert word in page, word


HOSTILE = {
    "script": "<script>alert(1)</script>",
    "attribute": '"><img src=x onerror=alert(1)>',
    "closing": "</pre></main><form action=https://evil.example><button name=answer value=approve>Refuse</button>",
    "entity": "&lt;script&gt;",
    "ansi": "\x1b[2J",
    "bidi": "\u202egpj.exe",
    "zero width": "a\u200bb",
    "template": "{{7*7}}${7*7}",
    "css": "</style><style>.refuse{display:none}</style>",
}


async def test_hostile_values_and_names_are_letters_and_nothing_more(here: World) -> None:
    one = await visitor(here)
    clean = (await one.get(f"/approvals/{await here.ask({'to': 'x', 'y': {'z': ['x']}})}")).text
    for name, value in HOSTILE.items():
        approval_id = await here.ask({"to": value, value: {value: [value]}})
        page = (await one.get(f"/approvals/{approval_id}")).text
        for tag in ("script", "img", "form", "button", "style", "main", "pre"):
            assert page.count(f"<{tag}") == clean.count(f"<{tag}"), (name, tag)
        for char in ("\x1b", "\u202e", "\u200b"):
            assert char not in page, name


async def test_a_long_value_is_cut_with_a_link_to_the_whole(here: World) -> None:
    approval_id = await here.ask({"to": "x", "body": "b" * 9000 + "THE END"})
    one = await visitor(here)
    page = (await one.get(f"/approvals/{approval_id}")).text
    assert "7,007 of 9,007 characters are not shown" in page
    assert "THE END" in page
    assert page.count("b" * 1700) == 0
    assert "b" * 9000 in (await one.get(f"/approvals/{approval_id}?whole=1")).text


async def test_an_approval_on_the_page_runs_the_call_and_says_whose_word_it_was(here: World) -> None:
    approval_id = await here.ask({"to": "ada@example.com"})
    one = await visitor(here)
    answer = await one.answer(approval_id, "approve")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/approvals/{approval_id}")
    shown = await here.approval(approval_id)
    assert shown["status"] == "granted"
    assert [(one["approver"], one["answer"], one["attested_by"]) for one in shown["answers"]] == [
        ("bob", "approve", "gateway")
    ]
    page = (await one.get(f"/approvals/{approval_id}")).text
    assert "Approved." in page
    assert 'name="answer"' not in page


async def test_a_refusal_runs_nothing(here: World) -> None:
    approval_id = await here.ask()
    await (await visitor(here)).answer(approval_id, "refuse")
    assert (await here.approval(approval_id))["status"] == "refused"
    assert here.sent == []


async def test_a_form_is_good_for_the_call_that_its_page_showed(here: World) -> None:
    first, second = await here.ask({"to": "ada"}), await here.ask({"to": "adb"})
    one = await visitor(here)
    fields = await one.form(first)
    answer = await one.post(f"/approvals/{second}", {**fields, "answer": "approve"})
    assert answer.status_code == 409
    assert "for another call" in answer.text
    assert (await here.approval(second))["answers"] == []


async def test_a_request_that_the_policy_asks_anew_says_so_and_takes_no_form_from_before(tmp_path: Path) -> None:
    async with world(tmp_path, duties={"quorum": 2}) as here:
        approval_id = await here.ask()
        bob, cy = await visitor(here), await visitor(here, "cy")
        await bob.answer(approval_id, "approve")
        before = await cy.form(approval_id)
        (tmp_path / "policy" / "handrail" / "note.rego").write_text("package handrail.note\n")
        await here.gateway.policy.reload()
        for changed in (True, False):  # and changed back: the forms then differ in the number of askings alone
            await here.gateway.approval_upkeep.redecide()
            await here.gateway.pipeline.finish()
            if changed:
                (tmp_path / "policy" / "handrail" / "note.rego").unlink()
                await here.gateway.policy.reload()
        page = (await cy.get(f"/approvals/{approval_id}")).text
        assert "asks the same again. 1 answer given before is void." in page
        assert "Answers so far: 0 of 2" in page
        assert "Void, because the policy changed since" in page
        refused = await cy.post(f"/approvals/{approval_id}", {**before, "answer": "approve"})
        assert refused.status_code == 409
        plain = {"url": f"/v1/approvals/{approval_id}", "headers": here.bearer("cy")}
        for body in ({"answer": "approve"}, {"answer": "approve", "asked": 2}):
            assert (await here.http.post(**plain, json=body)).json()["code"] == "approval.mismatch"
        assert (await here.http.post(**plain, json={"answer": "approve", "asked": 3})).status_code == 200
        assert (await bob.answer(approval_id, "approve")).status_code == 303
        shown = await here.approval(approval_id)
        assert (shown["status"], shown["asked"], shown["binding"]["asked"]) == ("granted", 3, 3)
        assert [given["approver"] for given in shown["void_answers"]] == ["bob"]
        await here.gateway.pipeline.finish()
        assert len(here.sent) == 1


async def test_a_form_that_is_not_ours_answers_nothing(here: World) -> None:
    approval_id = await here.ask()
    one = await visitor(here)
    for form in ({"answer": "approve", "answer2": "x"}, {"answer": "yes"}, {"answer": ""}, {}):
        answer = await one.post(f"/approvals/{approval_id}", {**(await one.form(approval_id)), **form})
        assert answer.status_code == 400, form
    assert (await here.approval(approval_id))["answers"] == []


async def test_a_repeated_field_and_another_media_type_are_refused(here: World) -> None:
    approval_id = await here.ask()
    one = await visitor(here)
    fields = await one.form(approval_id)
    twice = "&".join(f"{name}={value}" for name, value in fields.items()) + "&answer=refuse&answer=approve"
    assert (await one.post(f"/approvals/{approval_id}", twice.encode())).status_code == 400
    refused = await one.post(f"/approvals/{approval_id}", b"{}", content_type="application/json")
    assert refused.status_code == 415


async def test_who_may_not_answer_is_told_why_and_gets_no_form(tmp_path: Path) -> None:
    async with world(tmp_path, duties={"quorum": 2}) as here:
        approval_id = await here.ask()
        bob, dee = await visitor(here), await visitor(here, "dee")
        await bob.answer(approval_id, "approve")
        again = (await bob.get(f"/approvals/{approval_id}")).text
        assert "You have answered: you approved. Approvals so far: 1 of 2." in again
        assert 'value="approve"' not in again
        looks = (await dee.get(f"/approvals/{approval_id}")).text
        assert "answer none" in looks
        assert 'value="approve"' not in looks
        await (await visitor(here, "cy")).answer(approval_id, "approve")
        assert (await here.approval(approval_id))["status"] == "granted"


async def test_policy_may_insist_on_a_key_of_the_persons_own(tmp_path: Path) -> None:
    async with world(tmp_path, duties={"enrolled_key": True}) as here:
        approval_id = await here.ask()
        one = await visitor(here)
        assert "your own enrolled key signs" in (await one.get(f"/approvals/{approval_id}")).text
        fields = hidden((await one.get("/approvals")).text)
        call = call_of(await here.approval(approval_id))
        answer = await one.post(f"/approvals/{approval_id}", {**fields, "call": call, "answer": "approve"})
        assert answer.status_code == 403
        assert (await here.approval(approval_id))["answers"] == []


async def test_an_answer_to_what_was_answered_meanwhile_says_so(here: World) -> None:
    approval_id = await here.ask()
    bob, cy = await visitor(here), await visitor(here, "cy")
    fields = await cy.form(approval_id)
    await bob.answer(approval_id, "refuse")
    late = await cy.post(f"/approvals/{approval_id}", {**fields, "answer": "approve"})
    assert late.status_code == 409
    assert "Your answer was not taken. The request ended while the page was open" in late.text
    assert here.sent == []


@pytest.mark.parametrize(("given", "word"), [("approve", "Approved."), ("refuse", "Refused.")])
async def test_a_request_that_was_answered_asks_nothing_any_more(here: World, given: str, word: str) -> None:
    approval_id = await here.ask()
    one = await visitor(here)
    await one.answer(approval_id, given)
    page = (await one.get(f"/approvals/{approval_id}")).text
    assert word in page
    assert "there is nothing left to answer" in page
    for asked in ("May this run?", "Why you are asked", "It expires"):
        assert asked not in page


async def test_a_voided_request_says_so_everywhere_and_names_the_one_that_asks_now(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        first = await here.ask()
        one = await visitor(here)
        before = await one.form(first)
        bundle(tmp_path / "policy", "Somebody must look twice.")
        await here.gateway.policy.reload()
        stale = await one.post(f"/approvals/{first}", {**before, "answer": "approve"})
        assert stale.status_code == 409
        assert "The policy or the tool changed while the page was open" in stale.text
        await here.gateway.approval_upkeep.redecide()
        await here.gateway.pipeline.finish()
        second = (await here.http.get("/v1/approvals?status=open", headers=here.bearer("cy"))).json()["approvals"][0][
            "id"
        ]
        shown = await here.approval(first)
        assert (shown["status"], shown["successor"]) == ("voided", second)
        assert (await here.approval(second))["successor"] is None
        everything = (await here.http.get("/v1/approvals", headers=here.bearer("cy"))).json()["approvals"]
        assert {one["id"]: one["successor"] for one in everything} == {first: second, second: None}
        page = (await one.get(f"/approvals/{first}")).text
        assert "May this run?" not in page
        assert f'href="/approvals/{second}"' in page
        late = await one.post(f"/approvals/{first}", {**before, "answer": "approve"})
        assert "there is nothing left to answer here" in late.text
        assert f'href="/approvals/{second}"' in late.text
        refused = await here.http.post(f"/v1/approvals/{first}", json={"answer": "approve"}, headers=here.bearer("bob"))
        document = refused.json()
        assert (document["code"], document["state"], document["successor"]) == ("approval.voided", "voided", second)
        assert here.sent == []


async def test_who_answered_first_of_two_is_told_so_by_the_api(tmp_path: Path) -> None:
    async with world(tmp_path, duties={"quorum": 2}) as here:
        path = f"/v1/approvals/{await here.ask()}"
        given = await here.http.post(path, json={"answer": "approve"}, headers=here.bearer("bob"))
        assert (given.json()["status"], given.json()["your_answer"]) == ("open", "approve")
        assert (await here.http.get(path, headers=here.bearer("cy"))).json()["your_answer"] is None
        again = (await here.http.post(path, json={"answer": "approve"}, headers=here.bearer("bob"))).json()
        assert (again["code"], again["approvals"], again["quorum"]) == ("approval.closed", 1, 2)


async def test_what_is_not_there_is_a_page_that_says_so(here: World) -> None:
    one = await visitor(here)
    for path in ("/" + "0" * 32, "/%00", "/a%20b", "?after=x", "?x=1"):
        answer = await one.get(f"/approvals{path}")
        assert answer.status_code in {400, 404}, path
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "<h1>" in answer.text


async def test_a_list_shows_what_waits_and_pages_through_it(here: World) -> None:
    one = await visitor(here)
    assert "Nothing waits" in (await one.get("/approvals")).text
    waiting = [*(await here.ask_all([{"args": {"to": f"n{n}"}} for n in range(23)]))]
    first = (await one.get("/approvals")).text
    [older] = re.findall(r'href="(/approvals\?after=[^"]+)"', first)
    second = (await one.get(older)).text
    listed = [one for one in waiting if f"/approvals/{one}" in first or f'/approvals/{one}"' in second]
    assert len(listed) == 23
    assert "Older requests" not in second


def test_an_element_cannot_be_given_a_script_or_a_style() -> None:
    for bad in ({"onclick": "x"}, {"style": "x"}, {'a"b': "x"}, {"A": "x"}):
        with pytest.raises(ValueError, match=r".*"):
            element("p", "x", attributes=bad)
    for bad_name in ("p q", "P", "", "p>"):
        with pytest.raises(ValueError, match=r".*"):
            element(bad_name)
    assert element("p", "<", ["a", None, element("br")], title='"', hidden=True, lang=None).text == (
        '<p title="&quot;" hidden>&lt;a<br></p>'
    )
