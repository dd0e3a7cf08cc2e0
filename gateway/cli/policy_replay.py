"""``handrail policy replay`` and ``handrail policy inputs``: what a bundle would have decided."""

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, Literal

import orjson
import typer

from gateway.cli.candidates import Candidate, candidate
from gateway.cli.command import command, group
from gateway.cli.connect import Connection, Session
from gateway.cli.differences import show_differences
from gateway.cli.exits import Exit, Stop
from gateway.cli.options import Config
from gateway.cli.output import Output
from gateway.cli.saving import Force, saving
from gateway.cli.times import moment
from gateway.policy.bundle import Bundle
from gateway.policy.differences import CONSEQUENTIAL, Kind
from gateway.policy.faults import BundleError
from gateway.policy.judges import judging
from gateway.policy.replay import Page, ReplayReport, replay
from gateway.policy.replay_report import markdown
from gateway.rendering import moment as people
from gateway.settings import PolicySettings
from gateway.settings import load as load_settings
from gateway.times import format_time

app = group()

PAGE_LIMIT: Final = 1000
FILE_PAGE_LINES: Final = 500
FILE_PAGE_BYTES: Final = 4_194_304
LINE_MAX_BYTES: Final = 33_554_432
HEADER: Final = {"handrail": "evaluations", "v": 1}

Since = Annotated[
    str | None,
    typer.Option(
        help="How far back: 7d, 12h, 30m, or a date or time. Default: 7d, or all of a file.", show_default=False
    ),
]
Until = Annotated[str | None, typer.Option(help="Up to when. Default: now.")]


@command(
    app,
    "replay",
    example="policy replay --bundle policies --since 7d",
    good="nothing differs",
    negative="something does, or too little was recorded",
)
def replay_(
    session: Session,
    bundle: Candidate = None,
    since: Since = None,
    until: Until = None,
    inputs: Annotated[
        Path | None, typer.Option(help="A recording that 'policy inputs' wrote; then no gateway is asked.")
    ] = None,
    engine: Annotated[Literal["embedded", "opa"] | None, typer.Option(help="Default: the configured one.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Evaluator processes. Default: one for each core.")
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(help="Differences that make it exit 1, or 'none'. Repeat. Default: all but reasons_changed."),
    ] = None,
    at_least: Annotated[
        int, typer.Option(min=0, help="Exit 1 where fewer recorded decisions than these could be compared.")
    ] = 1,
    markdown_: Annotated[bool, typer.Option("--markdown", help="Print Markdown for a pull-request comment.")] = False,
    config: Config = None,
) -> Exit:
    """Decide recorded inputs again by a candidate bundle."""
    out = session.out
    failing = _failing(fail_on)
    limits = load_settings(config).policy
    window = Window.of(since or ("7d" if inputs is None else None), until)
    pages = window.from_file(inputs) if inputs is not None else window.from_gateway(session.connection)
    count = workers or os.cpu_count() or 1
    try:
        chosen = candidate(session, bundle, limits)
        report = asyncio.run(_replay(out, chosen, pages, engine or limits.engine, count, limits))
    except BundleError as exc:
        hint = "'handrail policy check BUNDLE' lists every problem."
        raise Stop(f"the candidate is refused: {exc.detail}", hint) from None
    document = {**window.document(), **report.document()}
    if markdown_ and not out.json:
        out.raw(markdown(document, window.words))
    else:
        out.show(document, lambda: _show(out, document))
    if report.decisions < at_least:
        out.note(f"Only {report.decisions} recorded decisions could be compared; --at-least asks for {at_least}.")
        return Exit.NEGATIVE
    return Exit.NEGATIVE if any(report.tally.kinds[kind] for kind in failing) else Exit.GOOD


@command(app, example="policy inputs --out inputs.ndjson --since 7d", good="they were saved")
def inputs(
    session: Session,
    file: Annotated[Path, typer.Option("--out", help="The file to write (NDJSON, mode 0600).")],
    force: Force = False,
    since: Since = None,
    until: Until = None,
) -> None:
    """Save recorded inputs for a replay without a gateway (mode 0600: they hold the arguments of real calls)."""
    window = Window.of(since or "7d", until)
    with saving(file, force=force, private=True) as stream:
        counts = asyncio.run(_save(session.out, window, session.connection, stream))
    session.out.show(
        {"file": str(file), **counts},
        lambda: session.out.facts([("file", str(file)), *((name, f"{count:,}") for name, count in counts.items())]),
    )


