"""Every route that an auditor may use, against auditors of every scope, on a real gateway with two hands and two
tenants: nobody hears of a hand or a tenant beyond their own, and what cannot be parted is refused as that.
"""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from audit.verifier.check import Criteria, verify
from audit.verifier.report import Exit
from gateway.app import build
from gateway.canonical import b64url_encode, canonical
from gateway.entries import COMMON
from gateway.model import Role
from gateway.permissions import ROLE_PERMISSIONS
from gateway.settings import Settings
from gateway.store.directory import NewPrincipal
from gateway.web.asgi import create_app
from gateway.web.routes import TABLE
from tests.web.conftest import serving

OURS, THEIRS = "skyline", "harbour"
AUDITORS = ("all", "bound", "nothing", "foreign", "foreign-bound")
"""Of every hand; of OURS; of no hand at all; of another tenant; of another tenant and OURS."""


@dataclass
class House:
    http: httpx2.AsyncClient
    keys: dict[str, dict[str, str]]
    plans: dict[str, str] = field(default_factory=dict)
    """What the plan uses -> its id."""
    receipts: dict[str, str] = field(default_factory=dict)
    """Plan and step -> receipt id."""

    async def get(self, path: str, who: str) -> httpx2.Response:
        return await self.http.get(path, headers=self.keys[who])

    async def json(self, path: str, who: str) -> Any:
        answer = await self.get(path, who)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def lines(self, path: str, who: str) -> list[Any]:
        answer = await self.get(path, who)
        assert answer.status_code == 200, answer.text
        return [orjson.loads(line) for line in answer.content.splitlines()]


async def look(request: Request) -> JSONResponse:
    return JSONResponse({"secret": f"answer to {request.query_params['word']}"})


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    schema = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"],
              "additionalProperties": False}  # fmt: skip
    action = {"method": "GET", "path": "/look", "args_schema": schema, "side_effects": "none", "idempotent": True}
    async with serving(Starlette(routes=[Route("/look", look)]), Settings(server={"port": 0})) as below:
        hand = {"adapter": "http", "base_url": f"http://127.0.0.1:{below}", "private_network": True,
                "actions": {"look": {**action, "description": "Looks."}}}  # fmt: skip
        gateway = build(Settings(home=tmp_path, server={"port": 0}, hands={OURS: hand, THEIRS: hand}))
        async with (
            serving(create_app(gateway), gateway.settings) as port,
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http,
        ):
            assert (await http.get("/readyz")).status_code == 200
            people = await gateway.directory.bootstrap(
                [
                    NewPrincipal("admin", ["security_admin"]), NewPrincipal("op", ["operator"]),
                    NewPrincipal("bot", ["agent"]), NewPrincipal("all", ["auditor"]),
                    NewPrincipal("bound", ["auditor"], [OURS]), NewPrincipal("nothing", ["auditor"], []),
                    NewPrincipal("harbour-master", ["operator"], [THEIRS]),
                    NewPrincipal("harbour-bot", ["agent"], [THEIRS]),
                ]
            )  # fmt: skip
            people += await gateway.directory.bootstrap(
                [NewPrincipal("foreign", ["auditor"]), NewPrincipal("foreign-bound", ["auditor"], [OURS])], "acme"
            )
            keys = {one["principal"]["id"]: {"authorization": f"Bearer {one['api_key']['token']}"} for one in people}
            made = House(http, keys)
            await gateway.hands.settled()
            for name in (OURS, THEIRS):
                offered = (await made.json(f"/v1/hands/{name}", "op"))["offered_digest"]
                pinned = await http.post(f"/v1/hands/{name}/pin", json={"digest": offered}, headers=keys["op"])
                assert pinned.status_code == 200, pinned.text
            await fill(made)
            frozen = await http.post("/v1/freezes", json={"scope": "hand", "subject": THEIRS}, headers=keys["op"])
            assert frozen.status_code == 201, frozen.text
            yield made


