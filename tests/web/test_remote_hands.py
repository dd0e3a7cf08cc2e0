"""Remote hands as processes of their own, two gateways on one PostgreSQL, and whatever of it is killed: a step runs
once or not at all, and what the log says of it is true."""

import asyncio
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from handrail import Plan, Signer, SigningKey
from handrail.deadline import Deadline
from handrail.errors import HandrailProblem, Unreachable
from handrail.proving import ProofKey
from handrail.remote import GRANT_TYPE, STEP_TOKEN, RemoteHand

from gateway import setup
from gateway.settings import load
from tests.until import until
from tests.web.remote_process import ISSUER

CONFIG = """
[log]
origin = "handrail.test/remote"
[hands.crm]
adapter = "remote"
claim_seconds = 60
[hands.crm.actions.note]
side_effects = "none"
deadline_seconds = 8
args_schema = { type = "object", required = ["text"], properties = { text = { type = "string" } } }
[hands.erp]
adapter = "remote"
[hands.erp.actions.book]
side_effects = "none"
args_schema = { type = "object", additionalProperties = false }
"""
SERVE = [sys.executable, "-c", "from gateway.cli.main import run; run()", "serve", "--json"]
HAND = [sys.executable, "-m", "tests.web.remote_process"]
FORM = {"content-type": "application/x-www-form-urlencoded"}


@dataclass
class Place:
    """Two gateways, an agent who sends plans, and remote hands that come and go."""

    directory: Path
    environment: dict[str, str]
    homes: tuple[Path, Path]
    urls: list[str] = field(default_factory=list)
    gateways: "list[subprocess.Popen[str]]" = field(default_factory=list)
    hands: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    signer: Signer | None = None

    @property
    def journal(self) -> Path:
        return self.directory / "journal"

    def start(self, number: int) -> None:
        environment = {**self.environment, "HANDRAIL_HOME": str(self.homes[number])}
        if number < len(self.urls):
            environment["HANDRAIL_SERVER__PORT"] = self.urls[number].rpartition(":")[2]
        process = subprocess.Popen(SERVE, env=environment, stdout=subprocess.PIPE, text=True)
        self.gateways[number : number + 1] = [process]
        lines = []
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if line.startswith("}"):
                self.urls[number : number + 1] = [str(json.loads("".join(lines))["listening"][0])]
                return
        raise RuntimeError(f"the gateway did not start: {lines}")

    def kill(self, number: int) -> None:
        end(self.gateways[number])

    def hand(self, number: int) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen([*HAND, self.urls[number], self.keys["crm"], str(self.journal)])
        self.hands.append(process)
        return process

    def client(self, number: int = 0, who: str = "crm", key: ProofKey | None = None) -> RemoteHand:
        return RemoteHand(self.urls[number], self.keys[who], who, {}, issuer=ISSUER, key=key)

    def send(self, text: str, number: int = 0, wait: int = 0) -> Any:
        plan = Plan()
        plan.step("crm", "note", {"text": text})
        assert self.signer is not None
        headers = {"authorization": f"Bearer {self.keys['ada']}", "content-type": "application/jose"}
        url = f"{self.urls[number]}/v1/plans?wait={wait}"
        answer = httpx2.post(url, content=self.signer.sign(plan), headers=headers, timeout=90)
        assert answer.status_code in {200, 202}, answer.text
        return answer.json()

    def step(self, view: Any, number: int = 0) -> Any:
        headers = {"authorization": f"Bearer {self.keys['ada']}"}
        answer = httpx2.get(f"{self.urls[number]}/v1/plans/{view['plan_id']}", headers=headers, timeout=30)
        [step] = answer.json()["steps"]
        return step

    def lines(self) -> list[str]:
        return self.journal.read_text().splitlines() if self.journal.exists() else []

    def token(self, client: RemoteHand, body: bytes, **changes: Any) -> httpx2.Response:
        """A request to the token endpoint, well formed but for ``changes``."""
        proof = changes.pop("proof", None) or client._key.prove(
            "POST", f"{client._base}/v1/token", body, nonce=client._nonce
        )
        headers = {**FORM, "authorization": f"Bearer {self.keys['crm']}", "dpop": proof, **changes}
        return httpx2.post(f"{client._base}/v1/token", content=body, headers=headers, timeout=30)


