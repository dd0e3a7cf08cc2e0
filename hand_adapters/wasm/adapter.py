"""The ``wasm`` adapter: one module, compiled once in a jailed worker of each principal, instantiated for each call."""

import asyncio
import hashlib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Final

from gateway.calls import HandCall, HandResult
from gateway.canonical import canonical
from gateway.errors import Refused
from gateway.manifest import ActionManifest, Manifest
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import ActionSettings, HandSettings, SettingsError, WasmSettings
from hand_adapters import annotate, jailed
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.jail import INSIDE, Bind, Jail, JailedProcess, JailSpec
from hand_adapters.schemas import SchemaError
from hand_adapters.warm import WarmProcesses
from hand_adapters.wasm import answer
from hand_adapters.wasm.session import Session

MODULE_MAX_BYTES: Final = 67_108_864
COMMAND: Final = "_start"
"""The export of a WASI command."""
_HERE: Final = Path(__file__).parent
_SCALARS: Final = frozenset("ilfd")


class WasmAdapter:
    """One module. It has its arguments and its answer, and no file, clock, socket, environment or other call."""

    needs_jail: ClassVar[bool] = True

    def __init__(self, hand_id: str, settings: HandSettings, jail: Jail) -> None:
        self.id = hand_id
        self.notes: tuple[str, ...] = ()
        self._settings = settings
        self._told = _told(hand_id, settings)
        self._jail = jail
        self._workers = WarmProcesses(self._session, settings.jail_profile)
        self._seen: tuple[int, ...] = ()
        self._module = b""
        self._exports: Mapping[str, tuple[str, str]] = {}
        self._offered: Manifest | None = None
        self._asking = asyncio.Lock()

    @classmethod
    def validate(cls, hand_id: str, settings: HandSettings) -> None:
        """Check the declaration. Raises ``SettingsError``: no runtime or module, parameters that are no arguments, a
        placeholder, a bad schema or profile."""
        if find_spec("wasmtime") is None:
            raise SettingsError(
                f"hands.{hand_id}: adapter = 'wasm' needs the extra wasm (pip install 'handrail[wasm]')"
            )
        jailed.check(hand_id, settings)
        told = _told(hand_id, settings)
        if not told.module.exists():
            raise SettingsError(f"hands.{hand_id}.wasm.module: {told.module} does not exist")
        if settings.binds:
            raise SettingsError(f"hands.{hand_id}.binds: a wasm hand sees no directory")
        for name, word in settings.actions.items():
            _check(f"hands.{hand_id}.actions.{name}", word)
        annotate.declared(hand_id, settings)

    def confinement(self, profile: str) -> Mapping[str, str]:
        """Tier and digest of what confines a call: the jail of the worker, the runtime, and its limits."""
        limits = {
            "jail_sha256": self._jail.profile_sha256(profile),
            "memory_max_bytes": self._told.memory_max_bytes,
            "allow": sorted(self._told.allow),
            "runtime": f"wasmtime {_runtime()}",
        }
        return {"tier": "wasm", "profile_sha256": hashlib.sha256(canonical(limits)).hexdigest()}

    async def manifest(self) -> Manifest:
        """Read the module, have a fresh worker compile it, and keep that worker for the first principal that calls.

        Raises:
            HandError: ``hand.unavailable``: no such file, another content than declared, or no module that can be
                used; ``hand.crashed``, ``hand.timeout``.
        """
        async with self._asking:
            return await self._ask()

    async def _ask(self) -> Manifest:
        seen = jailed.signature(self._told.module)
        module = jailed.read_file(self._told.module, MODULE_MAX_BYTES)
        sha256 = hashlib.sha256(module).hexdigest()
        if self._told.sha256 is not None and sha256 != self._told.sha256:
            raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, f"the module's digest is {sha256}")
        if module != self._module:
            self._offered = None
            await self._workers.close()
        self._seen, self._module = seen, module
        session = self._workers.new(self._settings.jail_profile)
        try:
            self._exports = await session.opened
        except BaseException:
            self._workers.retire(session)
            raise
        self._workers.keep(session)
        self._offered = self._describe(sha256)
        return self._offered

    async def run(self, call: HandCall) -> HandResult:
        """Run one call in an instance of its own.

        Raises:
            HandDrifted: the module's file has changed since it was pinned.
            HandError: ``schema.args``, ``gateway.overloaded``, ``hand.unavailable`` (not executed); ``hand.timeout``
                (its time or its fuel is used up), ``hand.crashed`` (a trap), ``hand.result_too_large``,
                ``hand.protocol`` (executed: a module has no side effects, so nothing is ambiguous).
        """
        if self._offered is None or jailed.signature(self._told.module) != self._seen:
            await self.manifest()
        if self._offered is None or self._offered.digest != call.manifest_digest:
            raise HandDrifted(self._offered or await self.manifest())
        word = self._settings.actions[call.action]
        export = word.export or COMMAND
        question = {
            "export": export,
            "argv": ["hand", *map(str, word.argv or ())] if export == COMMAND else [],
            "params": answer.parameters(
                self._exports[export][0], [(name, call.args.get(name)) for name in word.params]
            ),
            "stdin": call.args_bytes.decode() if export == COMMAND else "",
            "fuel_max": word.fuel_max,
            "output_max_bytes": call.result_max_bytes,
        }
        profile = call.jail_profile or self._settings.jail_profile
        worker = self._workers.of((call.tenant, call.principal_id, profile))
        said = await worker.call(question, call.deadline_seconds, answer.line_max_bytes(call.result_max_bytes))
        return answer.result(said)

    async def close(self) -> None:
        """Kill every worker."""
        await self._workers.close()
        self._offered = None

    def _describe(self, sha256: str) -> Manifest:
        actions: list[ActionManifest] = []
        notes: list[str] = []
        for name, word in self._settings.actions.items():
            export = word.export or COMMAND
            types = self._exports.get(export)
            if types is None or not _SCALARS.issuperset("".join(types)) or len(types[0]) != len(word.params):
                notes.append(f"Action {name} is left out: the module exports no fitting {export}.")
                continue
            claims = {
                "module_sha256": sha256,
                "export": export,
                "argv": list(word.argv or ()),
                "params": list(word.params),
                "fuel_max": str(word.fuel_max),
                "memory_max_bytes": self._told.memory_max_bytes,
                "allow": sorted(self._told.allow),
            }
            try:
                actions.append(
                    annotate.action(
                        name,
                        word,
                        args_schema=word.args_schema,
                        result_schema=word.result_schema,
                        description=word.description or "",
                        annotations=claims,
                    )
                )
            except SchemaError as exc:
                notes.append(f"Action {name} is left out: its schema {exc.detail}.")
        self.notes = tuple(notes)
        try:
            return annotate.manifest(self.id, self._settings, actions)
        except Refused as refused:
            raise HandError(Reason.HAND_PROTOCOL, HandFailure.NOT_EXECUTED, refused.detail) from None

    def _session(self, profile: str) -> Session:
        async def start() -> JailedProcess:
            binds = (Bind(_HERE, "/wasm"), INSIDE)
            argv = ("python", "-I", "/wasm/worker.py")
            return await self._jail.start(JailSpec(argv, profile=profile, binds=binds, env=jailed.ENVIRONMENT))

        setup = {"memory_max_bytes": self._told.memory_max_bytes, "allow": list(self._told.allow)}
        return Session(start, setup, self._module, self._settings.idle_seconds)


def _told(hand_id: str, settings: HandSettings) -> WasmSettings:
    if settings.wasm is None:
        raise SettingsError(f"hands.{hand_id}: adapter = 'wasm' needs the table wasm")
    return settings.wasm


def _check(where: str, word: ActionSettings) -> None:
    properties = (word.args_schema or {}).get("properties", {})
    required = set((word.args_schema or {}).get("required", ()))
    if any(not isinstance(item, str) or "{" in item for item in word.argv or ()):
        raise SettingsError(f"{where}.argv: plain texts; a module reads its arguments as JSON on its standard input")
    if word.export is None and word.params:
        raise SettingsError(f"{where}.params: only an exported function has parameters")
    if word.export is not None and (set(word.params) != set(properties) or set(word.params) - required):
        raise SettingsError(f"{where}.params: every argument, and each of them required")


def _runtime() -> str:
    try:
        return version("wasmtime")
    except PackageNotFoundError:
        return "absent"
