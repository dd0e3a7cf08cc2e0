"""The whole of the settings, and how they are read: one file, then the environment."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.expected import REQUIRED, UNKNOWN, expected
from gateway.settings.anthropic import AnthropicSettings
from gateway.settings.base import Identifier, SettingsError
from gateway.settings.brains import BrainSettings, RunSettings
from gateway.settings.cache import CacheSettings
from gateway.settings.connections import ConnectionSettings
from gateway.settings.hands import HandSettings
from gateway.settings.identity import IdentitySettings
from gateway.settings.jail import JailSettings
from gateway.settings.limits import LimitSettings
from gateway.settings.managed_agents import ManagedAgentsSettings
from gateway.settings.policy import PolicySettings, ProposalSettings, ProvenanceSettings, RolloutSettings
from gateway.settings.results import ResultSettings
from gateway.settings.secrets import SEALED, SecretSettings, origin_of
from gateway.settings.server import (
    ConsoleSettings,
    ControllerSettings,
    PlanSettings,
    ServerSettings,
    TelemetrySettings,
    WebhookSettings,
)
from gateway.settings.storage import ArchiveSettings, DatabaseSettings, KeySettings, LogSettings, PrivacySettings

HOME: Final = Path("./.handrail")


class Settings(BaseSettings):
    """Everything a gateway is told at start."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="HANDRAIL_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    home: Path = Field(HOME, description="Directory of state: database, keys, staging.")
    server: ServerSettings = ServerSettings()
    limits: LimitSettings = LimitSettings()
    console: ConsoleSettings = ConsoleSettings()
    plans: PlanSettings = PlanSettings()
    database: DatabaseSettings = DatabaseSettings()
    log: LogSettings = LogSettings()
    privacy: PrivacySettings = PrivacySettings()
    archive: ArchiveSettings = ArchiveSettings()
    policy: PolicySettings = PolicySettings()
    provenance: ProvenanceSettings = ProvenanceSettings()
    proposals: ProposalSettings = ProposalSettings()
    rollout: RolloutSettings = RolloutSettings()
    keys: KeySettings = KeySettings()
    secrets: SecretSettings = SecretSettings()
    jail: JailSettings = JailSettings()
    results: ResultSettings = ResultSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    cache: CacheSettings = CacheSettings()
    anthropic: AnthropicSettings = AnthropicSettings()
    controller: ControllerSettings = ControllerSettings()
    runs: RunSettings = RunSettings()
    identity: dict[Identifier, IdentitySettings] = Field({}, description="Issuers of access tokens, by name.")
    connections: dict[Identifier, ConnectionSettings] = Field({}, description="Services that people connect, by name.")
    webhooks: dict[Identifier, WebhookSettings] = Field({}, description="The webhooks, by name.")
    hands: dict[Identifier, HandSettings] = Field({}, description="The hands, by id.")
    managed_agents: dict[Identifier, ManagedAgentsSettings] = Field(
        {}, description="Workspaces at Anthropic whose agents are governed here, by name."
    )
    brains: dict[Identifier, BrainSettings] = Field({}, description="Models that runs may be put to, by id.")

    @field_validator("home", mode="before")
    @classmethod
    def _home_that_is_said(cls, value: object) -> object:
        """An empty HANDRAIL_HOME names no directory, and the working directory least of all."""
        return HOME if value == "" else value

    @model_validator(mode="after")
    def _brains_have_hands(self) -> "Settings":
        for name, brain in self.brains.items():
            hand = brain.hand or name
            if hand not in self.hands:
                raise ValueError(f"brains.{name}: there is no [hands.{hand}] that it could be behind")
            if unknown := sorted({*brain.fallback} - self.brains.keys()):
                raise ValueError(f"brains.{name}.fallback: there is no [brains.{unknown[0]}]")
        return self

    @model_validator(mode="after")
    def _issuers_apart(self) -> "Settings":
        issuers = [one.issuer for one in self.identity.values()]
        if len(set(issuers)) != len(issuers):
            raise ValueError("identity: two tables of one issuer; which of them a token is of could not be told")
        return self

    @model_validator(mode="after")
    def _stores_of_secrets_are_there(self) -> "Settings":
        for hand_id, hand in self.hands.items():
            for name, secret in hand.secrets.items():
                if secret.store != SEALED and secret.store not in self.secrets.stores:
                    raise ValueError(f"hands.{hand_id}.secrets.{name}: there is no [secrets.stores.{secret.store}]")
        return self

    @model_validator(mode="after")
    def _connections_are_there(self) -> "Settings":
        stores = {SEALED, *self.secrets.stores}
        for name, one in self.connections.items():
            if one.client_secret_store not in stores:
                raise ValueError(f"connections.{name}: there is no [secrets.stores.{one.client_secret_store}]")
        for hand_id, hand in self.hands.items():
            for name, secret in hand.secrets.items():
                where = f"hands.{hand_id}.secrets.{name}"
                if secret.connection is None:
                    continue
                known = self.connections.get(secret.connection)
                if known is None:
                    raise ValueError(f"{where}: there is no [connections.{secret.connection}]")
                named = secret.targets or ((hand.base_url,) if hand.base_url else ())
                beyond = [target for target in named if origin_of(target) not in known.origins]
                if beyond:
                    raise ValueError(f"{where}: {beyond[0]} is not among the targets of the connection")
        return self

    @model_validator(mode="after")
    def _managed_agents_have_hands_and_stores(self) -> "Settings":
        for name, one in self.managed_agents.items():
            where = f"managed_agents.{name}"
            if one.store != SEALED and one.store not in self.secrets.stores:
                raise ValueError(f"{where}: there is no [secrets.stores.{one.store}]")
            for hand in filter(None, (one.toolset_hand, *one.mcp_hands.values())):
                if hand not in self.hands:
                    raise ValueError(f"{where}: there is no [hands.{hand}]")
                if self.hands[hand].adapter != "client":
                    raise ValueError(
                        f'{where}: [hands.{hand}] is not of adapter = "client": the service runs its tools'
                    )
            here = {} if one.environment is None else one.environment.tools
            for tool, target in {**one.custom_tools, **here}.items():
                hand = target.partition(".")[0]
                if hand not in self.hands:
                    raise ValueError(f"{where}: {tool}: there is no [hands.{hand}]")
        return self

    @model_validator(mode="after")
    def _kinds_are_known(self) -> "Settings":
        if unknown := sorted({*self.anthropic.redact_personal} - self.results.kinds):
            raise ValueError(
                f"anthropic.redact_personal: there is no kind {unknown[0]}; declare [results.recognisers.{unknown[0]}]"
            )
        for hand_id, hand in self.hands.items():
            for action, word in hand.actions.items():
                if unknown := sorted({*word.results.personal_kinds} - self.results.kinds):
                    where = f"hands.{hand_id}.actions.{action}.results.personal_kinds"
                    raise ValueError(
                        f"{where}: there is no kind {unknown[0]}; declare [results.recognisers.{unknown[0]}]"
                    )
        return self

    @model_validator(mode="after")
    def _keys_in_a_database_of_several_hosts(self) -> "Settings":
        if self.keys.store == "database" and not (self.database.url or "").startswith("postgresql"):
            raise ValueError(
                'keys.store = "database" goes with a PostgreSQL database.url; SQLite is one host\'s, where "file" does'
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then the file's values; no dotenv, no secrets directory."""
        return (EnvSettingsSource(settings_cls), init_settings)

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL in use."""
        return self.database.url or f"sqlite:///{(self.home / 'handrail.db').absolute()}"

    @property
    def eraser_url(self) -> str:
        """The URL as which personal data is erased."""
        return self.database.eraser_url or self.database_url

    @property
    def epochs_directory(self) -> Path:
        """Where the epoch keys lie."""
        return self.privacy.epochs or self.home / "epochs"

    @property
    def master_key_file(self) -> Path:
        """Where the master key lies, unless the environment holds it."""
        return self.keys.master_key_file or self.home / "master.key"

    @property
    def root_file(self) -> Path:
        """Where the data root lies that the master key wraps."""
        return self.keys.root_file or self.home / "root.key"

    @property
    def public_url(self) -> str:
        """The base URL for links, without a trailing slash."""
        scheme = "http" if self.server.tls is None else "https"
        return (self.server.public_url or f"{scheme}://{self.server.host}:{self.server.port}").rstrip("/")


# Variables that steer clients of the gateway, not the gateway itself.
CLIENT_VARIABLES = frozenset(
    {
        "HANDRAIL_URL",
        "HANDRAIL_API_KEY",
        "HANDRAIL_CA_FILE",
        "HANDRAIL_CLIENT_CERT",
        "HANDRAIL_CLIENT_KEY",
        "HANDRAIL_CONFIG",
        "HANDRAIL_MASTER_KEY",
        "HANDRAIL_MASTER_KEY_PREVIOUS",
    }
)


def load(path: Path | None = None) -> Settings:
    """Settings from ``path`` (default: ``HANDRAIL_CONFIG``, then ``./handrail.toml`` if it exists) and the environment.

    Raises:
        SettingsError: naming the file and each wrong key.
    """
    chosen = path or _from_environment() or (Path("handrail.toml") if Path("handrail.toml").exists() else None)
    values: dict[str, Any] = {}
    if chosen is not None:
        try:
            values = tomllib.loads(chosen.read_text(encoding="utf-8"))
        except OSError as exc:
            raise SettingsError(f"{chosen}: {exc.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise SettingsError(f"{chosen}: {exc}") from None
    _refuse_unknown_variables()
    try:
        return Settings(**values)
    except ValidationError as exc:
        problems = "; ".join(map(_said, exc.errors()))
        raise SettingsError(f"{chosen or 'environment'}: {problems}") from None


def _said(problem: Mapping[str, Any]) -> str:
    """Where a setting is wrong, and what should be there."""
    place = ".".join(str(part) for part in problem["loc"])
    own = problem.get("ctx", {}).get("error")
    if problem["type"] == UNKNOWN:
        message = "there is no such setting"
    elif problem["type"] == REQUIRED:
        message = "it must be given"
    elif problem["type"] == "value_error" and own is not None:
        message = str(own)
    else:
        message = f"it should be {expected(problem, 'a table') or 'another value'}"
    return f"{place}: {message}" if place else message


def _from_environment() -> Path | None:
    value = os.environ.get("HANDRAIL_CONFIG")
    return Path(value) if value else None


def _refuse_unknown_variables() -> None:
    """pydantic-settings ignores a mistyped top-level variable; a mistyped safety setting must not pass unseen."""
    for name in os.environ:
        if name.startswith("HANDRAIL_") and name not in CLIENT_VARIABLES:
            section = name.removeprefix("HANDRAIL_").split("__")[0].lower()
            if section not in Settings.model_fields:
                raise SettingsError(f"environment: {name} is not a setting")
