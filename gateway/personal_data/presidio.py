"""Presidio as one more way to find personal data: a process of its own, which may be slow, wrong or gone.

It runs in an interpreter that the operator names, because it brings some fifty distributions along, and it can be
killed: its patterns are Python's, which may take for ever, and its models are large. Whatever it does not answer in
time is unsearched.
"""

import json
import os
import selectors
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from gateway.errors import HandrailError
from gateway.reasons import Reason

WORKER: Final = Path(__file__).with_name("presidio_worker.py")
START_SECONDS: Final = 120.0
"""How long its models may take to load."""
ANSWER_MAX_BYTES: Final = 16_777_216
_CHUNK: Final = 65_536

Place = tuple[int, int, str]
"""Start and end in a text, in characters, and the kind."""
Ask = Callable[[Sequence[str]], list[list[Place]]]

_log = structlog.get_logger("handrail.presidio")


class Unsearched(Exception):
    """Presidio did not answer, in time or at all."""


class PresidioError(HandrailError):
    """Presidio cannot be used as it is configured; ``detail`` says why."""

    def __init__(self, why: str) -> None:
        super().__init__(Reason.REQUEST_MALFORMED, f"results.presidio: {why}")


class Presidio:
    """One worker. Threads ask it one after another; waiting for their turn is part of their time."""

    def __init__(
        self,
        interpreter: Path,
        entities: Mapping[str, str],
        *,
        language: str = "en",
        model: str | None = None,
        score_min: float = 0.5,
        deadline_seconds: float = 5.0,
    ) -> None:
        """
        Args:
            interpreter: a Python that has Presidio.
            entities: Presidio's name -> the kind that it is here.
            model: a spaCy pipeline that the interpreter can load; without one, Presidio's patterns alone.
            deadline_seconds: of everything that is asked about one result.
        """
        self.kinds = frozenset(entities.values())
        self._entities = dict(entities)
        wanted = {"language": language, "model": model, "entities": sorted(entities), "score_min": score_min}
        self._command = (str(interpreter), "-I", str(WORKER), json.dumps(wanted))
        self._deadline_seconds = deadline_seconds
        self._turn = threading.Lock()
        self._worker: _Worker | None = None
        self._closed = False

    def start(self) -> None:
        """Start the worker, and wait until it is ready.

        Raises:
            PresidioError: it cannot be.
        """
        with self._turn:
            try:
                worker = self._running()
            except Unsearched:
                raise PresidioError("the interpreter cannot be run") from None
            try:
                worker.get_ready(worker.started + START_SECONDS)
            except Unsearched:
                self._drop()
                raise PresidioError(worker.problem or "it did not begin") from None

    def session(self) -> Ask:
        """What asks about one result, for as long as its time lasts."""
        until = time.monotonic() + self._deadline_seconds
        return lambda texts: self._search(texts, until)

    def close(self) -> None:
        """End the worker."""
        with self._turn:
            self._closed = True
            self._drop()

    def _search(self, texts: Sequence[str], until: float) -> list[list[Place]]:
        if not self._turn.acquire(timeout=max(0.0, until - time.monotonic())):
            raise Unsearched
        try:
            if self._closed:
                raise Unsearched
            worker = self._running()
            if not worker.ready:
                worker.get_ready(until)
            try:
                return self._places(texts, worker.ask(texts, until))
            except Unsearched:
                self._drop()
                raise
        finally:
            self._turn.release()

    def _running(self) -> "_Worker":
        if self._worker is not None and self._worker.over:
            self._drop()
        if self._worker is None:
            try:
                self._worker = _Worker(self._command)
            except OSError as exc:
                _log.error("presidio does not start", kind=type(exc).__name__)
                raise Unsearched from None
        return self._worker

    def _drop(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def _places(self, texts: Sequence[str], said: Any) -> list[list[Place]]:
        """What was answered, in our words; nothing that was not asked.

        Raises:
            Unsearched: it is no answer.
        """
        try:
            places = [[(start, end, self._entities[entity]) for start, end, entity in one] for one in said]
            sound = len(places) == len(texts) and all(
                type(start) is int and type(end) is int and 0 <= start < end <= len(text)
                for text, one in zip(texts, places, strict=True)
                for start, end, _ in one
            )
        except (TypeError, ValueError, KeyError):
            sound = False
        if not sound:
            raise Unsearched
        return places


class _Worker:
    """A process, and lines to and from it with a deadline.

    Attributes:
        started: monotonic time.
        problem: why it is not ready, by its own word.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.started = time.monotonic()
        self.ready = False
        self.problem = ""
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
            cwd="/",
            start_new_session=True,
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("a process was asked for with pipes")
        self._inward, self._outward = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._inward, False)
        os.set_blocking(self._outward, False)
        self._read = bytearray()

    @property
    def over(self) -> bool:
        """Whether nothing is to be hoped of it."""
        late = not self.ready and time.monotonic() > self.started + START_SECONDS
        return late or self._process.poll() is not None

    def get_ready(self, until: float) -> None:
        """Wait for its first line. Raises ``Unsearched``. One that still loads is left alone: killed at each deadline,
        it would never be ready."""
        said = self._line(b"", until)
        if not isinstance(said, dict) or said.get("ready") is not True:
            self.problem = str(said.get("error", "")) if isinstance(said, dict) else ""
            _log.error("presidio is not ready", problem=self.problem)
            self._process.kill()
            raise Unsearched
        self.ready = True

    def ask(self, texts: Sequence[str], until: float) -> Any:
        """One question. Raises ``Unsearched``."""
        return self._line(json.dumps(list(texts)).encode() + b"\n", until)

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()

    def _line(self, question: bytes, until: float) -> Any:
        left = memoryview(question)
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._outward, selectors.EVENT_READ)
            if left:
                waiting.register(self._inward, selectors.EVENT_WRITE)
            while True:
                events = waiting.select(max(0.0, until - time.monotonic()))
                if not events:
                    raise Unsearched
                for key, _ in events:
                    if key.fd == self._inward:
                        left = left[self._write(left) :]
                        if not left:
                            waiting.unregister(self._inward)
                    elif self._receive():
                        return self._take()

    def _write(self, left: memoryview) -> int:
        try:
            return os.write(self._inward, left[:_CHUNK])
        except OSError:
            raise Unsearched from None

    def _receive(self) -> bool:
        """Whether there is a line now."""
        piece = os.read(self._outward, _CHUNK)
        self._read += piece
        if not piece or len(self._read) > ANSWER_MAX_BYTES:
            raise Unsearched
        return piece.endswith(b"\n")

    def _take(self) -> Any:
        line, self._read = bytes(self._read), bytearray()
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            raise Unsearched from None
