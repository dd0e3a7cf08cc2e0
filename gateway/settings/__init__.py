"""One frozen settings object, from ``handrail.toml`` and ``HANDRAIL_*`` variables; unknown keys are refused.

Environment variables win over the file: ``HANDRAIL_SERVER__PORT=8081`` sets ``[server] port``. Units are in names.
``handrail config example`` prints a commented file generated from these modules, so that it cannot drift.
"""

from gateway.settings.base import Section, SettingsError
from gateway.settings.brains import BrainSettings, RunSettings
from gateway.settings.code_hands import CodeActionSettings, OutputFileSettings, PythonSettings, WasmSettings
from gateway.settings.connections import ConnectionSettings
from gateway.settings.hand_databases import HandDatabaseSettings
from gateway.settings.hands import (
    ActionSettings,
    BindSettings,
    EgressLimits,
    EgressSettings,
    HandSettings,
    PaginationSettings,
    ProcessingSettings,
    holds_a_secret,
)
from gateway.settings.identity import IdentitySettings, LoginSettings
from gateway.settings.jail import JailSettings
from gateway.settings.key_services import AwsKmsSettings, Pkcs11Settings, TransitSettings
from gateway.settings.limits import LimitSettings
from gateway.settings.loading import Settings, load
from gateway.settings.mail import MailSettings
from gateway.settings.managed_agents import EnvironmentSettings, ManagedAgentsSettings
from gateway.settings.mcp_clients import McpClientSettings
from gateway.settings.models import ModelSettings
from gateway.settings.objectives import SloSettings
from gateway.settings.policy import (
    PolicySettings,
    ProposalSettings,
    ProvenanceSettings,
    RemoteSettings,
    RolloutSettings,
)
from gateway.settings.resilience import ResilienceSettings
from gateway.settings.results import ActionResultSettings, PresidioSettings, RecogniserSettings, ResultSettings
from gateway.settings.secrets import SEALED, HandSecretSettings, SecretSettings, SecretStoreSettings, origin_of
from gateway.settings.server import (
    ConsoleSettings,
    ControllerSettings,
    PlanSettings,
    ServerSettings,
    TelemetrySettings,
    TlsSettings,
    WebhookSettings,
)
from gateway.settings.storage import (
    ArchiveSettings,
    DatabaseSettings,
    KeySettings,
    LogSettings,
    PrivacySettings,
    WitnessSettings,
)

__all__ = [
    "SEALED",
    "ActionResultSettings",
    "ActionSettings",
    "ArchiveSettings",
    "AwsKmsSettings",
    "BindSettings",
    "BrainSettings",
    "CodeActionSettings",
    "ConnectionSettings",
    "ConsoleSettings",
    "ControllerSettings",
    "DatabaseSettings",
    "EgressLimits",
    "EgressSettings",
    "EnvironmentSettings",
    "HandDatabaseSettings",
    "HandSecretSettings",
    "HandSettings",
    "IdentitySettings",
    "JailSettings",
    "KeySettings",
    "LimitSettings",
    "LogSettings",
    "LoginSettings",
    "MailSettings",
    "ManagedAgentsSettings",
    "McpClientSettings",
    "ModelSettings",
    "OutputFileSettings",
    "PaginationSettings",
    "Pkcs11Settings",
    "PlanSettings",
    "PolicySettings",
    "PresidioSettings",
    "PrivacySettings",
    "ProcessingSettings",
    "ProposalSettings",
    "ProvenanceSettings",
    "PythonSettings",
    "RecogniserSettings",
    "RemoteSettings",
    "ResilienceSettings",
    "ResultSettings",
    "RolloutSettings",
    "RunSettings",
    "SecretSettings",
    "SecretStoreSettings",
    "Section",
    "ServerSettings",
    "Settings",
    "SettingsError",
    "SloSettings",
    "TelemetrySettings",
    "TlsSettings",
    "TransitSettings",
    "WasmSettings",
    "WebhookSettings",
    "WitnessSettings",
    "holds_a_secret",
    "load",
    "origin_of",
]
