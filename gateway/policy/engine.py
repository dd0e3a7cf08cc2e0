"""Which engine the settings ask for."""

from pathlib import Path
from typing import Final

from gateway.policy.embedded import EmbeddedEngine
from gateway.policy.faults import BundleError, EngineUnavailable, Problem
from gateway.policy.opa import Holder, OpaEngine
from gateway.policy.opa_client import read_token, tls_context
from gateway.policy.reloading import Backend, OnEvent, ReloadingEngine, ignore_events
from gateway.policy.sources import ActivatedSource, BundleSource, BundleStore, DirectorySource
from gateway.settings import PolicySettings

SHIPPED: Final = Path(__file__).resolve().parents[2] / "policies"
"""The policies of this distribution: beside this package, in a checkout and in an installation alike."""


def load_engine(
    settings: PolicySettings, on_event: OnEvent = ignore_events, store: BundleStore | None = None
) -> ReloadingEngine:
    """The policy engine that ``settings`` ask for. Call ``start()`` before the first decision.

    Args:
        on_event: see :class:`ReloadingEngine`.
        store: of signed bundles; without one the directory is followed.

    Raises:
        SettingsError: the OPA server's address or token is unusable.
        BundleError: no bundle is named, and none is shipped with this installation.
    """
    followed: BundleSource
    if settings.source == "signed" and store is not None:
        followed = ActivatedSource(store)
    else:
        followed = DirectorySource(bundle_directory(settings))
    return ReloadingEngine(make_backend(settings), followed, on_event, settings.reload_interval_seconds)


def make_backend(settings: PolicySettings) -> Backend:
    """The engine alone, without a bundle."""
    if settings.engine == "opa":
        return _opa(settings, settings.opa_url, Holder.ACTIVE)
    return EmbeddedEngine(
        workers=settings.workers,
        deadline_seconds=settings.deadline_milliseconds / 1000,
        input_max_bytes=settings.input_max_bytes,
    )


def can_hold_candidate(settings: PolicySettings) -> bool:
    """Whether there is a place for a second bundle."""
    return settings.engine != "opa" or settings.opa_candidate_url is not None


def make_candidate_backend(settings: PolicySettings) -> Backend:
    """A second engine, apart from the active bundle's.

    Raises:
        EngineUnavailable: there is no server for it.
    """
    if settings.engine != "opa":
        return make_backend(settings)
    if settings.opa_candidate_url is None:
        raise EngineUnavailable("policy.opa_candidate_url names no server for a candidate")
    return _opa(settings, settings.opa_candidate_url, Holder.CANDIDATE)


def _opa(settings: PolicySettings, url: str, holder: Holder) -> OpaEngine:
    return OpaEngine(
        url,
        read_token(settings.opa_token_file),
        deadline_seconds=settings.deadline_milliseconds / 1000,
        input_max_bytes=settings.input_max_bytes,
        tls=tls_context(settings),
        holder=holder,
    )


def bundle_directory(settings: PolicySettings) -> Path:
    """The directory of the bundle: the configured one, or the shipped policies."""
    if settings.bundle is not None:
        return settings.bundle
    if SHIPPED.is_dir():
        return SHIPPED
    raise BundleError([Problem("", 0, 0, "no bundle: set policy.bundle to a directory of policies")])
