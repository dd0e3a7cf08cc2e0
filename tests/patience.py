"""The product's time limits, generous in every test that is not about one: a slow machine is no fault of the product.

A limit that a test chooses holds as it chose it. What is as it would be for a user, or was set to the most that the
settings take, is :data:`SECONDS` instead, here and nowhere else. A test about a limit as it is shipped bears the marker
``limits`` and provokes it with a real fault: a lock, a stopped server, a frozen device.

Nor does the clock judge an example of Hypothesis; under CI its examples are the same in every run.

Programs that a test starts have the shipped limits; what keeps those from being reached is ``tests/unsynchronised.c``.
"""

import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from pkgutil import resolve_name
from typing import Any, Final

import httpx2
import hypothesis
import pytest

from audit import database
from tests import services

SECONDS: Final = 120.0
"""Against hanging; no measure of speed."""

LOCK_SECONDS: Final = 15.0
"""For another's lock in the database."""

AGAINST_HANGING: Final = (20, 30, 60)
"""Seconds that tests give their HTTP clients, which measure nothing by it."""

CONSTANTS: Final = (
    "audit.erasure._STEADY_SECONDS",
    "audit.reads._QUERY_SECONDS",
    "audit.writer.CLOSE_SECONDS",
    "gateway.freezing.BLIND_SECONDS",
    "gateway.freezing.COUNT_SECONDS",
    "gateway.halts.KILL_SECONDS",
    "gateway.policy.opa.PUSH_SECONDS",
    "gateway.policy.pool.QUEUE_SECONDS",
    "gateway.policy.pool.START_SECONDS",
    "gateway.policy.private_opa.START_SECONDS",
    "gateway.privacy.requests.ENDING_SECONDS",
    "gateway.store.reading.DEADLINE_SECONDS",
    "gateway.web.routes.health.CHECK_TIMEOUT_SECONDS",
    "gateway.web.server.HEAD_TIMEOUT_SECONDS",
    "gateway.web.server.UNREAD_SECONDS",
    "hand_adapters.jail.link.READY_SECONDS",
    "hand_adapters.jail.process.KILL_SECONDS",
    "hand_adapters.mcp.session.OPEN_SECONDS",
    "hand_adapters.mcp.streamable.PARTING_SECONDS",
    "keys.stores.database.LOCK_WAIT_SECONDS",
    "keys.stores.file.LOCK_WAIT_SECONDS",
)
"""Limits that are no settings."""

SETTINGS: Final[Mapping[str, tuple[str, Collection[float]]]] = {
    "audit.log.Reads.__init__": ("deadline_seconds", {1.8, 2.0}),
    "audit.log.Writer.__init__": ("deadline_seconds", {1.8, 2.0}),
    "gateway.policy.opa.OpaEngine.__init__": ("deadline_seconds", {0.25, 2.0}),
    "gateway.policy.pool.EvaluatorPool.__init__": ("deadline_seconds", {0.25, 2.0}),
    "gateway.secrets.broker.Broker.__init__": ("timeout_seconds", {2.0}),
    "gateway.secrets.opening._open": ("timeout_seconds", {2.0}),
    "hand_adapters.courier.HttpCourier._exchange": ("timeout_seconds", {5.0, 10.0}),
    "hand_adapters.fetcher.HttpFetcher.get": ("timeout_seconds", {2.0, 5.0}),
    "hand_adapters.fetcher.HttpFetcher.post": ("timeout_seconds", {5.0}),
    "keys.stores.aws_kms.client.Kms.__init__": ("timeout_seconds", {1.0, 10.0}),
    "keys.stores.transit.http.Http.__init__": ("timeout_seconds", {1.0, 10.0}),
}
"""Limits that are settings: where one arrives, as which argument, and what it is by default and at most."""


def _patiently(call: Callable[..., Any], argument: str, shipped: Collection[float]) -> Callable[..., Any]:
    signature = inspect.signature(call)

    @functools.wraps(call)
    def called(*args: Any, **options: Any) -> Any:
        bound = signature.bind(*args, **options)
        if bound.arguments.get(argument) in shipped:
            bound.arguments[argument] = SECONDS
        return call(*bound.args, **bound.kwargs)

    return called


def _lengthen(patch: pytest.MonkeyPatch) -> None:
    for path in CONSTANTS:
        patch.setattr(path, SECONDS)
    for path, (argument, shipped) in SETTINGS.items():
        patch.setattr(path, _patiently(resolve_name(path), argument, shipped))
    milliseconds = int(LOCK_SECONDS * 1000)
    waits = (f"SET lock_timeout = {milliseconds}", f"SET statement_timeout = {int(SECONDS * 1000)}")
    patch.setattr(database, "_PRAGMAS", (f"PRAGMA busy_timeout = {milliseconds}", *database._PRAGMAS[1:]))
    patch.setattr(database, "_POSTGRES_SESSION", (*waits, *database._POSTGRES_SESSION[2:]))
    patch.setitem(database._POSTGRES, "connect_timeout", int(SECONDS))
    for client in (httpx2.Client, httpx2.AsyncClient):
        patch.setitem(client.__init__.__kwdefaults__ or {}, "timeout", httpx2.Timeout(SECONDS))
        patch.setattr(client, "__init__", _patiently(client.__init__, "timeout", AGAINST_HANGING))


hypothesis.settings.register_profile(
    "patient",
    deadline=None,
    derandomize=services.UNDER_CI,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def _patience() -> Iterator[pytest.MonkeyPatch]:
    patch = pytest.MonkeyPatch()
    _lengthen(patch)
    yield patch
    patch.undo()


@pytest.fixture(autouse=True)
def _limits(request: pytest.FixtureRequest, _patience: pytest.MonkeyPatch) -> Iterator[None]:
    """The shipped limits for a test with the marker."""
    if request.node.get_closest_marker("limits") is None:
        yield
        return
    _patience.undo()
    yield
    _lengthen(_patience)
