"""The ``process`` adapter: declared command lines, each run once in a jail of its own that nobody used before."""

import signal
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final

from gateway.calls import HandCall, HandResult
from gateway.canonical import canonical
from gateway.manifest import Manifest
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import ActionSettings, HandSettings, SettingsError
from gateway.truncation import LOOK_AHEAD_BYTES
from hand_adapters import annotate, jailed
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.egress import gate, serving
from hand_adapters.jail import Bind, Completed, Jail, JailError, JailSpec, Scratch
from hand_adapters.jail.runtime import SYSTEM_DIRECTORIES, search
from hand_adapters.process import output
from hand_adapters.process.command import SCRATCH, Command

PROGRAM_MAX_BYTES: Final = 268_435_456
"""Largest program of the operator's own, and largest file that a command line names, which are hashed for the
manifest."""
DRAIN_MAX_BYTES: Final = 67_108_864
"""What a program may write beyond a result that is truncated. How it ends matters, so it is let go on; not for ever."""
_SIGNAL_MAX: Final = 64
_KILLED: Final = 128 + signal.SIGKILL


class ProcessAdapter:
    """Command lines. Each call has a process tree, a ``/tmp`` and a scratch directory of its own; the network that it
    reaches is the hand's egress."""

    needs_jail: ClassVar[bool] = True

    def __init__(self, hand_id: str, settings: HandSettings, jail: Jail) -> None:
        self.id = hand_id
        self.notes: tuple[str, ...] = ()
        self._settings = settings
        self._jail = jail
        self._commands = _commands(hand_id, settings)
        self._digests: dict[Path, tuple[tuple[int, ...], str]] = {}

    @classmethod
    def validate(cls, hand_id: str, settings: HandSettings) -> None:
        """Check the declaration.

        Raises:
            SettingsError: a command line that a value could bend, or that names a path with ``..``, an argument that
                nothing takes, a bad schema, profile or bind.
        """
        jailed.check(hand_id, settings)
        _commands(hand_id, settings)
        for name, word in settings.actions.items():
            if _KILLED in word.ok_statuses:
                raise SettingsError(f"hands.{hand_id}.actions.{name}.ok_statuses: {_KILLED} is a killed program's")
            for path in sorted({*_paths(word), str((word.argv or ("",))[0])}):
                if ".." in Path(path).parts:
                    # What it leads to in the jail is not what lies there on the host: another file would be pinned.
                    raise SettingsError(f"hands.{hand_id}.actions.{name}.argv: {path} goes up; name it directly")
        annotate.declared(hand_id, settings, lambda _name, word: _claims(word))

    async def manifest(self) -> Manifest:
        """The declared actions, and what the operator's own programs contain now.

        Raises:
            HandError: ``hand.unavailable``: such a program or a bind is not there, or a jail may not be shown it.
        """
        try:
            self._jail.check_binds(jailed.binds(self._settings))
        except JailError as exc:
            raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, exc.detail) from None

        def claims(_name: str, word: ActionSettings) -> Mapping[str, Any]:
            sha256 = self._program_sha256(str((word.argv or ("",))[0]))
            files = self._files_sha256(word)
            return {
                **_claims(word),
                **({"program_sha256": sha256} if sha256 else {}),
                **({"files_sha256": files} if files else {}),
            }

        return annotate.declared(self.id, self._settings, claims)

    async def run(self, call: HandCall) -> HandResult:
        """Run one command line to its end.

        Raises:
            HandDrifted: the declaration or a program is not the pinned one.
            HandError: ``schema.args``, ``hand.unavailable`` (not executed); ``hand.timeout``, ``hand.crashed``,
                ``hand.result_too_large`` (unknown, or executed where the action has no side effects);
                ``hand.protocol`` (executed).
        """
        offered = await self.manifest()
        if offered.digest != call.manifest_digest:
            raise HandDrifted(offered)
        action = self._settings.actions[call.action]
        spec = JailSpec(
            argv=self._commands[call.action].build(call.args),
            profile=call.jail_profile or self._settings.jail_profile,
            binds=jailed.binds(self._settings),
            env=jailed.environment(self._settings),
            cwd=SCRATCH if _has_files(action) else None,
            deadline_seconds=call.deadline_seconds,
        )
        stdin = b"" if action.stdin is None else _content(call.args.get(action.stdin))
        try:
            if not _has_files(action):
                return await self._run(spec, stdin, call, action, None)
            with await self._jail.scratch(self._settings.scratch_max_bytes, SCRATCH) as scratch:
                for name, file in action.input_files.items():
                    if call.args.get(name) is not None:
                        scratch.write(file, _content(call.args[name]))
                return await self._run(spec, stdin, call, action, scratch)
        except JailError as exc:
            raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, exc.detail) from None

    async def close(self) -> None:
        """Nothing lives between calls; whoever cancels a call ends its processes."""

    async def _run(
        self, spec: JailSpec, stdin: bytes, call: HandCall, action: ActionSettings, scratch: Scratch | None
    ) -> HandResult:
        way_out = gate(self.id, self._settings)
        async with serving(way_out, call):
            ended = await self._jail.run(
                replace(spec, gate=way_out),
                stdin,
                output_max_bytes=call.result_max_bytes + (LOOK_AHEAD_BYTES if call.truncates else 0),
                drain_bytes=DRAIN_MAX_BYTES if call.truncates else 0,
                error_tail_bytes=output.NOTE_MAX_BYTES,
                scratch=scratch,
            )
        status = _status(ended, action)
        return output.result(status, ended, action, scratch, call.result_max_bytes)

    def _program_sha256(self, program: str) -> str | None:
        """Of a program of the operator's own. What lies in the system's directories is its package manager's."""
        path = _on_host(program, self._settings)
        if path is None or f"/{path.parts[1]}" in SYSTEM_DIRECTORIES:
            return None
        return self._sha256(path)

    def _files_sha256(self, word: ActionSettings) -> dict[str, str]:
        """Path in the jail -> digest of each file that the command line names: an interpreter's script, a rule set.

        Of read-only binds alone: what a program may write is not the operator's word. One that is too large has none.
        """
        found = {}
        for name in sorted(_paths(word)):
            bind = _bind_of(Path(name), self._settings)
            if bind is None or bind.writable:
                continue
            path = bind.source / Path(name).relative_to(bind.target)
            try:
                status = path.stat()
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode) and status.st_size <= PROGRAM_MAX_BYTES:
                found[name] = self._sha256(path)
        return found

    def _sha256(self, path: Path) -> str:
        """Of a file's content, which is read again where the file has changed."""
        now = jailed.signature(path)
        known = self._digests.get(path)
        if known is None or not now or known[0] != now:
            known = self._digests[path] = (now, jailed.file_sha256(path, PROGRAM_MAX_BYTES))
        return known[1]


