"""The listener's own certificate: read, shown to whoever connects, and read anew when its files change.

A changed pair is read into a context of its own and takes the place of the one before only when it is whole, so nothing
of a broken pair is ever in use. Connections that are open keep what they were made with.
"""

import hashlib
import os
import ssl
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import structlog

from gateway.certificates import Certificate
from gateway.errors import HandrailError, Malformed, Unavailable
from gateway.files import read_bounded, reading
from gateway.reasons import Reason
from gateway.settings import TlsSettings

_log = structlog.get_logger("handrail.tls")

SOON_DAYS: Final = 14
"""A certificate that ends sooner should have been renewed: usual renewers do it a third of its life before."""
FILE_MAX_BYTES: Final = 1_048_576
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secret and authenticated. TLS 1.3 has no others."""
_OTHERS: Final = 0o077
_NOT_BY_GROUP: Final = 0o037
"""What a file of root's may not have that is read through its group, as Kubernetes mounts secrets for other users."""
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"


_Stamp = tuple[object, ...]


class TlsContext(ssl.SSLContext):
    """A context that knows which authorities it believes.

    Attributes:
        authorities: digest of the file of clients' authorities; ``None`` where clients are asked for no certificate.
    """

    authorities: str | None = None


class ListeningContext(TlsContext):
    """The context that a listener has all its life: it hands each handshake over to the newest pair."""

    def __init__(self, *_args: object) -> None:
        """See :func:`ssl.SSLContext`."""
        super().__init__()
        self.newest: TlsContext = self
        self.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Called in every handshake, also where the client names no server."""
        connection.context = self.newest


Kind = TypeVar("Kind", bound=TlsContext)


@dataclass(frozen=True, slots=True)
class _Read:
    """One state of the files."""

    context: TlsContext
    certificate: Certificate
    stamp: _Stamp


class ServerTls:
    """Certificate, key and clients' authorities of ``[server.tls]``. Thread-safe as far as :meth:`refresh` is called by
    one thread at a time.

    Attributes:
        context: for the listener.
        certificate: the one in use.
        problem: why the newest state of the files is not; ``None`` where it is.
    """

    def __init__(self, settings: TlsSettings, clock: Callable[[], float] = time.time) -> None:
        """Read the files.

        Raises:
            Unavailable: ``tls.certificate``; ``detail`` says which file and why.
        """
        self._settings = settings
        self._clock = clock
        read = self._read(_stamp(settings))
        self.certificate = read.certificate
        self.problem: HandrailError | None = None
        self._stamp = read.stamp
        self.context = _fill(ListeningContext(ssl.PROTOCOL_TLS_SERVER), settings)
        self.context.authorities = read.context.authorities
        self.context.newest = read.context

    def refresh(self) -> None:
        """Take in what became of the files. What cannot be used changes nothing, and is loud."""
        stamp: _Stamp = ()
        try:
            stamp = _stamp(self._settings)
            if stamp == self._stamp:
                return
            read = self._read(stamp)
        except HandrailError as problem:
            if self.problem is None or self.problem.detail != problem.detail:
                _log.error("certificate files not taken, the pair before stays", detail=problem.detail)
            self.problem = problem
            return
        finally:
            self._stamp = stamp
        self.context.newest = read.context
        self.certificate, self.problem = read.certificate, None
        _log.info("certificate taken", ends_at=read.certificate.ends_at, thumbprint=read.certificate.thumbprint)

    @property
    def unusable(self) -> bool:
        """Whether newer files cannot be used, or the certificate in use is over."""
        return self.problem is not None or not self.certificate.good_at(self._clock())

    def _read(self, stamp: _Stamp) -> _Read:
        """The files as they are, if they are still as ``stamp`` says when all are read."""
        chain = _content(self._settings.certificate)
        _check_private(self._settings.key)
        certificate = leaf(chain, self._settings.certificate)
        if not certificate.good_at(self._clock()):
            raise _unusable(f"{self._settings.certificate}: the certificate is over, or not good yet")
        context = _fill(TlsContext(ssl.PROTOCOL_TLS_SERVER), self._settings)
        if _stamp(self._settings) != stamp:
            # The next look finds another stamp, and reads again.
            raise _unusable(f"{self._settings.certificate}: changed while it was read")
        return _Read(context, certificate, stamp)


def leaf(chain: bytes, file: Path) -> Certificate:
    """The first certificate of a chain in PEM.

    Raises:
        Unavailable: ``tls.certificate``.
    """
    text = chain.decode("ascii", errors="replace")
    begin, end = text.find(_BEGIN), text.find(_END)
    try:
        return Certificate.read_pem(text[begin : end + len(_END)] if 0 <= begin < end else "")
    except Malformed as exc:
        raise _unusable(f"{file}: {exc.detail}") from None


def days_left(settings: TlsSettings, now: float) -> float:
    """For how many days the certificate is good, as a listener would take it now; for who only looks.

    Raises:
        Unavailable: ``tls.certificate``.
    """
    return (ServerTls(settings, lambda: now).certificate.ends_at - now) / 86_400


def _fill(context: Kind, settings: TlsSettings) -> Kind:
    """Give a fresh context the files' content, and what no file says."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # A resumed session would bring a client's certificate along that nobody verifies again.
    context.num_tickets = 0
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.certificate, settings.key, password=_no_password)
    except (OSError, ValueError) as exc:
        raise _unusable(f"{settings.certificate}, {settings.key}: no pair: {_why(exc)}") from None
    if settings.client_ca is not None:
        # TLS 1.2 sends a client's certificate in clear, and resumes sessions that Python cannot turn off.
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_OPTIONAL
        authorities = _content(settings.client_ca)
        try:
            context.load_verify_locations(cadata=authorities.decode("ascii"))
        except (OSError, ValueError) as exc:
            raise _unusable(f"{settings.client_ca}: no certificates in PEM: {_why(exc)}") from None
        context.authorities = hashlib.sha256(authorities).hexdigest()
    return context


