"""A Git remote that signed bundles are pulled from. Blocking.

One branch or tag is fetched into a bare repository of the gateway's own, and one file is read out of its commit.
Nothing is ever checked out: no hook, filter, submodule or large-file pointer is followed. What the file says is for
``gateway.policy.signed`` to judge. Git dials by itself: what holds of the gateway's own connections does not hold here
(docs/threat-model.md).
"""

import base64
import hashlib
import os
import re
import shlex
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from gateway import files
from gateway.policy.git import GitFailed, run
from gateway.policy.signed import SIGNED_MAX_BYTES
from gateway.secret_files import read_secret
from gateway.settings import RemoteSettings, SettingsError

TIP: Final = "refs/handrail/tip"
_SLOW_BYTES_PER_SECOND: Final = 100
_SLOW_SECONDS: Final = 20
_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_BLOB: Final = re.compile(rb"100(?:644|755) blob ([0-9a-f]{40,64}) +([0-9]+)\t[^\0]+\0")
_OPTIONS: Final = (
    "protocol.version=2",
    "fetch.fsckObjects=true",
    "fetch.unpackLimit=1",  # always one pack, so that one limit on a file's size bounds it
    "fetch.recurseSubmodules=false",
    "http.followRedirects=false",
    "http.sslVerify=true",
    "http.cookieFile=",
    f"http.lowSpeedLimit={_SLOW_BYTES_PER_SECOND}",
    f"http.lowSpeedTime={_SLOW_SECONDS}",
)


class Moved(StrEnum):
    """What became of the branch or tag since it was last looked at."""

    FIRST = "first"
    """It was never looked at before."""
    SAME = "same"
    FORWARD = "forward"
    BACK = "back"
    """To an older commit: somebody forced it back."""
    ASIDE = "aside"
    """To a commit that does not follow from the one before: its history was rewritten."""


@dataclass(frozen=True, slots=True)
class Tip:
    """Where the branch or tag is.

    Attributes:
        commit: hex object id.
        before: the commit that was last looked at; empty at first.
        outcome: what was noted of that one.
    """

    commit: str
    moved: Moved
    before: str
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Remote:
    """A remote with its secrets read."""

    settings: RemoteSettings
    token: str | None = field(repr=False)

    @classmethod
    def open(cls, settings: RemoteSettings) -> "Remote":
        """Read the files that the settings name.

        Raises:
            SettingsError: one of them cannot be used; never with its content.
        """
        token = None
        if settings.token_file is not None:
            token = read_secret(settings.token_file, "policy.remote.token_file")
        for name in ("ca_file", "ssh_key_file", "known_hosts_file"):
            file: Path | None = getattr(settings, name)
            if file is not None and not file.is_file():
                raise SettingsError(f"policy.remote.{name}: {file} is no file")
        return cls(settings, token)

    def options(self) -> tuple[str, ...]:
        """``-c`` settings; no secret among them, because every user of the machine can read arguments."""
        ca_file = self.settings.ca_file
        return _OPTIONS if ca_file is None else (*_OPTIONS, f"http.sslCAInfo={ca_file.absolute()}")

    def environment(self) -> Mapping[str, str]:
        """What Git and the program that it dials with are told, beside a clean environment."""
        scheme = urlsplit(self.settings.url).scheme
        told = {"GIT_ALLOW_PROTOCOL": scheme}
        if self.token is not None:
            basic = base64.b64encode(f"{self.settings.username}:{self.token}".encode()).decode()
            told |= {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "http.extraHeader",
                "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
            }
        if scheme == "ssh":
            told |= {"GIT_SSH_COMMAND": self._ssh(), "GIT_SSH_VARIANT": "ssh"}
        return told

    def _ssh(self) -> str:
        """OpenSSH that looks at no file but those named, knows one key, and asks nobody anything."""
        key, hosts = self.settings.ssh_key_file, self.settings.known_hosts_file
        if key is None or hosts is None:
            raise GitFailed("ssh needs ssh_key_file and known_hosts_file")
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(hosts.absolute()),
            "GlobalKnownHostsFile": os.devnull,
            "UpdateHostKeys": "no",
            "IdentitiesOnly": "yes",
            "IdentityFile": str(key.absolute()),
            "IdentityAgent": "none",
            "PreferredAuthentications": "publickey",
            "ClearAllForwardings": "yes",
            "ForwardAgent": "no",
            "PermitLocalCommand": "no",
            "ProxyCommand": "none",
            "ConnectTimeout": "15",
            "LogLevel": "ERROR",
        }
        words = ["ssh", "-F", os.devnull]
        for name, value in options.items():
            words += ["-o", f"{name}={value}"]
        return shlex.join(words)


