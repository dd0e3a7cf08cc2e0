"""X.509 certificates (RFC 5280) as the gateway looks at them: whose they are, by their own word, and until when.

Nothing is verified here: whoever shows one to a listener proved to it that they have the key, and that a configured
authority signed it.
"""

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.canonical import b64url_encode
from gateway.errors import Malformed

DER_MAX_BYTES: Final = 16_384
NAMES_MAX: Final = 16
"""Names of one certificate that are looked at; one with more stands for nobody by any of them."""
NAME_MAX: Final = 255
_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)\s+-----END CERTIFICATE-----\s*")


_UNREADABLE: Final = (
    ValueError,
    TypeError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What reading a certificate that somebody made up raises; found by changing bytes at random (tested)."""


class NameKind(StrEnum):
    """What a certificate may be known by: its thumbprint, or what its authority wrote into it (RFC 8705 section 2.1.2).

    These words stand in rows and in the API.
    """

    THUMBPRINT = "x5t#S256"
    URI = "uri"
    DNS = "dns"
    EMAIL = "email"
    SUBJECT = "subject"


CertificateName = tuple[NameKind, str]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate taken apart.

    Attributes:
        thumbprint: SHA-256 of its DER in base64url (RFC 8705 section 3.1).
        names: what else it can be known by.
        begins_at, ends_at: seconds since the epoch, both included.
    """

    thumbprint: str
    names: tuple[CertificateName, ...]
    begins_at: float
    ends_at: float

    @classmethod
    def read(cls, der: bytes) -> Self:
        """Take DER apart. Raises ``request.malformed``."""
        if len(der) > DER_MAX_BYTES:
            raise _malformed("longer than a certificate is")
        try:
            read = x509.load_der_x509_certificate(der)
            if read.public_bytes(Encoding.DER) != der:
                raise _malformed("something behind the certificate")
            names = tuple(_names(read))
            times = read.not_valid_before_utc.timestamp(), read.not_valid_after_utc.timestamp()
        except _UNREADABLE as exc:
            raise _malformed(type(exc).__name__) from None
        return cls(b64url_encode(hashlib.sha256(der).digest()), names if len(names) <= NAMES_MAX else (), *times)

    @classmethod
    def read_pem(cls, text: str) -> Self:
        """Take one certificate in PEM (RFC 7468) apart. Raises ``request.malformed`` also for two."""
        found = (
            _PEM.fullmatch(text.strip().encode("ascii", errors="replace")) if len(text) < 2 * DER_MAX_BYTES else None
        )
        if found is None:
            raise _malformed("not one certificate in PEM")
        try:
            der = base64.b64decode(b"".join(found[1].split()), validate=True)
        except ValueError:
            raise _malformed("not base64") from None
        return cls.read(der)

    def good_at(self, now: float) -> bool:
        """Whether ``now``, in seconds since the epoch, lies in its time."""
        return self.begins_at <= now <= self.ends_at

    @property
    def identities(self) -> tuple[CertificateName, ...]:
        """Everything that it can be known by, its thumbprint first."""
        return ((NameKind.THUMBPRINT, self.thumbprint), *self.names)


def checked_name(kind: NameKind, value: str) -> str:
    """A name in the one spelling in which certificates are compared with it.

    Raises:
        Malformed: ``request.malformed``.
    """
    if not 0 < len(value) <= NAME_MAX or not value.isprintable():
        raise Malformed("name", pointer="/value", expected=f"1 to {NAME_MAX} printable characters")
    if kind is NameKind.SUBJECT:
        try:
            return x509.Name.from_rfc4514_string(value).rfc4514_string()
        except ValueError:
            raise Malformed("subject", pointer="/value", expected="a distinguished name (RFC 4514)") from None
    if kind is NameKind.URI and not urlsplit(value).scheme:
        raise Malformed("uri", pointer="/value", expected="a URI with its scheme, such as spiffe://example.org/agent")
    if kind is NameKind.DNS:
        if "*" in value:
            raise Malformed("wildcard", pointer="/value", expected="one name, without a wildcard")
        return value.lower()
    return value


def _names(read: x509.Certificate) -> Iterator[CertificateName]:
    subject = read.subject.rfc4514_string()
    if subject and len(subject) <= NAME_MAX:
        yield NameKind.SUBJECT, subject
    try:
        found = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    for uri in found.get_values_for_type(x509.UniformResourceIdentifier):
        yield NameKind.URI, uri
    for host in found.get_values_for_type(x509.DNSName):
        if "*" not in host:
            yield NameKind.DNS, host.lower()
    for address in found.get_values_for_type(x509.RFC822Name):
        yield NameKind.EMAIL, address


def _malformed(detail: str) -> Malformed:
    return Malformed(f"certificate: {detail}", pointer="/certificate", expected="one X.509 certificate")