async def fill(house: House) -> None:
    """One plan on each hand, and one on both."""
    private = Ed25519PrivateKey.generate()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(private.public_key().public_bytes_raw())}
    issuer = {"id": "brain", "jwk": jwk, "speaks_for": ["bot", "harbour-bot"]}
    brain = await house.http.post("/v1/issuers", json=issuer, headers=house.keys["admin"])
    kid = brain.json()["keys"][0]["kid"]
    for name, hands in (("ours", [OURS]), ("theirs", [THEIRS]), ("both", [OURS, THEIRS])):
        now = int(time.time())
        head = b64url_encode(orjson.dumps({"alg": "Ed25519", "kid": kid, "typ": "plan+jws"}))
        actions = [
            {"id": hand, "hand": hand, "action": "look", "args": {"word": f"{hand}-word"}, "depends_on": []}
            for hand in hands
        ]
        payload = {"v": 1, "iss": "brain", "sub": "bot", "aud": "handrail.local/log", "tenant": "default",
                   "context_id": f"context-{name}", "jti": name, "nonce": "n", "iat": now, "exp": now + 60,
                   "actions": actions}  # fmt: skip
        text = f"{head}.{b64url_encode(orjson.dumps(payload))}"
        jws = f"{text}.{b64url_encode(private.sign(text.encode()))}"
        headers = house.keys["bot"] | {"content-type": "application/jose"}
        answer = await house.http.post("/v1/plans?wait=20", content=jws, headers=headers)
        assert answer.status_code == 200, answer.text
        house.plans[name] = answer.json()["plan_id"]
        for step in answer.json()["steps"]:
            assert step["status"] == "succeeded", step
            house.receipts[f"{name}/{step['id']}"] = step["receipt_id"]


MAY: dict[str, str] = {
    "/v1/plans/{plan_id}": "parted",
    "/v1/plans/{plan_id}/events": "parted",
    "/v1/plans/{plan_id}/steps/{step_id}/why": "parted",
    "/v1/receipts/{receipt_id}": "parted",
    "/v1/receipts/{receipt_id}/proof": "parted",
    "/v1/approvals": "parted",
    "/v1/approvals/{approval_id}": "absent",
    "/v1/approvals/{approval_id}/answers": "absent",
    "/v1/audit/entries": "parted",
    "/v1/audit/exports": "parted",
    "/v1/controls/access-review": "parted",
    "/v1/controls/processing-record": "parted",
    "/v1/controls/report": "whole tenant",
    "/log/tile/entries/{bundle_path}": "whole log",
    "/metrics": "whole log",
    "/v1/policy/evaluations": "parted",
    "/v1/policy/rollout": "parted",
    "/v1/freezes": "parted",
    "/v1/dead-letters": "parted",
    "/v1/runs": "parted",
    "/v1/runs/{run_id}": "absent",
    "/v1/runs/{run_id}/events": "absent",
    "/v1/policy": "common",
    "/v1/keys": "common",
    "/v1/proposals": "common",
    "/v1/proposals/{proposal_id}": "absent",
    "/v1/policy/remote": "operator's",
    "/v1/policy/bundles": "operator's",
    "/v1/policy/bundles/{digest}": "operator's",
    "/v1/policy/bundles/{digest}/file": "operator's",
    "/v1/policy/shadow": "operator's",
    "/v1/policy/canary": "operator's",
}
"""Route -> how it is confined. ``parted``: by tenant and hand. ``whole tenant``, ``whole log``: refused to who is bound
to hands; the second to other tenants too. ``common``: about no hand. ``operator's``: refused to other tenants.
``absent``: nothing of its kind is here, so each asks for what is not there."""
REFUSED = {
    "whole tenant": {"bound", "nothing", "foreign-bound"},
    "whole log": {"bound", "nothing", "foreign", "foreign-bound"},
    "operator's": {"foreign", "foreign-bound"},
}


