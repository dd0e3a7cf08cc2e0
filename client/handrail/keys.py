"""Ed25519 keys as JWK files (RFC 8037), named by their thumbprint (RFC 7638)."""

import hashlib
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from handrail.errors import KeyFileError, MalformedError
from handrail.points import check_point
from handrail.strict import b64url_decode, b64url_encode, canonical, parse

_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """RFC 7638 thumbprint of an OKP key: base64url SHA-256 over its required members ``crv, kty, x``."""
    members = {name: jwk[name] for name in ("crv", "kty", "x")}
    return b64url_encode(hashlib.sha256(canonical(members)).digest())


class VerifyKey:
    """A public Ed25519 key: 32 bytes that :func:`handrail.points.check_point` took.

    Attributes:
        kid: RFC 7638 thumbprint.
    """

    def __init__(self, raw: bytes) -> None:
        check_point(raw)
        self._key = Ed25519PublicKey.from_public_bytes(raw)
        self.raw = raw
        self.kid = thumbprint(self.jwk())

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> "VerifyKey":
        """The key in ``{kty: OKP, crv: Ed25519, x}``; other members are ignored.

        Raises:
            MalformedError: where it is no such key, or its ``kid`` is not its thumbprint.
        """
        if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519" or not isinstance(jwk.get("x"), str):
            raise MalformedError("not an Ed25519 JWK")
        if jwk.get("alg", "Ed25519") != "Ed25519" or jwk.get("use", "sig") != "sig":
            raise MalformedError("a JWK for another algorithm or use")
        key = cls(b64url_decode(jwk["x"]))
        if "kid" in jwk and jwk["kid"] != key.kid:
            raise MalformedError("the kid is not the key's thumbprint")
        return key

    def jwk(self) -> dict[str, str]:
        """``{kty, crv, x}``."""
        return {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(self.raw)}

    def public_jwk(self) -> dict[str, str]:
        """:meth:`jwk` with ``kid``, ``alg`` and ``use``, as a gateway registers it."""
        return {**self.jwk(), "kid": self.kid, "alg": "Ed25519", "use": "sig"}

    def verify(self, signature: bytes, message: bytes) -> None:
        """Check an RFC 8032 signature.

        Raises:
            MalformedError: where it does not verify.
        """
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            raise MalformedError("the signature does not verify") from None


class SigningKey:
    """A private Ed25519 key. Its ``repr`` shows the kid only.

    Attributes:
        kid: RFC 7638 thumbprint of the public half.
        public: the public half.
    """

    def __init__(self, raw: bytes) -> None:
        try:
            self._key = Ed25519PrivateKey.from_private_bytes(raw)
        except ValueError:
            raise MalformedError("not a 32-byte Ed25519 private key") from None
        self.public = VerifyKey(self._key.public_key().public_bytes_raw())
        self.kid = self.public.kid

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r})"

    @classmethod
    def generate(cls) -> "SigningKey":
        """A fresh key from the system's random source."""
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "SigningKey":
        """Read a private JWK file.

        Raises:
            KeyFileError: where it is missing, open to group or others, or not a whole Ed25519 JWK.
        """
        file = Path(path)
        try:
            with file.open("rb") as stream:
                mode = os.fstat(stream.fileno()).st_mode
                content = stream.read(65_536)
        except OSError as exc:
            raise KeyFileError(f"{file}: {exc.strerror}") from None
        if mode & _OPEN_TO_OTHERS:
            raise KeyFileError(f"{file}: other users can read this private key; run: chmod 600 {file}")
        try:
            jwk = parse(content)
            if not isinstance(jwk, dict) or not isinstance(jwk.get("d"), str):
                raise MalformedError("not a private JWK (no member d)")
            key = cls(b64url_decode(jwk["d"]))
            if VerifyKey.from_jwk(jwk).raw != key.public.raw:
                raise MalformedError("x does not belong to d")
        except MalformedError as exc:
            raise KeyFileError(f"{file}: {exc}") from None
        return key

    def save(self, path: str | os.PathLike[str], *, replace: bool = False) -> None:
        """Write the private JWK to a file of mode 0600, durably and whole.

        Args:
            replace: whether an existing file gives way; the key in it is gone then.

        Raises:
            KeyFileError: where the file exists or cannot be written.
        """
        file = Path(path)
        jwk = {**self.public.public_jwk(), "d": b64url_encode(self._key.private_bytes_raw())}
        try:
            _write(file, canonical(jwk) + b"\n", replace=replace)
        except FileExistsError:
            raise KeyFileError(f"{file}: exists already; a key is not overwritten") from None
        except OSError as exc:
            raise KeyFileError(f"{file}: {exc.strerror}") from None

    def sign(self, message: bytes) -> bytes:
        """64-byte RFC 8032 signature."""
        return self._key.sign(message)


def _write(file: Path, content: bytes, *, replace: bool) -> None:
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        if replace:
            temporary.replace(file)
        else:
            os.link(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def load_public(path: str | os.PathLike[str]) -> VerifyKey:
    """The public half of a public or private JWK file.

    Raises:
        KeyFileError: where it is missing or not an Ed25519 JWK.
    """
    file = Path(path)
    try:
        content = file.read_bytes()
    except OSError as exc:
        raise KeyFileError(f"{file}: {exc.strerror}") from None
    try:
        jwk = parse(content)
        if not isinstance(jwk, dict):
            raise MalformedError("not a JWK")
        return VerifyKey.from_jwk(jwk)
    except MalformedError as exc:
        raise KeyFileError(f"{file}: {exc}") from None