def end(process: "subprocess.Popen[Any]") -> None:
    process.kill()
    process.wait(30)
    if process.stdout is not None:
        process.stdout.close()


def asking(step_jti: str, **changes: str) -> bytes:
    form = {"grant_type": GRANT_TYPE, "subject_token": step_jti, "subject_token_type": STEP_TOKEN, **changes}
    return urlencode(form).encode()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, postgres_server: Any) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("remote")
    homes = (directory / "first", directory / "second")
    (directory / "handrail.toml").write_text(CONFIG)
    first = homes[0]
    shared = {
        "HANDRAIL_CONFIG": str(directory / "handrail.toml"),
        "HANDRAIL_DATABASE__URL": postgres_server.create_database(),
        "HANDRAIL_KEYS__STORE": "database",
        "HANDRAIL_KEYS__MASTER_KEY_FILE": str(first / "master.key"),
        "HANDRAIL_KEYS__ROOT_FILE": str(first / "root.key"),
        "HANDRAIL_PRIVACY__EPOCHS": str(first / "epochs"),
        "HANDRAIL_SERVER__PORT": "0",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**shared, "HANDRAIL_HOME": str(first)}.items():
            patch.setenv(name, value)
        token = str(setup.run(load(directory / "handrail.toml")).token)
    made = Place(directory, {**os.environ, **shared}, homes)
    try:
        for number in (0, 1):
            made.start(number)
        _populate(made, token)
        yield made
    finally:
        for process in [*made.hands, *made.gateways]:
            end(process)


def _populate(made: Place, token: str) -> None:
    with httpx2.Client(base_url=made.urls[0], headers={"authorization": f"Bearer {token}"}, timeout=30) as http:
        people: list[dict[str, Any]] = [
            {"id": "ada", "roles": ["agent"]},
            {"id": "crm-hand", "roles": ["hand"], "hands": ["crm"]},
            {"id": "erp-hand", "roles": ["hand"], "hands": ["erp"]},
            {"id": "oscar", "roles": ["operator"]},
        ]
        for person in people:
            answer = http.post("/v1/principals", json=person)
            assert answer.status_code == 201, answer.text
            made.keys[person["id"].removesuffix("-hand")] = answer.json()["api_key"]["token"]
        key = SigningKey.generate()
        issuer = {"id": "laptop", "jwk": dict(key.public.public_jwk()), "speaks_for": ["ada"]}
        answer = http.post("/v1/issuers", json=issuer)
        assert answer.status_code == 201, answer.text
        made.signer = Signer("laptop", key, ISSUER, "default", "ada")
    operator = {"authorization": f"Bearer {made.keys['oscar']}"}
    for place, hand in ((place, hand) for place in made.urls for hand in ("crm", "erp")):
        shown = httpx2.get(f"{place}/v1/hands/{hand}", headers=operator).json()
        url = f"{place}/v1/hands/{hand}/pin"
        answer = httpx2.post(url, json={"digest": shown["offered_digest"]}, headers=operator)
        assert answer.status_code == 200, answer.text


@pytest.mark.postgres
def test_a_hand_at_either_gateway_does_what_the_other_was_asked_for(place: Place) -> None:
    hands = [place.hand(number) for number in (0, 1)]
    views = [place.send(f"plain {n}", n % 2, wait=30) for n in range(6)]
    for process in hands:
        end(process)
    assert [view["steps"][0]["status"] for view in views] == ["succeeded"] * 6
    assert views[0]["steps"][0]["result"]["structured"] == {"said": "plain 0", "for": "ada"}
    assert sorted(place.lines()) == sorted(
        [*(f"began plain {n}" for n in range(6)), *(f"ended plain {n}" for n in range(6))]
    )


