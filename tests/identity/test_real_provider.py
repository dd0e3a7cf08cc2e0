"""A real gateway and a real OpenID provider, each in its own process or server, over real HTTP."""

import json
from pathlib import Path

import httpx2
import pytest

from gateway.entries import EntryType
from tests.approvals.world import World
from tests.identity.issuer import settings
from tests.identity.real import new_key
from tests.identity.town import FIRST, both
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
    async with both(tmp_path, {"machine": {"groups": ["auditors"]}}, roles_claim="/groups", roles=roles) as (
        here,
        provider,
    ):
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


@pytest.mark.parametrize("roles", [{"agents": ["approver"]}, {"agents": ["security_admin"]}])
def test_no_claim_makes_an_approver_unless_the_operator_says_so_twice(roles: dict[str, list[str]]) -> None:
    with pytest.raises(ValueError, match="privileged_roles"):
        settings(roles_claim="/groups", roles=roles)
    assert settings(roles_claim="/groups", roles=roles, privileged_roles=next(iter(roles.values())))
