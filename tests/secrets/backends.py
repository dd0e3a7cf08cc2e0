"""The stores that the contract is held against, and what somebody can do to each from outside."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx2
from moto.server import ThreadedMotoServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from audit.database import changing_schema
from gateway.model import Principal, Role
from gateway.ports import SecretStore
from gateway.reasons import Reason
from gateway.secrets.aws import AwsSecrets
from gateway.secrets.environment import EnvironmentSecrets
from gateway.secrets.files import FileSecrets
from gateway.secrets.sealed import LABEL, SealedSecrets
from gateway.secrets.vault import VaultSecrets
from gateway.settings import SecretStoreSettings, Settings
from hand_adapters.fetcher import HttpFetcher
from tests import openbao as server
from tests.patience import SECONDS
from tests.pipeline.house import close_house, open_house
from tests.until import until
from tests.web.conftest import serving

POLICY = 'path "secret/data/handrail/*" { capabilities = ["read"] }'
"""What the gateway may in Vault or OpenBao: the page's own policy."""
TOKEN = "hvs.the-token-of-the-gateway"


@dataclass
class Backend:
    """A store of one kind.

    Attributes:
        put: keep a value for a tenant and a name, over the one before.
        drop: take one away.
        away: from now on the store cannot be asked.
    """

    store: SecretStore
    put: Callable[[str, str, str], Awaitable[Any]]
    drop: Callable[[str, str], Awaitable[Any]]
    away: Callable[[], Awaitable[Any]] | None
    more: Any = None


@asynccontextmanager
async def sealed(directory: Path, **database: str) -> AsyncIterator[Backend]:
    """Rows of the database, changed as a security admin changes them."""
    from gateway.keyring import stores as key_stores

    settings = {"database": database} if database else {}
    house = await open_house(directory, **settings)
    root = key_stores.open_root(house.settings)
    store = SealedSecrets(house.log._engine, house.log, root.derive(LABEL))

    def admin(tenant: str) -> Principal:
        return Principal("root", tenant, f"p-{tenant}", frozenset({Role.SECURITY_ADMIN}))

    async def put(tenant: str, name: str, value: str) -> None:
        known = {one.name for one in await store.known(admin(tenant))}
        await (store.rotate if name in known else store.set)(admin(tenant), name, value)

    async def away() -> None:
        with house.log._engine.connect() as connection, changing_schema(connection):
            connection.exec_driver_sql("ALTER TABLE secrets RENAME TO elsewhere")
            connection.commit()

    try:
        yield Backend(store, put, lambda tenant, name: store.remove(admin(tenant), name), away, house)
    finally:
        await close_house(house)


@asynccontextmanager
async def environment(directory: Path) -> AsyncIterator[Backend]:
    """A dictionary in the place of the process's environment."""
    variables: dict[str, str] = {"NOT_LISTED": "a-value-that-nobody-listed"}
    listed: dict[str, str] = {}

    async def put(tenant: str, name: str, value: str) -> None:
        variable = f"V_{tenant}_{name}".replace("-", "_").upper()
        listed[name if tenant == "default" else f"{tenant}.{name}"] = variable
        variables[variable] = value
        store._variables = dict(listed)

    async def drop(tenant: str, name: str) -> None:
        del variables[f"V_{tenant}_{name}".replace("-", "_").upper()]

    store = EnvironmentSecrets(listed, variables)
    yield Backend(store, put, drop, None, variables)


@asynccontextmanager
async def files(directory: Path) -> AsyncIterator[Backend]:
    """A directory, changed as the kubelet changes a mounted secret: a new one beside it, and one link swapped."""
    mount = directory / "mount"
    mount.mkdir()
    held: dict[str, str] = {}
    rounds = 0

    def publish() -> None:
        nonlocal rounds
        rounds += 1
        fresh = mount / f"..2026_{rounds}"
        fresh.mkdir()
        for name, value in held.items():
            (fresh / name).write_text(value)
            (fresh / name).chmod(0o440)
            if not (mount / name).is_symlink():
                (mount / name).symlink_to(f"..data/{name}")
        (mount / "..data_tmp").symlink_to(fresh.name)
        (mount / "..data_tmp").replace(mount / "..data")

    async def put(tenant: str, name: str, value: str) -> None:
        held[name if tenant == "default" else f"{tenant}.{name}"] = value
        publish()

    async def drop(tenant: str, name: str) -> None:
        del held[name if tenant == "default" else f"{tenant}.{name}"]
        publish()

    async def away() -> None:
        (mount / "..data").unlink()
        (mount / "..data").write_text("no directory")
        mount.rename(directory / "gone")
        mount.symlink_to(mount)

    yield Backend(FileSecrets(mount), put, drop, away, mount)


