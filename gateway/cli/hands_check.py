"""``handrail hands check``: try what a hand promises. Asks no gateway, opens no secret, and writes no log."""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.canonical import parse
from gateway.cli import secret_values
from gateway.cli.command import command, group
from gateway.cli.exits import Exit, Stop, unreadable
from gateway.cli.jailing import jailing
from gateway.cli.options import Config
from gateway.cli.output import Output
from gateway.errors import Refused
from gateway.files import read_bounded
from gateway.safe import safe_json
from gateway.settings import HandSettings, Settings, load
from hand_adapters.conformance import TEXTS, Options, Report, Status, WatchedJail, check_hand
from hand_adapters.conformance.options import new_seed
from hand_adapters.contract import HandError
from hand_adapters.kinds import kind_of

app = group()
_DEADLINE_SECONDS: Final = 10.0
_INPUTS_MAX_BYTES: Final = 16_777_216
_SHOWN_MAX: Final = 300
"""Characters of arguments in the table; JSON and JUnit have them whole."""


@command(
    app,
    "check",
    example="hands check prices --junit hands.xml",
    good="every action was called, and no promise was broken",
    negative="a promise was broken",
    unreachable="the hand cannot be asked what it offers",
    waiting="nothing was broken, and not every action was called",
)
def check(
    out: Output,
    hand_id: Annotated[str, typer.Argument(metavar="ID", help="A hand of the configuration.")],
    action: Annotated[list[str] | None, typer.Option(help="Check this one; again for more. Default: all.")] = None,
    examples: Annotated[int, typer.Option(min=1, max=10_000, help="Arguments to try each action with.")] = 25,
    seed: Annotated[int | None, typer.Option(min=0, help="Of an earlier check, to make the same arguments.")] = None,
    allow_effects: Annotated[
        list[str] | None, typer.Option(help="Call this action although it may change something; again for more.")
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option(help='Arguments to try first: {"ACTION": [{...}, ...]} in a JSON file.')
    ] = None,
    secret: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE with a secret of a test account; again for more.")
    ] = None,
    deadline: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Seconds that a call may take at most.")
    ] = _DEADLINE_SECONDS,
    digest: Annotated[str | None, typer.Option(help="The manifest that was reviewed.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML there, too.")] = None,
    config: Config = None,
) -> Exit:
    """Try what a hand promises, with arguments made from its schemas.

    No gateway is asked, no secret store is opened, and nothing is written to the log. Secrets are made up but for those
    of --secret. An action that may change something is called only where --allow-effects names it.
    """
    settings = load(config)
    declared = settings.hands.get(hand_id)
    if declared is None:
        there = ", ".join(sorted(settings.hands)) or "none"
        raise Stop(f"{hand_id}: the configuration declares no such hand", f"There are: {there}.")
    options = Options(
        examples=examples,
        seed=new_seed() if seed is None else seed,
        actions=frozenset(action or ()),
        allow_effects=frozenset(allow_effects or ()),
        inputs=_inputs(inputs),
        secrets=_secrets(secret or []),
        digest=digest,
        call_seconds=deadline,
        words=_words(config, inputs, secret or [], deadline),
    )
    report = _run(out, settings, hand_id, declared, options)
    if junit is not None:
        try:
            junit.write_text(report.junit(), encoding="utf-8")
        except OSError as exc:
            raise unreadable(junit, exc) from None
    out.show(report.document(), lambda: _show(out, report))
    code = Exit.NEGATIVE if report.broken else Exit.GOOD if report.complete else Exit.WAITING
    if report.unended:  # the event loop would wait for it for ever
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(code))
    return code


def _run(out: Output, settings: Settings, hand_id: str, declared: HandSettings, options: Options) -> Report:
    runner = asyncio.Runner()
    report = None
    try:
        with out.progress(f"checking {hand_id}", None) as advance:
            report = runner.run(_check(settings, hand_id, declared, options, advance))
    except HandError as error:
        raise Stop(
            f"{hand_id} cannot be asked what it offers: {error.detail or error.text}",
            "Nothing was checked. 'handrail doctor' looks at what this machine needs.",
            Exit.UNREACHABLE,
        ) from None
    finally:
        if report is None or not report.unended:
            runner.close()
    return report


async def _check(settings: Settings, hand_id: str, declared: HandSettings, options: Options, advance: Any) -> Report:
    kind = kind_of(declared)
    if kind.needs_jail:
        async with jailing(settings, WatchedJail) as jail:
            return await check_hand(hand_id, declared, kind, jail, options, advance)
    return await check_hand(hand_id, declared, kind, WatchedJail(settings.jail, settings.home), options, advance)


def _inputs(file: Path | None) -> Mapping[str, list[Mapping[str, Any]]]:
    if file is None:
        return {}
    try:
        given = parse(read_bounded(file, _INPUTS_MAX_BYTES, regular=False))
    except OSError as exc:
        raise unreadable(file, exc) from None
    except Refused:
        raise Stop(f"{file}: no strict JSON", 'Write {"ACTION": [{...}, ...]}.') from None
    if not isinstance(given, dict) or not all(
        isinstance(several, list) and all(isinstance(args, dict) for args in several) for several in given.values()
    ):
        raise Stop(f"{file}: not an object of lists of objects", 'Write {"ACTION": [{...}, ...]}.')
    return given


def _secrets(given: list[str]) -> Mapping[str, str]:
    files = dict(secret_values.named("--secret", one) for one in given)
    return {name: secret_values.from_file(file) for name, file in files.items()}


def _words(config: Path | None, inputs: Path | None, secret: list[str], deadline: float) -> tuple[str, ...]:
    """What the command has to say again, beside what the options of a check hold."""
    words = ["--deadline", f"{deadline:g}"] if deadline != _DEADLINE_SECONDS else []
    words += ["--inputs", str(inputs)] if inputs is not None else []
    words += [word for one in secret for word in ("--secret", one)]
    return (*words, *(["--config", str(config)] if config is not None else []))


def _show(out: Output, report: Report) -> None:
    out.facts(
        [
            ("hand", report.hand),
            ("adapter", report.adapter),
            ("manifest", report.digest),
            ("seed", str(report.options.seed)),
        ]
    )
    out.line("")
    out.table(
        ["promise", "action", "status", "seen"],
        ([one.promise, one.action or "", _WORDS[one.status], one.seen] for one in report.verdicts),
    )
    for one in report.broken:
        out.section(f"{one.promise}{f' of {one.action}' if one.action else ''}: {one.seen}", "bold red")
        out.line(TEXTS[one.promise])
        if one.args is not None:
            said = safe_json(one.args)
            out.line(f"arguments: {said if len(said) <= _SHOWN_MAX else said[:_SHOWN_MAX] + ' ...'}")
        out.line(f"again: handrail {report.again(one)}")
    for name, why in report.left_out.items():
        out.section(f"{name}: nothing is known of what it does. {why}", "yellow")
    out.section(_verdict(report))


def _verdict(report: Report) -> str:
    if report.broken:
        count = len({(one.promise, one.action) for one in report.broken})
        return f"{count} promise{'' if count == 1 else 's'} broken."
    if not report.complete:
        return "No promise was broken, and not every action was called."
    count = len(report.called)
    return f"No promise was broken. {count} action{' was' if count == 1 else 's were'} called."


_WORDS = {Status.KEPT: "kept", Status.BROKEN: "broken", Status.NOT_SHOWN: "not shown"}
