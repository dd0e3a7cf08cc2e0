"""A certificate authority for one test."""

import base64
import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class Authority:
    """A certificate authority in a directory, for one test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"test authority {directory.name}")])
        self.certificate = directory / "ca.pem"
        basics = x509.BasicConstraints(ca=True, path_length=0)
        made = (
            self._unsigned(self._name, self._key).add_extension(basics, critical=True).sign(self._key, hashes.SHA256())
        )
        self.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    @property
    def private_key(self) -> bytes:
        """The authority's own key in PEM."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def issue(
        self, name: str, *more: x509.GeneralName, days: tuple[float, float] = (-1 / 24, 1 / 24)
    ) -> tuple[Path, Path]:
        """Certificate and key of a server or client on 127.0.0.1.

        Args:
            more: subject alternative names beside.
            days: from now, when it begins and ends.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1")), *more])
        made = self._unsigned(subject, key, days).add_extension(names, critical=False).sign(self._key, hashes.SHA256())
        files = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        for file in files:
            file.touch(0o600)
        files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files

    @staticmethod
    def header_of(certificate: Path) -> str:
        """The value of ``Client-Cert`` (RFC 9440) with which a proxy says a certificate."""
        read = x509.load_pem_x509_certificate(certificate.read_bytes())
        return f":{base64.b64encode(read.public_bytes(serialization.Encoding.DER)).decode()}:"

    def _unsigned(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: tuple[float, float] = (-1 / 24, 1 / 24)
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + dt.timedelta(days=days[0]))
            .not_valid_after(now + dt.timedelta(days=days[1]))
        )
