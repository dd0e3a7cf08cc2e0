"""The ``python`` adapter: each call has an interpreter of its own, which nobody has used; one is kept ready.

The wait for an interpreter and its imports is over before the call comes, and nothing that a function leaves behind (a
global, a file, a thread) is there for the next one, whoever asks.
"""

import asyncio
import sys
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

import orjson

from gateway.calls import HandCall, HandResult
from gateway.errors import Refused
from gateway.manifest import ActionManifest, Manifest
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import ActionSettings, HandSettings, PythonSettings, SettingsError
from hand_adapters import annotate, exchange, jailed
from hand_adapters.contract import HandDrifted, HandError
from hand_adapters.egress import gate, serving
from hand_adapters.jail import INSIDE, Bind, Jail
from hand_adapters.python.interpreter import PROCESSES_MAX, Interpreter, Interpreters
from hand_adapters.python.result import result
from hand_adapters.python.workspaces import Workspaces
from hand_adapters.schemas import SchemaError
from hand_adapters.toolsets import TOOLSETS

RUNNER: Final = Path(__file__).with_name("runner.py")


class PythonAdapter:
    """Functions of one source. Their process never sees the step credential, a principal or another call."""

    needs_jail: ClassVar[bool] = True

    def __init__(self, hand_id: str, settings: HandSettings, jail: Jail) -> None:
        self.id = hand_id
        self.notes: tuple[str, ...] = ()
        self.at_once = PROCESSES_MAX - 1  # one starts for the next call meanwhile
        self._settings = settings
        self._functions = _functions(hand_id, settings)
        self._source_sha256 = ""
        self._offered: Manifest | None = None
        told = _told(hand_id, settings)
        source = _source(told).absolute()
        self._workspaces = None if told.workspaces is None else Workspaces(told.workspaces, told.workspaces_days, jail)
        self._pool = Interpreters(
            jail,
            program=str(told.interpreter.absolute()) if told.interpreter else "python",
            binds=(
                Bind(RUNNER, "/runner.py"),
                INSIDE,
                Bind(source, f"/hand/{source.name}"),
                *jailed.binds(settings),
            ),
            env=jailed.environment(settings),
            setup={"source": source.name, "functions": self._functions},
            idle_seconds=settings.idle_seconds,
            gate=partial(gate, hand_id, settings),
        )

    @classmethod
    def validate(cls, hand_id: str, settings: HandSettings) -> None:
        """Check the declaration. Raises ``SettingsError``: no such source or interpreter, a source that hides a module
        of the standard library, an action whose function has no name, a bad schema, profile or bind."""
        jailed.check(hand_id, settings)
        told = _told(hand_id, settings)
        where = f"hands.{hand_id}.python"
        source = _source(told)
        if not source.exists():
            raise SettingsError(f"{where}.source: {source} does not exist")
        if not source.is_dir() and source.suffix != ".py":
            raise SettingsError(f"{where}.source: a file NAME.py or a package directory")
        if not source.stem.isidentifier() or source.stem in sys.stdlib_module_names:
            raise SettingsError(f"{where}.source: {source.stem} cannot be the name of a module of yours")
        if told.workspaces is not None and not told.workspaces.is_dir():
            raise SettingsError(f"{where}.workspaces: {told.workspaces} is no directory")
        if told.interpreter is not None and not told.interpreter.exists():
            raise SettingsError(f"{where}.interpreter: {told.interpreter} does not exist")
        _functions(hand_id, settings)
        for name, word in settings.actions.items():
            if word.args_schema is not None:
                try:
                    _action(name, word, {}, {})
                except SchemaError as exc:
                    raise SettingsError(f"hands.{hand_id}.actions.{name}: schema {exc.detail}") from None

    async def manifest(self) -> Manifest:
        """Ask a fresh interpreter, in the jail, what the functions take and what the source's digest is.

        Raises:
            HandError: ``hand.unavailable``, ``hand.crashed`` (it does not import), ``hand.timeout``, ``hand.protocol``.
        """
        interpreter = await self._pool.start(self._settings.jail_profile, describe=True)
        try:
            said = interpreter.said
        finally:
            await self._pool.end(interpreter)
        actions: list[ActionManifest] = []
        notes: list[str] = []
        for name, word in self._settings.actions.items():
            described = said["actions"].get(name) or {}
            try:
                actions.append(_action(name, word, described, self._claims(name, said["sha256"])))
            except SchemaError as exc:
                notes.append(f"Action {name} is left out: {described.get('problem') or f'its schema {exc.detail}'}.")
        try:
            offered = annotate.manifest(self.id, self._settings, actions)
        except Refused as refused:
            raise HandError(Reason.HAND_PROTOCOL, HandFailure.NOT_EXECUTED, refused.detail) from None
        self.notes, self._source_sha256, self._offered = tuple(notes), said["sha256"], offered
        return offered

    async def run(self, call: HandCall) -> HandResult:
        """Run one function in an interpreter that nobody has used, within the deadline, and end it.

        Raises:
            HandDrifted: the source is not the pinned one.
            HandError: ``gateway.overloaded``, ``hand.unavailable`` (not executed); ``hand.timeout``, ``hand.crashed``,
                ``hand.protocol``, ``hand.result_too_large`` (not executed before the function was called; then
                unknown, or executed where the action has no side effects).
        """
        began: list[bool] = []
        action = self._settings.actions[call.action]
        try:
            async with asyncio.timeout(call.deadline_seconds):
                if self._offered is None:
                    await self.manifest()
                return await self._run(call, action, began)
        except TimeoutError:
            failure = jailed.cut_short(action) if began else HandFailure.NOT_EXECUTED
            raise HandError(Reason.HAND_TIMEOUT, failure) from None

    async def close(self) -> None:
        """Kill every interpreter, those of calls under way too."""
        await self._pool.close()
        if self._workspaces is not None:
            await self._workspaces.close()

    async def _run(self, call: HandCall, action: ActionSettings, began: list[bool]) -> HandResult:
        profile = call.jail_profile or self._settings.jail_profile
        own = profile == self._settings.jail_profile and self._workspaces is None
        seen = () if self._workspaces is None else (await self._workspaces.bind(call.tenant, call.context_id),)
        interpreter = await self._pool.take(profile, spare=own, binds=seen)
        try:
            await self._compare(call, interpreter)
            if await interpreter.stale():
                raise HandDrifted(await self.manifest())
            began.append(True)
            question = orjson.dumps({"action": call.action, "args": dict(call.args)}) + b"\n"
            failure = jailed.cut_short(action)
            async with serving(interpreter.way_out, call):
                said = await exchange.ask(interpreter.process, question, call.result_max_bytes, failure)
        finally:
            await self._pool.end(interpreter)
            if own:
                self._pool.prepare(profile)
        return result(said, action, failure)

    def _claims(self, name: str, sha256: str) -> dict[str, Any]:
        """How an action is run, as the manifest shows and pins it."""
        told, word = _told(self.id, self._settings), self._settings.actions[name]
        interpreter = None if told.interpreter is None else str(told.interpreter)
        return {
            "function": self._functions[name],
            "source_sha256": sha256,
            "interpreter": interpreter,
            "error_text": word.error_text,
            **({} if told.workspaces is None else {"workspaces": str(told.workspaces)}),
        }

    async def _compare(self, call: HandCall, interpreter: Interpreter) -> None:
        if interpreter.said["sha256"] != self._source_sha256:
            raise HandDrifted(await self.manifest())
        if self._offered is None or self._offered.digest != call.manifest_digest:
            raise HandDrifted(self._offered or await self.manifest())