@pytest.mark.postgres
def test_stolen_ids_credentials_and_proofs_are_of_no_use(place: Place) -> None:
    view = place.send("attacked")
    with place.client() as hand, place.client(who="erp") as other:
        [step_jti] = hand.work()
        with pytest.raises(HandrailProblem, match=r"claim\.unknown"):
            other.claim(step_jti)
        disguised = RemoteHand(place.urls[0], place.keys["erp"], "crm", {}, issuer=ISSUER)
        with disguised, pytest.raises(HandrailProblem, match=r"auth\.bound"):
            disguised.work(wait_seconds=0)
        body = asking(step_jti)

        def error(*args: Any, **changes: Any) -> tuple[int, str, str]:
            answer = place.token(hand, *args, **changes)
            assert answer.headers["cache-control"] == "no-store"
            return answer.status_code, answer.json()["error"], answer.json()["code"]

        stale = hand._key.prove("POST", f"{hand._base}/v1/token", body, nonce="x" * 43)
        assert error(body, proof=stale) == (400, "use_dpop_nonce", "proof.nonce")
        elsewhere = hand._key.prove("POST", f"{hand._base}/v1/plans", body, nonce=hand._nonce)
        assert error(body, proof=elsewhere) == (400, "invalid_dpop_proof", "proof.refused")
        another = hand._key.prove("POST", f"{hand._base}/v1/token", asking("0" * 32), nonce=hand._nonce)
        assert error(body, proof=another) == (400, "invalid_dpop_proof", "proof.refused")
        assert error(body, authorization="Bearer hr_nobody") == (401, "invalid_client", "auth.invalid")
        agent = f"Bearer {place.keys['ada']}"
        assert error(body, authorization=agent) == (400, "unauthorized_client", "auth.forbidden")
        wrong = asking(step_jti, grant_type="client_credentials")
        assert error(wrong)[:2] == (400, "unsupported_grant_type")
        assert error(asking(step_jti, scope="delete"))[:2] == (400, "invalid_scope")
        assert error(asking(step_jti, audience="hand:erp"))[:2] == (400, "invalid_target")
        assert error(body + b"&subject_token=other")[:2] == (400, "invalid_request")
        assert error(asking("0" * 32)) == (400, "invalid_grant", "claim.unknown")

        used = hand._key.prove("POST", f"{hand._base}/v1/token", body, nonce=hand._nonce)
        claimed = place.token(hand, body, proof=used).json()
        assert error(body, proof=used) == (400, "invalid_grant", "claim.taken")
        path, sent = f"/v1/steps/{step_jti}/result", b'{"structured":{"said":"forged"}}'
        token = claimed["access_token"]

        def give(key: ProofKey, body: bytes = sent, credential: str = token, **claims: Any) -> str:
            proof = key.prove(
                "POST", hand._base + path, body, **{"nonce": hand._nonce, "credential": credential, **claims}
            )
            headers = {"authorization": f"DPoP {credential}", "dpop": proof, "content-type": "application/json"}
            answer = httpx2.post(hand._base + path, content=body, headers=headers, timeout=30)
            return str(answer.json().get("code", answer.json().get("status")))

        assert give(ProofKey()) == "proof.refused", "a credential without its key"
        assert give(hand._key, credential=token[:-8] + "AAAAAAAA") == "credential.refused"
        proof = hand._key.prove("POST", hand._base + path, b"{}", nonce=hand._nonce, credential=token)
        headers = {"authorization": f"DPoP {token}", "dpop": proof, "content-type": "application/json"}
        answer = httpx2.post(hand._base + path, content=sent, headers=headers, timeout=30)
        assert (answer.status_code, answer.json()["code"]) == (401, "proof.refused"), "the digest of another result"
        bearer = {**headers, "authorization": f"Bearer {place.keys['crm']}"}
        assert httpx2.post(hand._base + path, content=sent, headers=bearer).json()["code"] == "credential.refused"
        assert give(hand._key, credential=token, nonce=None) == "proof.nonce"
        assert place.step(view)["status"] == "running"
        assert give(hand._key, b'{"structured":{"said":"true"}}') == "succeeded"
        assert give(hand._key) == "result.taken"
    step = place.step(view, 1)
    assert (step["status"], step["result"]["structured"]) == ("succeeded", {"said": "true"})