class Mirror:
    """The gateway's own copy of one branch or tag of a remote. One thread at a time."""

    def __init__(self, remote: Remote, directory: Path) -> None:
        """Keep it below ``directory``, by remote and branch, so that another one begins anew."""
        self._remote = remote
        settings = remote.settings
        name = hashlib.sha256(f"{settings.url}\0{settings.ref}".encode()).hexdigest()[:16]
        self._home = directory / name
        self._repository = self._home / "repository"
        self._seen = self._home / "seen"
        self.stop = threading.Event()
        """Set from outside, it ends what is running."""

    def fetch(self) -> Tip:
        """Fetch what is new.

        Raises:
            GitFailed: the remote cannot be reached or believed, is too slow or too large, or has no such branch or tag.
        """
        settings = self._remote.settings
        self._make()
        try:
            self._git(
                "fetch",
                "--quiet",
                "--no-tags",
                "--no-recurse-submodules",
                "--no-write-fetch-head",
                "--no-auto-maintenance",
                "--end-of-options",
                settings.url,
                f"+{settings.ref}:{TIP}",
                seconds=settings.timeout_seconds,
            )
        except GitFailed:
            self._check_size()
            raise
        self._check_size()
        return self._tip(self._commit(TIP))

    def read(self, commit: str) -> bytes:
        """The signed file in a commit.

        Raises:
            GitFailed: there is none, or it is no regular file, or too large.
        """
        path = self._remote.settings.path
        listed = self._git("ls-tree", "-z", "-l", "--full-tree", "--end-of-options", commit, path)
        found = _BLOB.fullmatch(listed)
        if found is None:
            raise GitFailed(f"{path} is no regular file in {commit[:12]}")
        if int(found[2]) > SIGNED_MAX_BYTES:
            raise GitFailed(f"{path} is larger than {SIGNED_MAX_BYTES} bytes")
        return self._git("cat-file", "blob", found[1].decode("ascii"), output_max_bytes=SIGNED_MAX_BYTES)

    def note(self, commit: str, outcome: str) -> None:
        """The commit was looked at, and what became of it: what comes next is told apart from it, after a restart too.

        Args:
            outcome: a word.
        """
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.write(self._seen, f"{commit} {outcome}\n".encode("ascii"), replace=True)

    def forget(self) -> None:
        """Throw the copy away, but not the memory of where the remote was."""
        shutil.rmtree(self._repository, ignore_errors=True)

    def _check_size(self) -> None:
        """What grew by one large pull, or by many small ones, is thrown away: begun anew it is as large as its history,
        or refused again."""
        limit = self._remote.settings.size_max_bytes
        if self._size() >= limit:
            self.forget()
            raise GitFailed(f"the repository is larger than {limit} bytes")

    def _make(self) -> None:
        for left in (self._repository / "objects" / "pack").glob("tmp_*"):
            left.unlink(missing_ok=True)  # of a pull that was ended
        if not (self._repository / "HEAD").is_file():
            self.forget()
            self._repository.mkdir(parents=True, mode=0o700)
            self._git("init", "--quiet", "--bare", "--template=", ".")

    def _tip(self, commit: str) -> Tip:
        try:
            before, _, outcome = self._seen.read_text(encoding="ascii").strip().partition(" ")
        except (OSError, UnicodeDecodeError):
            before = outcome = ""
        if _COMMIT.fullmatch(before) is None:
            return Tip(commit, Moved.FIRST, "")
        return Tip(commit, self._moved(before, commit), before, outcome)

    def _moved(self, before: str, commit: str) -> Moved:
        if before == commit:
            return Moved.SAME
        try:
            self._commit(before)
        except GitFailed:
            return Moved.ASIDE  # not even fetched with the new one
        if self._count(f"{commit}..{before}") == 0:
            return Moved.FORWARD
        return Moved.BACK if self._count(f"{before}..{commit}") == 0 else Moved.ASIDE

    def _commit(self, name: str) -> str:
        found = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").strip()
        commit = found.decode("ascii", "replace")
        if _COMMIT.fullmatch(commit) is None:
            raise GitFailed(f"{name} is no commit")
        return commit

    def _count(self, commits: str) -> int:
        return int(self._git("rev-list", "--count", "--end-of-options", commits))

    def _size(self) -> int:
        return sum(file.stat().st_size for file in self._repository.rglob("*") if file.is_file())

    def _git(self, *arguments: str, **limits: float) -> bytes:
        return run(
            arguments,
            directory=self._repository,
            environment={"GIT_DIR": ".", **self._remote.environment()},
            options=self._remote.options(),
            file_max_bytes=self._remote.settings.size_max_bytes,
            stop=self.stop,
            **limits,  # type: ignore[arg-type]
        )