def _told(hand_id: str, settings: HandSettings) -> PythonSettings:
    if settings.python is None:
        raise SettingsError(f"hands.{hand_id}: adapter = 'python' needs the table python")
    return settings.python


def _source(told: PythonSettings) -> Path:
    if told.source is not None:
        return Path(told.source)
    if told.toolset is None:
        raise SettingsError("python: a source or a toolset is needed")
    return TOOLSETS[told.toolset]


def _functions(hand_id: str, settings: HandSettings) -> dict[str, str]:
    """Action -> ``module:function``."""
    stem = _source(_told(hand_id, settings)).stem
    functions = {name: word.function or f"{stem}:{name}" for name, word in settings.actions.items()}
    for name, reference in functions.items():
        module, _, function = reference.partition(":")
        if module.split(".")[0] != stem or not function.isidentifier():
            raise SettingsError(f"hands.{hand_id}.actions.{name}.function: name a function of {stem}")
    return functions


def _action(name: str, word: ActionSettings, described: dict[str, Any], claims: dict[str, Any]) -> ActionManifest:
    """One action; where the operator declares a schema or a description, that is the one."""
    args = word.args_schema if word.args_schema is not None else described.get("args_schema")
    if args is None:
        raise SchemaError("is not known")
    return annotate.action(
        name,
        word,
        args_schema=args,
        result_schema=word.result_schema if word.result_schema is not None else described.get("result_schema"),
        description=word.description or described.get("description") or "",
        annotations=claims,
    )