def test_every_route_of_an_auditor_is_in_the_matrix() -> None:
    held = ROLE_PERMISSIONS[Role.AUDITOR]
    assert {one.path for one in TABLE if one.method == "GET" and one.access in held} == set(MAY)


def called(route: str, house: House, plan: str, hand: str) -> str:
    values = {
        "plan_id": house.plans[plan], "step_id": hand, "receipt_id": house.receipts[f"{plan}/{hand}"],
        "approval_id": "apr-1", "run_id": "run_0", "proposal_id": "0" * 32, "digest": "0" * 64,
        "bundle_path": "000.p/1",
    }  # fmt: skip
    path = route
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", value)
    return path + {"/v1/controls/report": "?framework=gdpr", "/v1/audit/exports": "?format=ndjson"}.get(route, "")


def told(answer: httpx2.Response) -> str:
    """What an answer says beyond the ids that the caller asked with, which a 404 repeats."""
    if answer.status_code != 404:
        return answer.text
    return str({name: value for name, value in answer.json().items() if name not in {"id", "why"}})


async def test_nobody_hears_of_a_hand_or_a_tenant_beyond_their_own(house: House) -> None:
    for who in AUDITORS:
        for route, kind in MAY.items():
            for plan, hand in (("ours", OURS), ("theirs", THEIRS), ("both", OURS), ("both", THEIRS)):
                answer = await house.get(called(route, house, plan, hand), who)
                about = (who, route, plan, hand, answer.status_code, answer.text[:300])
                if who in REFUSED.get(kind, ()):
                    assert answer.status_code == 403, about
                    assert answer.json()["code"] in {"auth.bound", "auth.forbidden"}, about
                elif kind == "absent":
                    assert answer.status_code == 404, about
                elif who == "all":
                    assert answer.status_code in {200, 404 if kind == "operator's" else 200}, about
                else:
                    assert answer.status_code in {200, 404}, about
                if who != "all" and kind != "common":
                    assert THEIRS not in told(answer), about
                    assert "harbour-word" not in answer.text, about
                if who in {"nothing", "foreign", "foreign-bound"} and kind == "parted":
                    assert "skyline-word" not in answer.text, about
                    assert all(plan_id not in told(answer) for plan_id in house.plans.values()), about


async def test_a_query_is_parted_and_says_so(house: House) -> None:
    every = await house.json("/v1/audit/entries?count=true&limit=1000", "all")
    bound = await house.json("/v1/audit/entries?count=true&limit=1000&proofs=true", "bound")
    common = {str(kind) for kind in COMMON}
    due = [one["index"] for one in every["entries"] if one["entry"].get("hand") == OURS or one["code"] in common]
    assert [one["index"] for one in bound["entries"]][: len(due)] == due
    assert bound["matches"] == len(bound["entries"]) == len(due)
    assert any(one["entry"].get("hand") == THEIRS for one in every["entries"])
    assert bound["scope"] == {"tenant": "default", "hands": [OURS], "types": sorted(common)}
    assert every["scope"] == {"tenant": "default", "hands": None, "types": []}
    assert all(len(one["proof"]) > 0 for one in bound["entries"]), "what is seen is proved as for anybody"
    beyond = await house.json(f"/v1/audit/entries?count=true&hand={THEIRS}", "bound")
    assert (beyond["entries"], beyond["matches"]) == ([], 0), "a hand that is not theirs looks empty"
    one_plan = await house.json(f"/v1/audit/entries?plan={house.plans['both']}&limit=1000", "bound")
    assert {one["entry"]["hand"] for one in one_plan["entries"]} == {OURS}


@pytest.mark.parametrize("kind", ["ndjson", "csv", "ocsf", "cloudevents"])
async def test_lines_are_parted(house: House, kind: str) -> None:
    answer = await house.get(f"/v1/audit/exports?format={kind}", "bound")
    assert answer.headers["handrail-hands"] == OURS
    assert OURS in answer.text
    assert THEIRS not in answer.text
    assert "handrail-hands" not in (await house.get(f"/v1/audit/exports?format={kind}", "all")).headers


