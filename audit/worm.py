"""An archive that writes once: objects that nobody can overwrite or delete before a day that is set with them.

What is asked of it is a protocol, so that another kind can take its place. The one that is here is any store that
speaks S3 with object lock (the extra ``s3``). There is none for a directory: a file system that its owner can write to
locks nothing, and an archive that says otherwise is worse than none.
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol, TypeVar

from audit.errors import ArchiveRefused
from gateway.bounded import Bounded
from gateway.settings import ArchiveSettings

Result = TypeVar("Result")

_MODE: Final = "COMPLIANCE"
"""Not even the account's root user shortens it; ``GOVERNANCE`` yields to whoever has the permission."""
_ABSENT: Final = frozenset({"404", "NoSuchKey", "NotFound", "NoSuchVersion"})
_TAKEN: Final = frozenset({"412", "PreconditionFailed", "409", "ConditionalRequestConflict"})
_READ_SECONDS: Final = 30
CALL_SECONDS: Final = 300.0
"""A whole call, however steadily the store sends: a partition is at most 256 MB."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object in an archive.

    Attributes:
        sha256: in hex, as the archive computed it; empty where it does not say.
        version: names these bytes for ever.
        retain_until: no earlier can it be deleted; ``None`` where nothing locks it.
        legal_hold: locked beyond that until somebody lifts it.
        locked: whether it is under a lock that nobody can take off.
    """

    name: str
    sha256: str
    size: int
    version: str
    retain_until: datetime | None
    legal_hold: bool
    locked: bool


class Archive(Protocol):
    """Every method raises ``ArchiveRefused`` where the archive cannot be reached or does not do as it must."""

    def put(self, name: str, data: bytes, *, retain_until: datetime, legal_hold: bool = False) -> Stored:
        """Store ``data`` under a name that has none yet, locked until then."""

    def get(self, name: str, version: str = "") -> bytes:
        """The bytes of an object; of the newest version where none is named."""

    def head(self, name: str, version: str = "") -> Stored | None:
        """What the archive says of an object; ``None`` where there is none."""


class S3Archive:
    """A bucket with object lock. Thread-safe.

    Credentials are found as the AWS command line finds them (environment, profile, role of the machine); the settings
    hold none.
    """

    def __init__(self, client: Any, bucket: str, prefix: str = "") -> None:
        self._client = client
        self._bounded = Bounded()
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    @classmethod
    def open(cls, settings: ArchiveSettings) -> "S3Archive":
        """The configured bucket, once it was seen to lock objects. Raises ``ArchiveRefused``."""
        try:
            import boto3  # noqa: PLC0415 - an extra, and slow to import
            from botocore.config import Config  # noqa: PLC0415
        except ImportError:
            raise ArchiveRefused("boto3 is not installed: pip install 'handrail[s3]'") from None
        config = Config(
            connect_timeout=_READ_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"max_attempts": 3, "mode": "standard"},
        )

        def connect() -> Any:
            return boto3.client("s3", endpoint_url=settings.endpoint_url, region_name=settings.region, config=config)

        found = cls(_translated(connect, "s3"), settings.bucket or "", settings.prefix)
        found.must_lock()
        return found

    def must_lock(self) -> None:
        """Raises ``ArchiveRefused`` unless the bucket locks objects."""
        answer = self._call(
            lambda: self._client.get_object_lock_configuration(Bucket=self._bucket), f"bucket {self._bucket}"
        )
        if answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
            raise ArchiveRefused(f"bucket {self._bucket}: object lock is not enabled")

    def put(self, name: str, data: bytes, *, retain_until: datetime, legal_hold: bool = False) -> Stored:
        """See :class:`Archive`. The archive itself checks the bytes' SHA-256 before it takes them."""
        checksum = base64.b64encode(hashlib.sha256(data).digest()).decode("ascii")
        self._call(
            lambda: self._client.put_object(
                Bucket=self._bucket,
                Key=self._prefix + name,
                Body=data,
                ContentType="application/x-ndjson",
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=checksum,
                IfNoneMatch="*",
                ObjectLockMode=_MODE,
                ObjectLockRetainUntilDate=retain_until,
                ObjectLockLegalHoldStatus="ON" if legal_hold else "OFF",
            ),
            name,
        )
        stored = self.head(name)
        if stored is None or stored.sha256 not in {"", hashlib.sha256(data).hexdigest()}:
            raise ArchiveRefused(f"{name}: the archive does not hold what was put there")
        if (
            not stored.locked
            or stored.retain_until is None
            or stored.retain_until < retain_until.replace(microsecond=0)
        ):
            raise ArchiveRefused(f"{name}: the archive does not lock it as it was told")
        return stored

    def get(self, name: str, version: str = "") -> bytes:
        """See :class:`Archive`."""

        def read() -> bytes:
            content: bytes = self._client.get_object(**self._named(name, version))["Body"].read()
            return content

        return self._call(read, name)

    def head(self, name: str, version: str = "") -> Stored | None:
        """See :class:`Archive`."""

        def ask() -> dict[str, Any] | None:
            from botocore.exceptions import ClientError  # noqa: PLC0415

            try:
                found: dict[str, Any] = self._client.head_object(**self._named(name, version), ChecksumMode="ENABLED")
            except ClientError as exc:
                if exc.response.get("Error", {}).get("Code") in _ABSENT:
                    return None
                raise
            return found

        answer = self._call(ask, name)
        if answer is None:
            return None
        until = answer.get("ObjectLockRetainUntilDate")
        checksum = answer.get("ChecksumSHA256", "")
        return Stored(
            name=name,
            sha256=base64.b64decode(checksum).hex(),
            size=int(answer["ContentLength"]),
            version=answer.get("VersionId", ""),
            retain_until=until,
            legal_hold=answer.get("ObjectLockLegalHoldStatus") == "ON",
            locked=answer.get("ObjectLockMode") == _MODE and until is not None and until > datetime.now(UTC),
        )

    def _call(self, work: Callable[[], Result], what: str) -> Result:
        """One call of the store, with one deadline for all of it. What was put too late may be there all the same."""
        try:
            return _translated(lambda: self._bounded.call(work, CALL_SECONDS), what)
        except TimeoutError:
            raise ArchiveRefused(f"{what}: no whole answer in {CALL_SECONDS:g} s") from None

    def _named(self, name: str, version: str) -> dict[str, str]:
        named = {"Bucket": self._bucket, "Key": self._prefix + name}
        return {**named, "VersionId": version} if version else named


def _translated(work: Callable[[], Result], what: str) -> Result:
    """Run ``work``; a failure of the client is said without what the store answered, but for its code."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        return work()
    except ClientError as exc:
        code = str(exc.response.get("Error", {}).get("Code", "unknown"))
        detail = "there is an object of that name already" if code in _TAKEN else f"the archive refused ({code})"
        raise ArchiveRefused(f"{what}: {detail}") from None
    except (BotoCoreError, ValueError) as exc:
        raise ArchiveRefused(f"{what}: {type(exc).__name__}") from None
