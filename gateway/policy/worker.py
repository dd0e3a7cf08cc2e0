"""The evaluator process. Run as a file by ``process.py``, never imported by the gateway; needs the standard library and
regorus alone, so it starts in some 30 ms and sees nothing of the gateway's memory or environment.

It reads frames from file descriptor 0 (a socket) and answers each on the same: 4 bytes big-endian length, then one
operation byte and a body.

- ``L`` body ``{"modules": [[path, source]], "data": {}, "alarm_seconds": s, "alarm_bytes": n, "memory_bytes": n}``:
  load, once.
- ``S`` body ``[[path, source]]``: the syntax trees, as regorus gives them.
- ``E`` body the policy input: evaluate ``data.handrail.decisions``.
- ``H`` body a menu: evaluate ``data.handrail.hidden``, which a bundle need not have.
- ``M`` body policy inputs, each behind its length: evaluate one after the other, each in its own
  time. The answer's body is an answer for each (``+``, ``?`` or ``-``), behind its length.

An answer is ``+`` and JSON, ``?`` where the rule is undefined, ``-`` and a message for the operator's log, or ``!`` and
a message where the engine panicked and the process ends. The
kernel ends the process where an evaluation outlives ``alarm_seconds``, and as much again for each
``alarm_bytes`` of its input, even if the gateway is gone.
"""

import contextlib
import json
import os
import resource
import signal
import sys
from types import FrameType
from typing import Any

import regorus

RULE = "data.handrail.decisions"
HIDDEN = "data.handrail.hidden"
UNDEFINED = '"<undefined>"'


def read(count: int) -> bytes:
    """Exactly ``count`` bytes, or ``SystemExit`` where the gateway closed the socket."""
    chunks = []
    while count:
        chunk = os.read(0, min(count, 1 << 20))
        if not chunk:
            raise SystemExit(0)
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)


def answer(kind: bytes, body: bytes = b"") -> None:
    """Send one frame."""
    frame = (len(body) + 1).to_bytes(4, "big") + kind + body
    while frame:
        frame = frame[os.write(0, frame) :]


class Evaluator:
    """One engine, loaded once, and a pristine copy to go back to after a failure."""

    def __init__(self, body: bytes) -> None:
        load = json.loads(body)
        self._alarm_seconds: float = load["alarm_seconds"]
        self._alarm_bytes: int = load["alarm_bytes"]
        self._pristine = engine(load["modules"])
        self._pristine.add_data_json(json.dumps(load["data"]))
        # The first evaluation prepares the rules; doing it here keeps its time out of the first decision.
        self._engine = self._pristine.clone()
        with contextlib.suppress(Exception):  # an empty input may be an error to a rule; the self-test is the judge
            self.evaluate(b"{}")
        self._hides = has_rule(self._pristine.clone(), HIDDEN)
        limit_growth(load["memory_bytes"])

    def allowed_seconds(self, size_bytes: int) -> float:
        """How long the evaluation of an input may take."""
        return self._alarm_seconds * (1 + size_bytes // self._alarm_bytes)

    def hidden(self, body: bytes) -> str | None:
        """What a menu may not show, as JSON text, or ``None`` where the bundle does not say."""
        return self.evaluate(body, HIDDEN) if self._hides else None

    def evaluate(self, body: bytes, rule: str = RULE) -> str | None:
        """A rule's value as JSON text, or ``None`` where it is undefined."""
        try:
            self._engine.set_input_json(body.decode("utf-8"))
            result: str = self._engine.eval_rule_as_json(rule)
            if result == UNDEFINED:
                # A policy may also *answer* this very string; a query tells the two apart.
                return result if json.loads(self._engine.eval_query_as_json(rule)).get("result") else None
        except Exception:
            self._engine = self._pristine.clone()
            raise
        return result


def has_rule(loaded: Any, rule: str) -> bool:
    """Whether an engine knows a rule, whatever its value is."""
    loaded.set_input_json("{}")
    try:
        loaded.eval_rule_as_json(rule)
    except Exception as exc:  # noqa: BLE001 (whatever an engine raises)
        return not str(exc).startswith("not a valid rule path")
    return True


def many(evaluator: Evaluator, body: bytes) -> bytes:
    """An answer for each input of ``body``; a panic is nobody's answer and goes up."""
    answers = []
    at = 0
    while at < len(body):
        end = at + 4 + int.from_bytes(body[at : at + 4], "big")
        signal.setitimer(signal.ITIMER_REAL, evaluator.allowed_seconds(end - at - 4))
        try:
            result = evaluator.evaluate(body[at + 4 : end])
        except Exception as exc:  # noqa: BLE001 (whatever an engine raises)
            one = b"-" + message_of(exc)
        else:
            one = b"?" if result is None else b"+" + result.encode()
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.append(len(one).to_bytes(4, "big") + one)
        at = end
    return b"".join(answers)


def message_of(exc: BaseException) -> bytes:
    """What an engine said, without the trace of its own code."""
    return str(exc).partition("\n\nStack backtrace")[0].strip().encode()[:4000]


def limit_growth(allowed_bytes: int) -> None:
    """Let the process take ``allowed_bytes`` more address space than now; where ``/proc`` does not tell, no limit."""
    with contextlib.suppress(FileNotFoundError), open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        limit = int(file.read().split()[0]) * resource.getpagesize() + allowed_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def engine(modules: list[list[str]]) -> Any:
    """An engine that holds ``modules``."""
    made = regorus.Engine()
    for path, source in modules:
        made.add_policy(path, source)
    return made


def serve() -> None:
    """Answer frames until the socket closes."""
    evaluator: Evaluator | None = None
    while True:
        frame = read(int.from_bytes(read(4), "big"))
        kind, body = frame[:1], frame[1:]
        try:
            if kind in {b"E", b"H"} and evaluator is not None:
                signal.setitimer(signal.ITIMER_REAL, evaluator.allowed_seconds(len(body)))
                result = evaluator.evaluate(body) if kind == b"E" else evaluator.hidden(body)
                signal.setitimer(signal.ITIMER_REAL, 0)
                answer(b"?") if result is None else answer(b"+", result.encode())
            elif kind == b"M" and evaluator is not None:
                answer(b"+", many(evaluator, body))
            elif kind == b"L" and evaluator is None:
                signal.setitimer(signal.ITIMER_REAL, 10)
                evaluator = Evaluator(body)
                signal.setitimer(signal.ITIMER_REAL, 0)
                answer(b"+")
            elif kind == b"S":
                signal.setitimer(signal.ITIMER_REAL, 10)
                trees = engine(json.loads(body)).get_ast_as_json()
                signal.setitimer(signal.ITIMER_REAL, 0)
                answer(b"+", trees.encode())
            else:
                answer(b"-", b"protocol")
        except SystemExit:
            raise
        except BaseException as exc:  # noqa: BLE001 (a Rust panic arrives as PanicException, which is no Exception)
            signal.setitimer(signal.ITIMER_REAL, 0)
            message = message_of(exc)
            if not isinstance(exc, Exception):
                answer(b"!", message)
                os._exit(1)  # what a panic left behind is not to be trusted
            answer(b"-", message)


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the gateway closes the socket; Ctrl-C is not for us
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.setrecursionlimit(2000)
    serve()