async def test_evidence_is_parted_and_still_verifies(house: House) -> None:
    trust = canonical(await house.json("/v1/trust", "all"))
    for who, hands in (("bound", [OURS]), ("nothing", []), ("all", None), ("foreign", None)):
        answer = await house.get("/v1/audit/exports", who)
        assert answer.status_code == 200, answer.text
        report = verify(BytesIO(answer.content), Criteria(keys=[], trust=trust))
        assert report.exit is Exit.HOLDS, (who, list(report.lines()))
        said = " ".join(report.lines())
        assert ("is bound to these" in said) is (hands is not None)
        if who != "all":
            assert b"harbour-word" not in answer.content
            assert f'"{THEIRS}"'.encode() not in answer.content.replace(b"scope", b"")
    payloads = await house.get("/v1/audit/exports?payloads=true", "bound")
    assert (payloads.status_code, payloads.json()["code"]) == (403, "auth.bound")
    assert (await house.get("/v1/audit/exports?payloads=true", "all")).status_code == 200


async def test_a_policy_bundle_is_enclosed_for_the_operators_tenant_alone(house: House) -> None:
    """Its data grants to every tenant; that a decision was made by it, the entry says."""
    bot = await house.http.post("/v1/principals", json={"id": "x", "roles": ["agent"]}, headers=house.keys["foreign"])
    assert bot.status_code == 403, "an auditor adds nobody"
    ours = (await house.get("/v1/audit/exports", "all")).content
    assert b"policies/" in ours
    assert b"policies/" not in (await house.get("/v1/audit/exports", "foreign")).content


async def test_a_receipt_of_ones_hand_comes_without_what_the_plan_gave_to_others(house: House) -> None:
    whole = await house.json(f"/v1/receipts/{house.receipts[f'ours/{OURS}']}", "bound")
    assert whole["openings"], "every hand of that plan is theirs"
    part = await house.json(f"/v1/receipts/{house.receipts[f'both/{OURS}']}", "bound")
    assert part["openings"] == {}
    assert orjson.loads(part["entry"])["hand"] == OURS
    assert "plan" in part["fields"], "the commitment stays: nothing of it can be guessed"
    assert (await house.get(f"/v1/receipts/{house.receipts[f'both/{OURS}']}/proof", "bound")).status_code == 200
    for name in (f"theirs/{THEIRS}", f"both/{THEIRS}"):
        assert (await house.get(f"/v1/receipts/{house.receipts[name]}", "bound")).status_code == 404
    for plan, status in (("ours", 200), ("both", 404), ("theirs", 404)):
        assert (await house.get(f"/v1/plans/{house.plans[plan]}", "bound")).status_code == status
        why = await house.get(f"/v1/plans/{house.plans[plan]}/steps/{OURS}/why", "bound")
        assert why.status_code == status


async def test_an_access_review_names_who_may_use_ones_hands(house: House) -> None:
    every = await house.json("/v1/controls/access-review", "all")
    bound = await house.json("/v1/controls/access-review", "bound")
    foreign = await house.json("/v1/controls/access-review", "foreign")
    names = {who: {one["id"] for one in found["principals"]} for who, found in
             (("every", every), ("bound", bound), ("foreign", foreign))}  # fmt: skip
    assert "harbour-master" in names["every"]
    assert names["bound"] == names["every"] - {"harbour-master", "harbour-bot", "nothing"}
    assert [one["speaks_for"] for one in every["issuers"]] == [["bot", "harbour-bot"]]
    assert [one["speaks_for"] for one in bound["issuers"]] == [["bot"]], "nor by way of who may speak for them"
    assert names["foreign"] == {"foreign", "foreign-bound"}
    assert [one["hand"] for one in bound["hands"]] == [OURS]
    assert bound["scope"]["hands"] == [OURS]
