"""Calls of AWS KMS through the SDK, bounded and with its errors translated. Credentials are found as the SDK does."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.bounded import Bounded
from keys.errors import KeyStoreAway, KeyUnavailable
from keys.stores.breaker import Breaker

ATTEMPTS_MAX: Final = 3
"""Of a call that nobody's step waits for; the SDK waits up to a second, then two, between them (standard mode)."""
PAUSE_SECONDS: Final = 1.0
"""For each attempt of such a call: what the SDK waits before the next one, on average."""
_SAID_MAX: Final = 200
_AWAY: Final = frozenset({"ThrottlingException", "DependencyTimeoutException", "KeyUnavailableException"})
"""Errors that pass by themselves; so do those of the service's own (5xx)."""


class KmsRefused(KeyUnavailable):
    """KMS does not do what it was asked for.

    Attributes:
        code: the error's name in KMS's API, for example ``NotFoundException``.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Kms:
    """KMS in one region. Thread-safe.

    Args:
        region: as the SDK finds it where it is ``None``.
        endpoint_url: the region's where it is ``None``.
        timeout_seconds: for one attempt, from its first packet to the last byte of its answer.

    Raises:
        KeyUnavailable: the SDK is not installed, or finds no region.
    """

    def __init__(self, region: str | None, endpoint_url: str | None, timeout_seconds: float) -> None:
        try:
            import boto3.session  # noqa: PLC0415 - an extra
            import botocore.exceptions  # noqa: PLC0415
            from botocore.config import Config  # noqa: PLC0415
        except ImportError:
            raise KeyUnavailable("keys in AWS KMS need the extra: pip install 'handrail[aws]'") from None
        self._errors: Any = botocore.exceptions
        self._breaker = Breaker()
        self._bounded = Bounded()
        self._timeout_seconds = timeout_seconds

        def client(attempts: int) -> Any:
            config = Config(
                connect_timeout=timeout_seconds,
                read_timeout=timeout_seconds,
                retries={"mode": "standard", "total_max_attempts": attempts},
            )
            return session.client("kms", endpoint_url=endpoint_url, config=config)

        try:
            session = boto3.session.Session(region_name=region)
            self._at_once, self._patient = client(1), client(ATTEMPTS_MAX)
        except (botocore.exceptions.BotoCoreError, ValueError) as exc:
            raise KeyUnavailable(f"AWS KMS: {exc}") from None
        self.region = str(self._patient.meta.region_name)
        self.where = f"AWS KMS in {self.region}"

    def call(self, operation: str, *, once: bool = False, **arguments: object) -> Mapping[str, Any]:
        """One operation, by its name in the SDK.

        Args:
            once: whether it is not tried again where KMS throttles, fails or is out of reach.

        Raises:
            KmsRefused: KMS answered with an error.
            KeyUnavailable: it cannot be reached, or there are no credentials.
        """
        self._breaker.check()
        work = getattr(self._at_once if once else self._patient, operation)
        most = self._timeout_seconds if once else ATTEMPTS_MAX * (self._timeout_seconds + PAUSE_SECONDS)
        try:
            answer = self._bounded.call(lambda: work(**arguments), most)
        except TimeoutError:
            raise self._breaker.open(f"{self.where}: {operation}: no whole answer in {most:g} s") from None
        except self._errors.ClientError as exc:
            said = exc.response.get("Error", {})
            code = str(said.get("Code", "unknown"))
            text = " ".join(str(said.get("Message", "")).split())[:_SAID_MAX]
            detail = f"{self.where}: {operation}: {code} {text}".rstrip()
            if code in _AWAY or exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
                raise KeyStoreAway(detail) from None
            raise KmsRefused(code, detail) from None
        except (self._errors.HTTPClientError, self._errors.ConnectionError) as exc:
            raise self._breaker.open(f"{self.where}: {operation}: {type(exc).__name__}") from None
        except self._errors.BotoCoreError as exc:
            raise KeyUnavailable(f"{self.where}: {operation}: {type(exc).__name__}: {exc}") from None
        if not isinstance(answer, dict):
            raise KeyUnavailable(f"{self.where}: {operation}: its answer is not KMS's")
        return answer
