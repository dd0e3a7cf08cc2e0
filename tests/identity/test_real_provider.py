"""A real gateway and a real OpenID provider, each in its own process or server, over real HTTP."""

import json
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import select

from gateway.canonical import b64url_decode
from gateway.entries import EntryType
from gateway.model import Role
from gateway.store.directory import NewPrincipal
from gateway.store.tables import identity_links
from tests.approvals.world import World, person, world
from tests.identity.issuer import claims, settings, signed
from tests.identity.real import AUDIENCE, new_key, running
from tests.identity.town import CLAIMS, FIRST, both
from tests.ports import free_port
from tests.until import until

ROLES = {"agents": ["agent"], "auditors": ["auditor"], "approvers": ["approver"]}


async def me(here: World, token: str) -> httpx2.Response:
    return await here.http.get("/v1/me", headers={"authorization": f"Bearer {token}"})


def changes(here: World) -> list[str]:
    return [entry["facts"]["change"] for entry in here.entries(EntryType.PRINCIPAL_CHANGED)]


async def test_client_credentials_make_a_machine_a_principal_by_its_claims(tmp_path: Path) -> None:
    async with both(tmp_path, roles_claim="/groups", roles=ROLES, privileged_roles=["approver"]) as (here, provider):
        token = (await provider.machine())["access_token"]
        assert len(token) > 256
        first, again = (await me(here, token)).json(), (await me(here, token)).json()
        assert first == again
        assert first["roles"] == ["agent"]
        assert first["id"].startswith("company:")
        assert changes(here)[-1] == "provisioned"
        assert changes(here).count("provisioned") == 1
        bodies = json.dumps(here.entries(EntryType.PRINCIPAL_CHANGED))
        assert "machine" not in bodies
        assert provider.issuer not in bodies


async def test_a_person_who_logs_in_by_code_and_pkce_is_let_in_and_their_id_token_is_not(tmp_path: Path) -> None:
    async with both(tmp_path, roles_claim="/groups", roles=ROLES, privileged_roles=["approver"]) as (here, provider):
        tokens = await provider.person("ada")
        assert (await me(here, tokens["access_token"])).json()["roles"] == ["auditor"]
        refused = await me(here, tokens["id_token"])
        assert (refused.status_code, refused.json()["code"]) == (401, "auth.invalid")
        assert refused.headers["www-authenticate"] == 'Bearer realm="handrail", error="invalid_token"'


async def test_without_a_table_of_roles_only_a_linked_subject_is_let_in(tmp_path: Path) -> None:
    async with both(tmp_path) as (here, provider):
        token = (await provider.person("ada"))["access_token"]
        assert (await me(here, token)).json()["code"] == "auth.forbidden"
        body = {"issuer": "company", "subject": "ada"}
        path = "/v1/principals/dee/links"
        linked = await here.http.post(path, headers=here.bearer("root"), json=body)
        assert linked.status_code == 201, linked.text
        assert linked.json()["source"] == provider.issuer
        found = (await me(here, token)).json()
        assert (found["id"], found["roles"]) == ("dee", ["auditor"])
        taken = await here.http.post("/v1/principals/bob/links", headers=here.bearer("root"), json=body)
        assert (taken.status_code, taken.json()["problem"]) == (409, "link.taken")
        unlinked = await here.http.delete(f"{path}/{linked.json()['id']}", headers=here.bearer("root"))
        assert unlinked.json()["revoked_at"]
        assert (await me(here, token)).json()["code"] == "auth.invalid"
        again = await here.http.post(path, headers=here.bearer("root"), json=body)
        assert again.json()["problem"] == "link.taken"


