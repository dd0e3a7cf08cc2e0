"""Real Git servers on loopback: ``git http-backend`` behind TLS, and OpenSSH."""

import asyncio
import base64
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.authority import Authority
from tests.ports import free_port
from tests.until import until

TOKEN = "s3cret-token"


@dataclass
class GitServer:
    """Serves the repositories in a directory to whoever has the token."""

    root: Path
    port: int = 0
    ca_file: Path = Path()
    asked: list[str] = field(default_factory=list)
    """The ``Authorization`` of each request."""
    instead: Callable[[Request], Response] | None = None
    stuck: asyncio.Event | None = None

    def url(self, repository: Path) -> str:
        return f"https://127.0.0.1:{self.port}/{repository.relative_to(self.root)}"

    async def handle(self, request: Request) -> Response:
        given = request.headers.get("authorization", "")
        self.asked.append(given)
        if self.stuck is not None:
            await self.stuck.wait()
        if self.instead is not None:
            return self.instead(request)
        if given != f"Basic {base64.b64encode(f'git:{TOKEN}'.encode()).decode()}":
            return PlainTextResponse("who are you?", 401, {"www-authenticate": 'Basic realm="git"'})
        return await self._backend(request)

    async def _backend(self, request: Request) -> Response:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.devnull,
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "PATH_INFO": request.url.path,
            "QUERY_STRING": request.url.query,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("content-type", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": request.headers.get("git-protocol", ""),
            "REMOTE_USER": "git",
            "REMOTE_ADDR": "127.0.0.1",
        }
        process = await asyncio.create_subprocess_exec(
            "git", "http-backend", env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        answer, _ = await process.communicate(await request.body())
        head, _, body = answer.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        return Response(body, int(headers.pop("Status", "200").split()[0]), headers)


@asynccontextmanager
async def git_server(root: Path, directory: Path) -> AsyncIterator[GitServer]:
    """Serve what lies in ``root`` over https."""
    authority = Authority(directory)
    certificate, key = authority.issue("server")
    server = GitServer(root, ca_file=authority.certificate)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server.port = listener.getsockname()[1]
    app = Starlette(routes=[Route("/{path:path}", server.handle, methods=["GET", "POST"])])
    config = uvicorn.Config(
        app, log_config=None, ssl_certfile=str(certificate), ssl_keyfile=str(key), ssl_version=ssl.PROTOCOL_TLS_SERVER
    )
    running = uvicorn.Server(config)
    task = asyncio.create_task(running._serve(sockets=[listener]))
    try:
        yield server
    finally:
        if server.stuck is not None:
            server.stuck.set()
        running.should_exit = True
        await task
        listener.close()


def find_sshd() -> str | None:
    """The OpenSSH server, where one is installed."""
    return shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


@dataclass(frozen=True)
class SshServer:
    """An OpenSSH server that lets one key read repositories."""

    port: int
    key_file: Path
    known_hosts_file: Path
    user: str

    def url(self, repository: Path) -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.port}{repository}"


@asynccontextmanager
async def ssh_server(program: str, directory: Path) -> AsyncIterator[SshServer]:
    """A real sshd for one connection after another, on a free port."""
    directory.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", directory / name], check=True)
    shutil.copy(directory / "user.pub", directory / "authorized")
    port = free_port()
    host_key = " ".join((directory / "host.pub").read_text().split()[:2])
    known = directory / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {host_key}\n")
    config = directory / "config"
    config.write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {directory / 'host'}\nPidFile none\n"
        f"AuthorizedKeysFile {directory / 'authorized'}\nStrictModes no\nPasswordAuthentication no\nUsePAM no\n"
        "PermitRootLogin prohibit-password\nLogLevel ERROR\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    process = await asyncio.create_subprocess_exec(program, "-D", "-e", "-f", str(config))
    try:
        await until(lambda: _listens(port))
        user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
        yield SshServer(port, directory / "user", known, user)
    finally:
        process.terminate()
        await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
