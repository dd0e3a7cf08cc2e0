"""A whole gateway: a tool in a jail uses a secret that it never sees, and the log tells of it."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from handrail.errors import StepRefused
from handrail.hand import Verifier

from gateway.calls import Injections
from gateway.ports import HandFailure
from gateway.reasons import Reason
from hand_adapters.contract import HandError
from tests.canaries import Canaries, rows_of
from tests.egress.world import Host, World
from tests.hands.hands_support import call
from tests.secrets.world import Api, opened

FETCHING = Path(__file__).with_name("fetching.py")


def tool(world: World, host: Host, **changes: Any) -> dict[str, Any]:
    """Settings of a jailed tool that may reach the host, with a secret for one path of it."""
    return {
        "adapter": "mcp",
        "command": ("python", "/server/fetching.py"),
        "binds": ({"source": str(FETCHING.parent), "target": "/server"},),
        "egress": (world.rule(host).model_dump(),),
        "secrets": {"token": {"targets": (f"https://{host.name}:{host.port}",), "paths": ("/v1/mine/**",)}},
        "actions": {"fetch": {"side_effects": "none", "idempotent": True}},
        **changes,
    }


@pytest.mark.jail
async def test_a_tool_uses_a_secret_that_it_never_sees(tmp_path: Path, world: World, canaries: Canaries) -> None:
    host = await world.host()
    value = canaries.plant("awkward")

    def echo(head: bytes) -> bytes:
        lines = head.decode().split("\r\n")
        got = next((line for line in lines if line.lower().startswith("authorization:")), "nothing")
        body = f"raw {got}; base64 {base64.b64encode(got.encode()).decode()}".encode()
        return b"HTTP/1.1 200 OK\r\nX-Echo: %b\r\nContent-Length: %d\r\n\r\n%b" % (got.encode(), len(body), body)

    host.answer = echo
    url = f"https://{host.name}:{host.port}"
    async with opened(tmp_path, Api(), {}, crm=tool(world, host)) as running:
        [shown] = [one for one in running.gateway.hands.describe("default") if one["id"] == "crm"]
        assert [rule["host"] for rule in shown["egress"]] == ["api.example"]
        await running.gateway.secrets.set(running.people["admin"], "token", value)

        step = await running.call("requests", action="fetch", url=f"{url}/v1/mine/x")
        assert step["status"] == "succeeded", step
        said = step["result"]["content"][0]["text"]
        assert said.startswith("200 "), said
        assert "[secret]" in said
        assert "X-Echo" not in said
        assert host.header("authorization") == [f"Bearer {value}"]

        step = await running.call("requests", action="fetch", url=f"{url}/v1/others/x")
        assert "raw nothing" in step["result"]["content"][0]["text"], "another path is given no secret"
        step = await running.call("requests", action="fetch", url=f"{url}/v2/x")
        assert "egress.path" in str(step), step

        [used] = running.entries("SECUSE")
        assert used["facts"]["target"] == f"https://{host.name}:{host.port}"
        assert len(running.entries("SECECH")) == 1
        connected = running.entries("EGRCON")
        assert [one["facts"]["path"] for one in connected] == ["/v1/**", "/v1/**"]
        assert {one["hand"] for one in connected} == {"crm"}
        assert all(one["commitment"] and one["plan_id"] and one["step_id"] for one in connected)
        assert b"/v1/mine/x" not in rows_of(running.gateway.engine), "what the jail chose is sealed"
        [refused] = running.entries("EGRREF")
        assert refused["facts"] == {"cause": "path", "host": "api.example", "count": 1}
        assert len(running.entries("EGREND")) == 2
        counted = running.gateway.metrics.egress.labels("crm", "connected")._value.get()
        assert counted == 2
        canaries.must_not_be_in("the database", rows_of(running.gateway.engine))
        canaries.must_not_be_in("a result", str(step).encode())


@pytest.mark.jail
async def test_a_host_that_checks_step_credentials_is_shown_one_that_the_jail_never_had(
    tmp_path: Path, world: World
) -> None:
    host = await world.host()
    url = f"https://{host.name}:{host.port}/v1/x"
    declared = tool(world, host, secrets={}, egress=(world.rule(host, credential=True).model_dump(),))
    async with opened(tmp_path, Api(), {}, crm=declared) as running:
        step = await running.call("requests", action="fetch", url=url)
        assert step["status"] == "succeeded", step
        keys, origin = running.gateway.keyset.jwks(), running.gateway.log.origin
        lines = [line.partition(": ") for line in host.requests[0].decode().split("\r\n")[1:] if line]
        headers, args = [(name, value) for name, _, value in lines], {"how": "requests", "url": url}
        checked = Verifier(keys, issuer=origin, hand="crm").verify(headers, "fetch", args, method="GET", url=url)
        assert checked.binding["step_id"] == step["id"]
        for changed in ({"method": "POST", "url": url}, {"method": "GET", "url": f"{url}/y"}):
            with pytest.raises(StepRefused):
                Verifier(keys, issuer=origin, hand="crm").verify(headers, "fetch", args, **changed)


def elsewhere(tmp_path: Path) -> dict[str, Any]:
    """An MCP server over HTTP that is not there."""
    listing = tmp_path / "tools.json"
    schema = {"type": "object", "properties": {"how": {"type": "string"}}}
    listing.write_text(json.dumps({"tools": [{"name": "call", "inputSchema": schema}]}))
    return {"adapter": "mcp", "url": "http://127.0.0.1:9/mcp", "private_network": True, "listing": listing}


@pytest.mark.parametrize("crm", [lambda _: None, elsewhere], ids=["api", "mcp server"])
async def test_a_decision_that_names_hosts_holds_a_hand_elsewhere_to_them(
    tmp_path: Path, crm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api("http://127.0.0.1:9")
    async with opened(tmp_path, api, {}, crm=crm(tmp_path)) as running:
        manifest = running.gateway.hands.manifest("default", "crm")
        assert manifest is not None

        async def inject(*_: Any) -> Injections:
            raise HandError(Reason.SECRET_MISSING, HandFailure.NOT_EXECUTED, "as far as it went")

        async def reason(hosts: tuple[str, ...] | None) -> Reason:
            one = call("crm", "call", {"how": "none"}, manifest.digest, egress_hosts=hosts, inject=inject)
            with pytest.raises(HandError) as caught:
                await running.gateway.hands.run(one)
            assert caught.value.failure is HandFailure.NOT_EXECUTED
            return caught.value.reason

        assert await reason(("other.example",)) is Reason.POLICY_OBLIGATION
        assert await reason(()) is Reason.POLICY_OBLIGATION
        assert await reason(("127.0.0.1",)) is Reason.SECRET_MISSING
        assert await reason(None) is Reason.SECRET_MISSING

        adapter = running.gateway.hands._hands["crm"].adapter
        assert adapter is not None
        monkeypatch.setattr(type(adapter), "hosts", ("127.0.0.1", "b.example"))
        assert await reason(("127.0.0.1",)) is Reason.POLICY_OBLIGATION, "all of them have to be named"
        assert await reason(("127.0.0.1", "b.example", "c.example")) is Reason.SECRET_MISSING
        monkeypatch.setattr(type(adapter), "hosts", ())
        assert await reason(("127.0.0.1",)) is Reason.POLICY_OBLIGATION, "none is no promise"
        monkeypatch.delattr(type(adapter), "hosts")
        assert await reason(("127.0.0.1",)) is Reason.POLICY_OBLIGATION, "and so is silence"