class Vault:
    """Answers as the documentation of Vault's KV version 2 says, or as an attacker in its place would."""

    def __init__(self) -> None:
        self.held: dict[str, list[str | None]] = {}
        self.answer: Callable[[Request], Response] | None = None
        self.asked: list[Request] = []

    async def get(self, request: Request) -> Response:
        self.asked.append(request)
        if self.answer is not None:
            return self.answer(request)
        if request.headers.get("x-vault-token") != TOKEN:
            return JSONResponse({"errors": ["permission denied"]}, 403)
        versions = self.held.get(request.path_params["path"])
        if not versions:
            return JSONResponse({"errors": []}, 404)
        value, destroyed = versions[-1], versions[-1] is None
        metadata = {
            "created_time": "2026-11-26T15:00:00Z", "custom_metadata": None,
            "deletion_time": "2026-11-26T16:00:00Z" if destroyed else "", "destroyed": False, "version": len(versions),
        }  # fmt: skip
        data = {"data": None if destroyed else {"value": value}, "metadata": metadata}
        return JSONResponse({"request_id": "r", "lease_duration": 0, "data": data}, 404 if destroyed else 200)


@asynccontextmanager
async def vault(directory: Path) -> AsyncIterator[Backend]:
    """A server that answers as Vault's documentation says."""
    fake, token = Vault(), directory / "token"
    token.write_text(TOKEN + "\n")
    routes = [Route("/v1/kv/data/{path:path}", fake.get)]
    async with serving(Starlette(routes=routes), Settings(server={"port": 0})) as port:
        settings = SecretStoreSettings(
            kind="vault", url=f"http://127.0.0.1:{port}", mount="kv", token_file=token, private_network=True
        )
        asks = HttpFetcher("secrets.stores.v", private_network=True, ca_file=None, reason=Reason.SECRET_UNAVAILABLE)
        store = VaultSecrets(settings, asks, SECONDS)

        async def put(tenant: str, name: str, value: str) -> None:
            fake.held.setdefault(f"handrail/{tenant}/{name}", []).append(value)

        async def drop(tenant: str, name: str) -> None:
            fake.held[f"handrail/{tenant}/{name}"].append(None)

        async def away() -> None:
            fake.answer = lambda _: JSONResponse({"errors": ["Vault is sealed"]}, 503)

        try:
            yield Backend(store, put, drop, away, (fake, token))
        finally:
            await store.close()


@asynccontextmanager
async def openbao(directory: Path) -> AsyncIterator[Backend]:
    """OpenBao itself, with a token in a file as an agent beside the gateway writes it."""
    with ExitStack() as stack:
        bao = await asyncio.to_thread(stack.enter_context, server.serving(directory))
        bao.call("POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
        await until(lambda: _is_version_2(bao))
        bao.call("PUT", "sys/policies/acl/handrail", {"policy": POLICY})
        token = bao.call("POST", "auth/token/create", {"policies": ["handrail"], "ttl": "10m"})
        token_file = directory / "token"
        token_file.write_text(token["auth"]["client_token"] + "\n")
        settings = SecretStoreSettings(kind="vault", url=bao.url, token_file=token_file, private_network=True)
        asks = HttpFetcher(
            "secrets.stores.v", private_network=True, ca_file=bao.ca_file, reason=Reason.SECRET_UNAVAILABLE
        )
        store = VaultSecrets(settings, asks, SECONDS)

        async def put(tenant: str, name: str, value: str) -> None:
            bao.call("POST", f"secret/data/handrail/{tenant}/{name}", {"data": {"value": value}})

        async def drop(tenant: str, name: str) -> None:
            bao.call("DELETE", f"secret/data/handrail/{tenant}/{name}")

        async def away() -> None:
            bao.seal()

        try:
            yield Backend(store, put, drop, away, bao)
        finally:
            await store.close()


def _is_version_2(bao: server.OpenBao) -> bool:
    """The engine is upgraded a moment after it is mounted."""
    try:
        bao.call("GET", "secret/config")
    except server.Answered:
        return False
    return True


@asynccontextmanager
async def aws(directory: Path) -> AsyncIterator[Backend]:
    """Moto's Secrets Manager, over HTTP."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    async with httpx2.AsyncClient() as http:  # its memory is the process's, not the server's
        await http.post(f"{url}/moto-api/reset")
    settings = SecretStoreSettings(kind="aws", region="us-east-1", endpoint_url=url)
    client = boto3.client("secretsmanager", endpoint_url=url, region_name="us-east-1")
    store = AwsSecrets.open(settings, SECONDS)

    async def put(tenant: str, name: str, value: str) -> None:
        id_ = f"handrail/{tenant}/{name}"
        there = {one["Name"] for one in client.list_secrets()["SecretList"]}
        if id_ in there:
            await asyncio.to_thread(client.put_secret_value, SecretId=id_, SecretString=value)
        else:
            await asyncio.to_thread(client.create_secret, Name=id_, SecretString=value)

    async def drop(tenant: str, name: str) -> None:
        await asyncio.to_thread(client.delete_secret, SecretId=f"handrail/{tenant}/{name}")

    stopped = False

    async def away() -> None:
        nonlocal stopped
        stopped = True
        await asyncio.to_thread(server.stop)

    try:
        yield Backend(store, put, drop, away, client)
    finally:
        await store.close()
        client.close()
        if not stopped:
            server.stop()


def document(value: Any) -> bytes:
    """As JSON."""
    return json.dumps(value).encode()