def _status(ended: Completed, action: ActionSettings) -> int:
    """The exit status of a program that came to its own end.

    Raises:
        HandError: it did not.
    """
    failure = jailed.cut_short(action)
    if ended.timed_out:
        raise HandError(Reason.HAND_TIMEOUT, failure)
    if ended.truncated:
        raise HandError(Reason.HAND_RESULT_TOO_LARGE, failure, "standard output")
    status = ended.returncode
    if status < 0:
        # bubblewrap reports a signal as 128 and its number, as a shell does; no signal has a number above 64.
        status = 128 - status
        if status not in action.ok_statuses and status <= 128 + _SIGNAL_MAX:
            raise HandError(Reason.HAND_CRASHED, failure, f"signal {status - 128}, or exit status {status}")
    return status


def _commands(hand_id: str, settings: HandSettings) -> dict[str, Command]:
    return {name: Command(f"hands.{hand_id}.actions.{name}.argv", word) for name, word in settings.actions.items()}


def _claims(word: ActionSettings) -> dict[str, Any]:
    """How an action is run, as the manifest shows and pins it."""
    return {
        "argv": [item if isinstance(item, str) else list(item) for item in word.argv or ()],
        "stdin": word.stdin,
        "stdout": word.stdout,
        "ok_statuses": list(word.ok_statuses),
        "multiline": list(word.multiline),
        "input_files": dict(word.input_files),
        "output_files": {name: file.model_dump() for name, file in word.output_files.items()},
    }


def _has_files(action: ActionSettings) -> bool:
    return bool(action.input_files or action.output_files)


def _content(value: Any) -> bytes:
    """What a program reads: a text as it is, anything else as JSON."""
    if value is None:
        return b""
    return value.encode() if isinstance(value, str) else canonical(value)


def _on_host(program: str, settings: HandSettings) -> Path | None:
    """Where a program lies on the host, through the hand's binds; ``None`` for one that only the jail can find."""
    if "/" not in program:
        try:
            return search(program).resolve()
        except JailError:
            return None
    path = Path(program)
    if not path.is_absolute():
        raise SettingsError(f"{program}: a program is a bare name or an absolute path")
    bind = _bind_of(path, settings)
    return path if bind is None else bind.source / path.relative_to(bind.target)


def _bind_of(path: Path, settings: HandSettings) -> Bind | None:
    """The hand's bind by which the jail sees ``path``, if it is one of those: the launcher binds the deepest last."""
    for bind in sorted(jailed.binds(settings), key=lambda bind: len(Path(bind.target).parts), reverse=True):
        if path.is_relative_to(bind.target):
            return bind
    return None


def _paths(word: ActionSettings) -> set[str]:
    """Absolute paths that a command line names by itself, alone or as ``--option=PATH``."""
    found = set()
    for item in (word.argv or ())[1:]:
        for text in (item,) if isinstance(item, str) else item:
            named = text.partition("=")[2] if text.startswith("-") else text
            if named.startswith("/") and not {"{", "}"} & set(named):
                found.add(named)
    return found
