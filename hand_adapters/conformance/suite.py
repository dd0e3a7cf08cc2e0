"""The whole check of one hand, in its order."""

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from gateway.errors import HandrailError
from gateway.manifest import Manifest, SideEffects
from gateway.mcp_methods import McpMethod, is_question
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings, JailSettings, SettingsError
from hand_adapters.conformance import answering, ending, offering, repeating, together
from hand_adapters.conformance.options import Options
from hand_adapters.conformance.promises import Promise, Status, Verdict
from hand_adapters.conformance.report import Report
from hand_adapters.conformance.traces import Traces, WatchedJail, overhearing
from hand_adapters.conformance.trial import Trial, Tried
from hand_adapters.contract import HandAdapter, HandError
from hand_adapters.jail import Jail, JailError, JailSpec
from hand_adapters.registry import ASK_SECONDS

Advance = Callable[[int, int], None]
"""Told how many parts are done, and of how many."""
_PARTS_OF_AN_ACTION: Final = 7


async def check_adapter(
    adapter_class: type[HandAdapter],
    settings: HandSettings | Mapping[str, Any],
    *,
    hand_id: str = "hand",
    options: Options | None = None,
) -> Report:
    """Check an adapter with one hand of its kind, for the tests of whoever writes it::

        report = await check_adapter(AcmeAdapter, {"adapter": "acme", "actions": {...}})
        assert not report.broken, report.text()

    Args:
        settings: the hand's declaration, as ``[hands.ID]`` has it.

    Raises:
        SettingsError: a declaration that is refused, or options that name what there is not.
        HandError: it cannot be asked what it offers.
    """
    declared = settings if isinstance(settings, HandSettings) else HandSettings.model_validate(settings)
    with tempfile.TemporaryDirectory(prefix="handrail-check-") as home:
        jail = WatchedJail(JailSettings(), Path(home))
        try:
            return await check_hand(hand_id, declared, adapter_class, jail, options or Options())
        finally:
            await jail.close()


async def check_hand(
    hand_id: str,
    settings: HandSettings,
    kind: type[HandAdapter],
    jail: Jail,
    options: Options,
    advance: Advance = lambda _done, _all: None,
) -> Report:
    """Check one hand. No log is written, no secret store is asked, and nothing is called that may have side effects but
    what ``options`` names.

    Raises:
        SettingsError: as :func:`check_adapter` says.
        HandError: the same.
    """
    with overhearing() as lines:
        try:
            kind.validate(hand_id, settings)
            if kind.needs_jail:
                await jail.run(JailSpec(("true",)))  # so that the launcher was there before the hand
            before = Traces.now()
            adapter = kind(hand_id, settings, jail)
        except JailError as exc:
            raise HandError(exc.reason, HandFailure.NOT_EXECUTED, exc.detail) from None
        except HandrailError:
            raise
        except Exception as exc:  # noqa: BLE001 - an adapter's
            return _not_asked(hand_id, settings, options, f"building it raised {type(exc).__name__}")
        try:
            built = Traces.now().since(before)
            try:
                manifest = await _asked(adapter)
            except HandrailError:
                raise
            except Exception as exc:  # noqa: BLE001 - an adapter's
                await _let_go(adapter)
                seen = f"manifest raised {type(exc).__name__}, which is no HandError"
                return _not_asked(hand_id, settings, options, seen)
            _check_names(manifest, settings, options)
            trial = Trial(adapter, manifest, settings, jail, options)
            trial.lines = lines
            if built:
                trial.broken(Promise.MANIFEST, f"building it left {built}: it must not touch the tool")
            await _tried(trial, lambda: kind(hand_id, settings, jail), before, advance)
        except BaseException:
            await _let_go(adapter)
            raise
        return _report(hand_id, trial)


async def _let_go(adapter: HandAdapter) -> None:
    """Close an adapter of which nothing more is told."""
    await asyncio.gather(adapter.close(), return_exceptions=True)


async def _asked(adapter: HandAdapter) -> Manifest:
    try:
        async with asyncio.timeout(ASK_SECONDS):
            return await adapter.manifest()
    except TimeoutError:
        detail = f"it did not say what it offers within {ASK_SECONDS:.0f} s"
        raise HandError(Reason.HAND_TIMEOUT, HandFailure.NOT_EXECUTED, detail) from None