class Window:
    """The time that is asked about, and the two places where its recording can be read."""

    def __init__(self, since: int, until: int) -> None:
        self.since = since
        self.until = until

    @classmethod
    def of(cls, since: str | None, until: str | None) -> "Window":
        """The time between two options; from ever where ``since`` is ``None``, up to now where ``until`` is."""
        now = time.time()
        # A fixed end: a busy gateway would otherwise record faster than we read.
        end = moment(until, "--until", now) if until else int(now) + 1
        window = cls(0 if since is None else moment(since, "--since", now), end)
        if window.since >= window.until:
            raise Stop("--since is not before --until", "--since 7d means from seven days ago.")
        return window

    @property
    def words(self) -> str:
        """For people."""
        begin = f"from {people(self.since)} " if self.since else ""
        return f"{begin}up to {people(self.until)}"

    def document(self) -> dict[str, str]:
        """For programs."""
        return {"since": format_time(self.since), "until": format_time(self.until)}

    async def from_gateway(self, connection: Connection) -> AsyncIterator[Page]:
        """The gateway's pages."""
        async for body in self.bodies(connection):
            *lines, last = body.splitlines()
            end = orjson.loads(last)
            done = end["end"] if end["next"] is None else end["next"]
            yield Page(map(orjson.loads, lines), done - end["first"], end["end"] - end["first"])

    async def bodies(self, connection: Connection) -> AsyncIterator[bytes]:
        """The gateway's pages as they come; the last line of each says where to go on."""
        from handrail import AsyncClient  # noqa: PLC0415 - an HTTP client is loaded only by commands that use one

        async with AsyncClient(connection.url, connection.api_key) as client:
            after: int | None = None
            while True:
                body = await client.evaluations(**self.document(), after=after, limit=PAGE_LIMIT)
                yield body
                after = orjson.loads(body.splitlines()[-1])["next"]
                if after is None:
                    return

    async def from_file(self, file: Path) -> AsyncIterator[Page]:
        """A saved recording, in pages. Raises ``Stop`` where the file is none."""
        since, until = self.document().values()
        with file.open("rb") as stream:
            total = os.fstat(stream.fileno()).st_size
            if _header(stream.readline(LINE_MAX_BYTES)) != HEADER:
                raise Stop(f"{file}: not a recording", "'handrail policy inputs --out FILE' writes one.")
            lines: list[Mapping[str, Any]] = []
            size = 0
            while line := stream.readline(LINE_MAX_BYTES):
                size += len(line)
                recorded = _line(line)
                if since <= str(recorded.get("time", since)) < until:
                    lines.append(recorded)
                if len(lines) >= FILE_PAGE_LINES or size >= FILE_PAGE_BYTES:
                    yield Page(lines, stream.tell(), total)
                    lines, size = [], 0
            yield Page(lines, total, total)


def _header(line: bytes) -> Any:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return {name: found.get(name) for name in HEADER} if isinstance(found, dict) else None


def _line(line: bytes) -> Mapping[str, Any]:
    """A line of a file that anybody may have written; what is no evaluation is counted as unreadable."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


async def _replay(
    out: Output, candidate: Bundle, pages: AsyncIterator[Page], engine: Literal["embedded", "opa"], workers: int,
    limits: PolicySettings,
) -> ReplayReport:  # fmt: skip
    with out.progress("deciding again", None) as advance:
        async with judging(candidate, engine, workers=workers, limits=limits) as judge:
            with _loaded_spared():
                return await replay(pages, judge, workers=workers, progress=advance)


@contextmanager
def _loaded_spared() -> Iterator[None]:
    """Keep the collector off what is loaded and stays: to walk it again and again takes as long as all else here."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


async def _save(out: Output, window: Window, connection: Connection, stream: BinaryIO) -> dict[str, int]:
    counts = {"evaluations": 0, "erased": 0, "unreadable": 0}
    with out.progress("reading", None) as advance:
        about = {**HEADER, **window.document()}
        stream.write(orjson.dumps(about) + b"\n")
        async for body in window.bodies(connection):
            *lines, last = body.splitlines(keepends=True)
            for line in lines:
                counts[orjson.loads(line).get("fault", "evaluations")] += 1
            stream.writelines(lines)
            end = orjson.loads(last)
            advance((end["next"] or end["end"]) - end["first"], end["end"] - end["first"])
    return counts


def _failing(asked: list[str] | None) -> tuple[Kind, ...]:
    if not asked:
        return CONSEQUENTIAL
    if asked == ["none"]:
        return ()
    try:
        return tuple(Kind(word) for word in asked)
    except ValueError:
        raise Stop(
            f"--fail-on {', '.join(asked)}: no such difference", f"There are: {', '.join(Kind)}; or none."
        ) from None


def _show(out: Output, report: Mapping[str, Any]) -> None:
    out.facts(
        [
            ("candidate", report["candidate"]),
            ("decisions", f"{report['decisions']:,} recorded, {report['unchanged']:,} the same"),
            ("erased", f"{report['erased']:,}" if report["erased"] else ""),
            ("unreadable", f"{report['unreadable']:,}" if report["unreadable"] else ""),
            ("not comparable", f"{report['not_comparable']:,}" if report["not_comparable"] else ""),
            ("no answer", ", ".join(f"{code} {count:,}" for code, count in report["faults"].items())),
        ]
    )
    out.line("")
    show_differences(out, report, "Nothing was recorded that could be compared.")
