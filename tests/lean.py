"""What thousands of tests would have a process of the run do again and again, though they are about none of it."""

import functools
import gc
import os
import signal
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import httpcore2
import pytest


def _only_numbers(as_enum: Callable[[Any, type], Any]) -> Callable[[Any, type], Any]:
    """How :mod:`signal` names a handler. It learns from an error that a function is no number, and the error's message
    shows the function. ``asyncio.Runner`` looks at its own handler around each coroutine: that one holds the task, the
    task what a fixture returned, and so a whole gateway with its settings was written out, three times for a test.
    """
    return lambda value, kind: as_enum(value, kind) if isinstance(value, int) else value


def _read_once(make: Callable[..., ssl.SSLContext]) -> Callable[..., ssl.SSLContext]:
    """How HTTP clients come to trust the authorities of this machine, whose certificates take longer to read than most
    tests take to talk to a gateway; most of them without TLS.
    """
    shared = functools.cache(make)

    @functools.wraps(make)
    def made(**options: bool) -> ssl.SSLContext:
        chosen = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
        return make(**options) if chosen else shared(**options)

    return made


@pytest.fixture(scope="session", autouse=True)
def _lean() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signal, "_int_to_enum", _only_numbers(signal._int_to_enum))  # type: ignore[attr-defined]
        patch.setattr(httpcore2, "default_ssl_context", _read_once(httpcore2.default_ssl_context))
        yield


def pytest_collection_finish() -> None:
    """Have the collector of garbage look no more at the tests that were collected, nor at what their modules hold."""
    gc.collect()
    gc.freeze()