async def test_a_revoked_principal_is_revoked_whatever_token_comes(tmp_path: Path) -> None:
    async with both(tmp_path, roles_claim="/groups", roles=ROLES, privileged_roles=["approver"]) as (here, provider):
        token = (await provider.machine())["access_token"]
        name = (await me(here, token)).json()["id"]
        gone = await here.http.delete(f"/v1/principals/{name}", headers=here.bearer("root"))
        assert gone.status_code == 200, gone.text
        for refused in (token, (await provider.machine())["access_token"]):
            assert (await me(here, refused)).json()["code"] == "auth.invalid"
        assert changes(here).count("provisioned") == 1


async def test_the_issuers_keys_rotate(tmp_path: Path) -> None:
    identity = {"roles_claim": "/groups", "roles": ROLES, "privileged_roles": ["approver"]}
    async with both(tmp_path, **identity) as (here, provider):
        before = (await provider.machine())["access_token"]
        assert (await me(here, before)).status_code == 200
        await provider.rotate(new_key("second"), FIRST)
        after = (await provider.machine())["access_token"]

        async def known() -> bool:
            return (await me(here, after)).status_code == 200

        # An unknown key has the set fetched again at most once in ten seconds, and it was fetched a moment ago.
        await until(known, seconds=30)
        assert (await me(here, before)).status_code == 200
        assert (await here.http.get("/metrics", headers=here.bearer("dee"))).text.count(
            'handrail_identity_fetches_total{issuer="company",outcome="good"} 2.0'
        ) == 1


async def test_a_group_that_is_taken_away_is_gone_with_the_next_token(tmp_path: Path) -> None:
    roles = {"auditors": ["auditor"], "operators": ["operator"]}
    table = {"roles_claim": "/groups", "roles": roles, "privileged_roles": ["operator"]}
    async with both(tmp_path, {"machine": {"groups": ["auditors"]}}, **table) as (here, provider):
        narrow = (await provider.machine())["access_token"]
        assert (await me(here, narrow)).json()["roles"] == ["auditor"]
        await provider.claim(machine={"groups": ["auditors", "operators"]})
        wide = (await provider.machine())["access_token"]
        assert (await me(here, wide)).json()["roles"] == ["auditor", "operator"]
        assert (await me(here, narrow)).json()["roles"] == ["auditor"]
        assert (await me(here, wide)).json()["roles"] == ["auditor", "operator"]
        assert changes(here)[-2:] == ["provisioned", "roles_widened"]
        await provider.claim(machine={"groups": []})
        assert (await me(here, (await provider.machine())["access_token"])).json()["code"] == "auth.forbidden"


async def test_one_subject_is_never_agent_by_one_token_and_approver_by_another(tmp_path: Path) -> None:
    async with both(tmp_path, roles_claim="/groups", roles=ROLES, privileged_roles=["approver"]) as (here, provider):
        assert (await me(here, (await provider.machine())["access_token"])).json()["roles"] == ["agent"]
        for groups in (["approvers"], ["agents", "approvers"]):
            await provider.claim(machine={"groups": groups})
            assert (await me(here, (await provider.machine())["access_token"])).json()["code"] == "auth.forbidden"


async def test_a_token_is_a_credential_of_the_api_and_opens_no_page(tmp_path: Path) -> None:
    async with both(tmp_path, roles_claim="/groups", roles=ROLES, privileged_roles=["approver"]) as (here, provider):
        token = (await provider.person("ada"))["access_token"]
        answer = await here.http.get("/approvals", headers={"authorization": f"Bearer {token}"})
        assert answer.is_redirect
        assert answer.headers["location"].startswith("/login")
        # Pasted into the form it is no API key, whose session it would be.
        form = {"api_key": token, "next": "/approvals"}
        pasted = await here.http.post(
            "/login", data=form, headers={"origin": here.url, "sec-fetch-site": "same-origin"}
        )
        assert (pasted.status_code, "set-cookie" in pasted.headers) == (401, False)
        assert not here.entries(EntryType.SESSION_OPENED)