def _no_password() -> str:
    """OpenSSL would ask at the terminal."""
    raise ValueError("the key is encrypted")


def _why(exc: Exception) -> str:
    return getattr(exc, "reason", None) or getattr(exc, "strerror", None) or str(exc) or type(exc).__name__


def _stamp(settings: TlsSettings) -> _Stamp:
    """What is another after any change of the files, a swapped link among them (Kubernetes swaps a folder's)."""
    found: list[object] = []
    for file in (settings.certificate, settings.key, settings.client_ca):
        if file is not None:
            try:
                status = file.stat()
            except OSError as exc:
                raise _unusable(f"{file}: {exc.strerror}") from None
            found += [status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size]
    return tuple(found)


def _content(file: Path) -> bytes:
    try:
        return read_bounded(file, FILE_MAX_BYTES)
    except OSError as exc:
        raise _unusable(f"{file}: {exc.strerror}") from None


def _check_private(file: Path) -> None:
    """The key is its owner's alone; or root's, for the one group that runs the gateway."""
    try:
        with reading(file) as stream:
            status = os.fstat(stream.fileno())
    except OSError as exc:
        raise _unusable(f"{file}: {exc.strerror}") from None
    mode = stat.S_IMODE(status.st_mode)
    mounted = status.st_uid == 0 and os.geteuid() != 0 and not mode & _NOT_BY_GROUP
    if mode & _OTHERS and not mounted:
        raise _unusable(f"{file}: mode {mode:04o} is open to others; chmod 600")
    if status.st_uid not in (0, os.geteuid()):
        raise _unusable(f"{file}: belongs to uid {status.st_uid}")


def _unusable(detail: str) -> Unavailable:
    return Unavailable(Reason.TLS_CERTIFICATE, detail)