async def _tried(trial: Trial, anew: Callable[[], HandAdapter], before: Traces, advance: Advance) -> None:
    await offering.manifest(trial, anew)
    offering.declaration(trial)
    offering.schemas(trial)
    chosen = trial.options.actions or trial.manifest.actions.keys()
    trial.actions = {name: tried for name, tried in trial.actions.items() if name in chosen}
    parts, done = len(trial.actions) * _PARTS_OF_AN_ACTION + 2, 0

    def went_on() -> None:
        nonlocal done
        done += 1
        advance(done, parts)

    for name, tried in trial.actions.items():
        tried.examples = [*tried.inputs.take(trial.options.examples)]
        _leave_out(trial, name, tried)
        offering.arguments(trial, name, tried)
        answering.analysis(trial, name, tried)
        went_on()
    for name, tried in trial.called():
        await answering.examples(trial, name, tried)
        went_on()
    probes = repeating.Probes(trial)
    await probes.find()
    for name, tried in trial.called():
        for check in (answering.result_size, answering.drift, together.concurrency):
            await check(trial, name, tried)
        went_on()
        await repeating.side_effects(trial, name, tried, probes)
        await repeating.idempotent(trial, name, tried, probes)
        went_on()
        await ending.deadline(trial, name, tried)
        went_on()
        await ending.cancellation(trial, name, tried)
        went_on()
    await ending.restart(trial)
    await ending.close(trial, before)
    trial.look_around()
    _sum_up_secrets(trial)
    advance(parts, parts)


def _check_names(manifest: Manifest, settings: HandSettings, options: Options) -> None:
    """Refuse options that name what there is not: a name that is mistyped would check nothing.

    Raises:
        SettingsError: naming it.
    """
    named = {*options.actions, *options.allow_effects, *options.inputs}
    if unknown := sorted(named - manifest.actions.keys()):
        raise SettingsError(f"{manifest.hand} offers no {unknown[0]}; it offers {', '.join(sorted(manifest.actions))}")
    if unknown := sorted(options.secrets.keys() - settings.secrets.keys()):
        raise SettingsError(f"{manifest.hand} names no secret {unknown[0]}")


def _leave_out(trial: Trial, name: str, tried: Tried) -> None:
    if trial.manifest.client:
        tried.left_out = "the client runs it: there is nothing here to call"
    elif trial.manifest.remote:
        tried.left_out = "a remote hand is not called: it comes for its steps itself"
    elif is_question(trial.manifest.adapter, name) or name == McpMethod.RESOURCES_SUBSCRIBE:
        tried.left_out = "it needs a client that waits"
    elif not tried.changes_nothing and name not in trial.options.allow_effects:
        worst = tried.word.side_effects if tried.word.side_effects is not SideEffects.NONE else "others in its manifest"
        tried.left_out = f"side_effects: {worst}; it is called where --allow-effects names it"
    elif not tried.examples:
        tried.left_out = "no arguments could be made of its schema: give it some"


def _sum_up_secrets(trial: Trial) -> None:
    named = set(trial.canaries.values)
    if missed := sorted(named - trial.canaries.injected):
        trial.not_shown(Promise.SECRETS, f"no request asked for {', '.join(missed)}")
    else:
        trial.kept(Promise.SECRETS, f"the step credential and {len(named)} secrets were seen nowhere", calls=len(named))


def _report(hand_id: str, trial: Trial) -> Report:
    return Report(
        hand=hand_id,
        adapter=trial.settings.adapter,
        digest=trial.manifest.digest,
        options=trial.options,
        verdicts=tuple(trial.verdicts),
        called=tuple(name for name, _ in trial.called()),
        left_out={name: tried.left_out for name, tried in trial.actions.items() if tried.left_out},
        unended=any(not task.done() for task in trial.unended),
    )


def _not_asked(hand_id: str, settings: HandSettings, options: Options, seen: str) -> Report:
    return Report(hand_id, settings.adapter, "", options, (Verdict(Promise.ERRORS, Status.BROKEN, seen),))