@pytest.mark.postgres
def test_a_hand_that_is_killed_leaves_its_step_ambiguous_and_nobody_runs_it_again(place: Place) -> None:
    hand = place.hand(0)
    view = place.send("hold killed")
    asyncio.run(until(lambda: "began hold killed" in place.lines()))
    end(hand)
    successor = place.hand(1)
    asyncio.run(until(lambda: place.step(view)["status"] != "running"))
    end(successor)
    step = place.step(view)
    assert (step["status"], step["error"]["code"]) == ("ambiguous", "hand.timeout")
    assert place.lines().count("began hold killed") == 1


@pytest.mark.postgres
def test_the_gateway_that_handed_out_is_killed_and_the_other_takes_the_result(place: Place) -> None:
    view = place.send("orphan")
    key = ProofKey()
    with place.client(0, key=key) as before, place.client(1, key=key) as after:
        [step_jti] = before.work()
        claimed = before.claim(step_jti)
        place.kill(0)
        try:
            with pytest.raises(Unreachable):
                before.give_back(claimed, structured={"said": "x"})
            assert after.give_back(claimed, structured={"said": "x"}) == {"status": "succeeded"}
            assert place.step(view, 1)["status"] == "succeeded"
        finally:
            place.start(0)
    assert place.step(view)["status"] == "succeeded"


@pytest.mark.postgres
@pytest.mark.parametrize("after", [0.0, 0.02, 0.05])
def test_a_gateway_killed_at_any_moment_of_a_claim_hands_a_step_out_once_at_most(place: Place, after: float) -> None:
    """The answer may be lost, and then the step is nobody's; it is never two hands'."""
    views = [place.send(f"race {after} {n}", 1) for n in range(4)]
    got: list[str] = []

    async def scene() -> None:
        async def claims(number: int) -> None:
            with place.client(number) as hand:
                for step_jti in await asyncio.to_thread(hand.work):
                    try:
                        claimed = await asyncio.to_thread(hand.claim, step_jti)
                    except (HandrailProblem, Unreachable):
                        continue
                    got.append(claimed.step.jti)
                    with contextlib.suppress(Unreachable, HandrailProblem):
                        await asyncio.to_thread(hand.give_back, claimed, structured={"said": "once"})

        killing = threading.Timer(after, place.kill, [0])
        killing.start()
        await asyncio.gather(*(claims(number) for number in (0, 1)), return_exceptions=True)
        await asyncio.to_thread(killing.join)

    try:
        asyncio.run(scene())
    finally:
        place.start(0)
    assert len(got) == len(set(got))
    with place.client(1) as hand:
        while hand.once(wait_seconds=0):
            pass
    asyncio.run(until(lambda: all(place.step(view)["status"] != "running" for view in views)))
    for view in views:
        step = place.step(view)
        assert step["status"] in {"succeeded", "ambiguous", "failed"}
        if step["status"] == "succeeded":
            assert step["receipt_id"] in got


@pytest.mark.postgres
def test_a_step_whose_answer_was_kept_back_until_its_time_was_over_is_not_begun(place: Place) -> None:
    view = place.send("kept back")
    ran: list[Any] = []
    with RemoteHand(place.urls[0], place.keys["crm"], "crm", {"note": lambda *_: ran.append(1)}, issuer=ISSUER) as hand:
        [step_jti] = hand.work()
        claimed = hand.claim(step_jti)
        assert claimed.begin_until == claimed.lease_until
        assert 0 < claimed.begin_until.seconds <= 8
        assert not claimed.begin_until.is_over()
        hand._do(replace(claimed, begin_until=Deadline(claimed.begin_until.start, 0)))
    assert ran == []
    step = place.step(view)
    assert (step["status"], step["error"]["code"]) == ("failed", "hand.failed")
    assert "not begun" in step["result"]["content"][0]["text"]


@pytest.mark.postgres
def test_the_hand_s_clock_is_not_asked(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    view = place.send("skewed")
    with place.client() as hand:
        monkeypatch.setattr("handrail.proving.time.time", lambda: 86_400.0)
        claimed = hand.claim(hand.work()[0])
        assert hashlib.sha256(b'{"text":"skewed"}').hexdigest() == claimed.step.binding["args_sha256"]
        assert hand.give_back(claimed, structured={})["status"] == "succeeded"
    assert place.step(view)["status"] == "succeeded"
