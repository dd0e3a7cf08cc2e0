"""What listens and what is reached, and whether it is encrypted."""

import ipaddress
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import make_url

from gateway.errors import HandrailError
from gateway.permissions import Permission
from gateway.posture.model import Check, Severity, Verdict, bad, good, none
from gateway.posture.scene import Scene
from gateway.tls import SOON_DAYS, days_left
from gateway.web.proxies import LISTENER_REMEDY
from gateway.web.routes import TABLE

_VERIFIED: Final = frozenset({"verify-ca", "verify-full"})


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listener(scene: Scene) -> Verdict:
    server = scene.settings.server
    if server.tls is not None:
        return good(f"listens on {server.host} with TLS")
    if _loopback(server.host):
        return good(f"listens on {server.host} alone")
    if not server.trusted_proxies:
        return bad(f"listens on {server.host} without TLS", LISTENER_REMEDY)
    if not (server.public_url or "").startswith("https://"):
        return bad(
            f"listens on {server.host} for proxies whose https:// address nobody says",
            "Set [server] public_url to the address by which clients reach the proxy.",
        )
    return good(f"listens on {server.host} for declared proxies alone, reached as {server.public_url}")


def _certificate(scene: Scene) -> Verdict:
    tls = scene.settings.server.tls
    if tls is None:
        return none("the listener has no certificate")
    try:
        days = days_left(tls, scene.now)
    except HandrailError as exc:
        return bad(exc.detail, "Mend the files of [server.tls].")
    said = f"the listener's certificate is good for {days:.0f} days"
    return bad(said, f"Renew {tls.certificate}.") if days < SOON_DAYS else good(said)


def _outbound(scene: Scene) -> Verdict:
    clear = [f"{name} ({urlsplit(url).hostname})" for name, url in _urls(scene) if _in_clear(url)]
    if clear:
        return bad(f"reached without TLS: {', '.join(clear)}", "Use https:// addresses.")
    return good("whatever is reached over a network is reached by TLS")


def _urls(scene: Scene) -> Iterator[tuple[str, str]]:
    settings = scene.settings
    if settings.policy.engine == "opa":
        yield "policy.opa_url", settings.policy.opa_url
        if settings.policy.opa_candidate_url is not None:
            yield "policy.opa_candidate_url", settings.policy.opa_candidate_url
    if settings.telemetry.otlp_endpoint is not None and settings.telemetry.traces == "otlp":
        yield "telemetry.otlp_endpoint", settings.telemetry.otlp_endpoint
    if settings.archive.endpoint_url is not None:
        yield "archive.endpoint_url", settings.archive.endpoint_url
    for name, witness in settings.log.witnesses.items():
        yield f"log.witnesses.{name}", witness.url
    for name, hand in settings.hands.items():
        place = hand.base_url or hand.url
        if hand.enabled and place is not None:
            yield f"hands.{name}", place
    for name, webhook in settings.webhooks.items():
        url = webhook.url
        if url is None and webhook.url_file is not None:
            url = webhook.url_file.read_text(encoding="utf-8").strip()
        if url is not None:
            yield f"webhooks.{name}", url


def _in_clear(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme != "https" and not _loopback(parts.hostname or "")


def _database(scene: Scene) -> Verdict:
    url = make_url(scene.settings.database_url)
    hosts = url.query.get("host", url.host or "")
    host = hosts[0] if isinstance(hosts, tuple) else hosts
    if url.get_backend_name() == "sqlite" or not host or host.startswith("/") or _loopback(host):
        return good("the database is on this machine")
    mode = url.query.get("sslmode", "prefer")
    if mode in _VERIFIED:
        return good(f"reached with sslmode={mode}")
    return bad(f"reached over a network with sslmode={mode}", "Add ?sslmode=verify-full to [database] url.")


def _sessions(scene: Scene) -> Verdict:
    seconds = scene.settings.console.session_seconds
    limit = 28_800
    if seconds > limit:
        return bad(f"a login lasts {seconds:,} seconds", f"Set [console] session_seconds to {limit:,} or less.")
    return good(f"a login lasts {seconds:,} seconds")


def _metrics(_scene: Scene) -> Verdict:
    open_ = [
        endpoint.path for endpoint in TABLE if endpoint.path == "/metrics" and endpoint.access not in {*Permission}
    ]
    if open_:
        return bad("metrics are shown to anybody", "Put a proxy in front that asks for a key.")
    return good(f"metrics need the permission {Permission.METRICS_READ}")


def _sandbox(scene: Scene) -> Verdict:
    from hand_adapters.jail.doctor import diagnose  # noqa: PLC0415 - tries a jail for real, so only when asked

    if not any(hand.enabled and hand.runs_code for hand in scene.settings.hands.values()):
        return none("no hand is a program")
    lacking = [f"{layer.name}: {layer.detail}" for layer in diagnose(scene.settings.jail) if not layer.ok]
    return bad("; ".join(lacking), "See: handrail doctor") if lacking else good("a trial jail started")


def _landlock(scene: Scene) -> Verdict:
    from hand_adapters.jail.doctor import diagnose_landlock  # noqa: PLC0415 - the web starts without it

    if not any(hand.enabled and hand.runs_code for hand in scene.settings.hands.values()):
        return none("no hand is a program")
    layer = diagnose_landlock(scene.settings.jail)
    return bad(layer.detail, layer.remedy) if layer.remedy else good(layer.detail)


CHECKS: Final = (
    Check("listener-tls", Severity.HIGH, _listener),
    Check("listener-certificate", Severity.MEDIUM, _certificate),
    Check("outbound-tls", Severity.HIGH, _outbound),
    Check("database-tls", Severity.HIGH, _database),
    Check("sessions", Severity.LOW, _sessions),
    Check("metrics-closed", Severity.MEDIUM, _metrics),
    Check("sandbox", Severity.HIGH, _sandbox),
    Check("sandbox-landlock", Severity.LOW, _landlock),
)
