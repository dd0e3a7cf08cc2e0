"""Secrets in AWS Secrets Manager (the extra ``aws``). Credentials are found as the AWS command line finds them."""

from typing import Any, Final

from gateway.bounded import Bounded
from gateway.ports import SecretValue
from gateway.secrets.threads import StoreThreads
from gateway.secrets.values import missing, taken, unavailable
from gateway.settings import SecretStoreSettings, SettingsError

_ABSENT: Final = frozenset({"ResourceNotFoundException", "InvalidRequestException"})
"""There is none, or it waits for its deletion."""


class AwsSecrets:
    """A ``SecretStore`` over Secrets Manager: the current version (``AWSCURRENT``), and text alone."""

    def __init__(self, client: Any, prefix: str, timeout_seconds: float) -> None:
        self._client = client
        self._prefix = prefix
        self._timeout_seconds = timeout_seconds
        self._bounded = Bounded()
        self._threads = StoreThreads()

    @classmethod
    def open(cls, settings: SecretStoreSettings, timeout_seconds: float) -> "AwsSecrets":
        """The configured service; it is not asked anything yet. Raises ``SettingsError``."""
        try:
            import boto3  # noqa: PLC0415 - an extra, and slow to import
            from botocore.config import Config  # noqa: PLC0415
            from botocore.exceptions import BotoCoreError  # noqa: PLC0415
        except ImportError:
            raise SettingsError("secrets: boto3 is not installed: pip install 'handrail[aws]'") from None
        config = Config(
            connect_timeout=timeout_seconds, read_timeout=timeout_seconds, retries={"total_max_attempts": 1}
        )
        try:
            client = boto3.client(
                "secretsmanager", endpoint_url=settings.endpoint_url, region_name=settings.region, config=config
            )
        except (BotoCoreError, ValueError) as exc:
            raise SettingsError(f"secrets: Secrets Manager cannot be used: {type(exc).__name__}") from None
        return cls(client, settings.prefix, timeout_seconds)

    async def read(self, tenant: str, name: str) -> SecretValue:
        """See ``SecretStore``. The version is the service's VersionId."""
        return await self._threads.run(self._get, f"{self._prefix}{tenant}/{name}")

    async def close(self) -> None:
        """Close the connections."""
        await self._threads.run(self._client.close)
        self._threads.end()

    def _get(self, id_: str) -> SecretValue:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            answer = self._bounded.call(lambda: self._client.get_secret_value(SecretId=id_), self._timeout_seconds)
        except TimeoutError:
            raise unavailable(f"aws: {id_}: no whole answer in {self._timeout_seconds:g} s") from None
        except ClientError as exc:
            code = str(exc.response.get("Error", {}).get("Code", ""))
            if code in _ABSENT:
                raise missing(f"aws: {id_}: {code}") from None
            raise unavailable(f"aws: {id_}: {code}") from None
        except BotoCoreError as exc:
            raise unavailable(f"aws: {id_}: {type(exc).__name__}") from None
        text, version = answer.get("SecretString"), answer.get("VersionId")
        if not isinstance(text, str) or not isinstance(version, str):
            raise missing(f"aws: {id_}: not text")
        return taken(text, version, f"aws: {id_}")