async def test_an_erasure_forgets_who_a_person_is_at_the_issuer(tmp_path: Path) -> None:
    async with both(tmp_path, {"app": {"groups": ["auditors"]}}, roles_claim="/groups", roles=ROLES,
                    privileged_roles=["approver"]) as (here, provider):  # fmt: skip
        subject = "ada-lovelace-1815"
        tokens = await provider.person(subject)
        name = (await me(here, tokens["access_token"])).json()["id"]
        root = await person(here, "root")
        await here.gateway.directory.add_principal(root, NewPrincipal("officer", ["privacy_officer"]))
        key = (await here.gateway.directory.issue_api_key(root, "officer"))["token"]
        officer = {"authorization": f"Bearer {key}"}
        shown = await here.http.post("/v1/privacy/access", headers=officer, json={"person": name})
        assert subject in shown.text, "what is held of a person says who they are at the issuer"
        asked = await here.http.post("/v1/privacy/erasures", headers=officer, json={"person": name})
        assert asked.status_code in {200, 201, 202}, asked.text

        async def erased() -> bool:
            return bool(here.entries(EntryType.ERASURE_DONE))

        await until(erased, seconds=30)
        with here.gateway.engine.connect() as connection:
            links = connection.execute(select(identity_links)).all()
        assert links == []
        again = (await me(here, tokens["access_token"])).json()
        assert again["id"] != name, "somebody new, as the page about identity says"


async def test_a_token_of_another_issuer_with_the_same_kid_and_subject_is_nobodys(tmp_path: Path) -> None:
    async with both(tmp_path) as (here, provider), running(new_key("first"), claims=CLAIMS) as other:
        good = (await provider.machine())["access_token"]
        assert (await me(here, good)).json()["code"] == "auth.forbidden"
        foreign = (await other.machine())["access_token"]
        assert (await me(here, foreign)).json()["code"] == "auth.invalid"
        # The same key id and claims, in the good issuer's name, by the other's key.
        key = new_key("first")
        body = {**json.loads(b64url_decode(good.split(".")[1]))}
        assert (await me(here, signed(body, key, kid="first"))).json()["code"] == "auth.invalid"


async def test_an_issuer_that_is_down_is_a_503_and_api_keys_go_on(tmp_path: Path) -> None:
    issuer = f"http://127.0.0.1:{free_port()}"
    company = {"issuer": issuer, "audiences": [AUDIENCE], "algorithm": "RS256", "private_network": True}
    async with world(tmp_path, identity={"company": company}) as here:
        token = signed(claims(iss=issuer))
        for _ in range(3):
            answer = await me(here, token)
            assert (answer.status_code, answer.json()["code"]) == (503, "auth.unavailable")
        assert (await here.http.get("/v1/me", headers=here.bearer("dee"))).status_code == 200
        metrics = (await here.http.get("/metrics", headers=here.bearer("dee"))).text
        assert 'handrail_identity_fetches_total{issuer="company",outcome="failed"} 1.0' in metrics


@pytest.mark.parametrize(("length", "code"), [(16_000, "auth.invalid"), (17_000, "auth.invalid")])
async def test_a_token_of_any_length_has_an_answer(tmp_path: Path, length: int, code: str) -> None:
    async with world(tmp_path) as here:
        assert (await me(here, "e" * length)).json()["code"] == code


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.AGENT, Role.AUDITOR}))
def test_no_claim_makes_somebody_who_decides_unless_the_configuration_says_so_twice(role: Role) -> None:
    """What takes several security admins elsewhere is not to be had by a line that nobody thought about."""
    table = {"roles_claim": "/groups", "roles": {"staff": [role]}, "hands": ["crm"]}
    with pytest.raises(ValueError, match="privileged_roles"):
        settings(**table)
    assert settings(**table, privileged_roles=[role])


def test_no_claim_makes_a_hand_of_every_hand() -> None:
    table = {"roles_claim": "/groups", "roles": {"workers": ["hand"]}, "privileged_roles": ["hand"]}
    with pytest.raises(ValueError, match="the role hand needs hands"):
        settings(**table)
