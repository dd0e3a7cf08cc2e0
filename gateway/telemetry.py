"""Metrics, traces and the log of the process itself. Never a place for payloads, secrets or names of people."""

import contextlib
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final

import structlog
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway.dead_letters import is_dead
from gateway.model import StepStatus
from gateway.settings import SettingsError, TelemetrySettings
from gateway.state import StepState

_NOTHING: Final = contextlib.nullcontext()


class Metrics:
    """Prometheus metrics of one gateway, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.plans = Counter("handrail_plans", "Plans by outcome of acceptance.", ["outcome"], registry=self.registry)
        self.refusals = Counter("handrail_refusals", "Refusals by reason code.", ["reason"], registry=self.registry)
        self.steps = Counter("handrail_steps", "Steps by final status.", ["status", "hand"], registry=self.registry)
        self.step_seconds = Histogram(
            "handrail_step_seconds",
            "Time from dispatch to outcome of a step.",
            ["hand"],
            registry=self.registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )
        self.dead_letters = Counter(
            "handrail_dead_letters",
            "Steps that ended as dead letters, and dead letters that people settled: dead, retried or discarded.",
            ["hand", "outcome"],
            registry=self.registry,
        )
        self.hand_calls = Counter(
            "handrail_hand_calls",
            "Calls that say something of their hand: answered, late by its objective, or a fault of the hand.",
            ["hand", "outcome"],
            registry=self.registry,
        )
        self.hand_objective = Gauge(
            "handrail_hand_objective",
            "What is expected of a hand, as a part of 1: availability, or latency_quantile.",
            ["hand", "objective"],
            registry=self.registry,
        )
        self.cached_results = Counter(
            "handrail_cached_results",
            "Calls of cacheable actions, by whether an answer was at hand: hit or miss.",
            ["hand", "outcome"],
            registry=self.registry,
        )
        self.cached_bytes = Gauge(
            "handrail_cached_results_bytes", "What kept answers are counted for.", registry=self.registry
        )
        self.plans_live = Gauge("handrail_plans_live", "Plans under way in this process.", registry=self.registry)
        self.held = Counter("handrail_steps_held", "Steps held for a person.", ["hand"], registry=self.registry)
        self.egress = Counter(
            "handrail_egress",
            "What jails asked to be sent, by hand and by what became of it: connected, or refused for a cause.",
            ["hand", "outcome"],
            registry=self.registry,
        )
        self.hand_retries = Counter(
            "handrail_hand_retries",
            "Attempts after the first of a call, by why the one before failed.",
            ["hand", "reason"],
            registry=self.registry,
        )
        self.hand_withheld = Counter(
            "handrail_hand_withheld",
            "Attempts that were not made, by why: the hand is busy, or its circuit is open.",
            ["hand", "reason"],
            registry=self.registry,
        )
        self.hand_circuits = Gauge(
            "handrail_hand_circuits_open",
            "Circuits of a hand that do not let everything through: of whole tenants, or of single principals.",
            ["hand", "of"],
            registry=self.registry,
        )
        self.hand_running = Gauge(
            "handrail_hand_running", "Calls of a hand that hold one of its slots.", ["hand"], registry=self.registry
        )
        self.hand_waiting = Gauge(
            "handrail_hand_waiting", "Calls of a hand that wait for a slot.", ["hand"], registry=self.registry
        )
        self.key_age = Gauge(
            "handrail_key_age_seconds",
            "Seconds since the active key of a purpose began to sign.",
            ["purpose"],
            registry=self.registry,
        )
        self.policy_problem = Gauge(
            "handrail_policy_problem", "1 while a newer bundle was rejected.", registry=self.registry
        )
        self.policy_pulls = Counter(
            "handrail_policy_pulls",
            "Pulls from the Git remote that looked at something new, by what became of them: good, refused or failed.",
            ["outcome"],
            registry=self.registry,
        )
        self.policy_pull_good = Gauge(
            "handrail_policy_pull_good_timestamp_seconds",
            "When the Git remote last held a good bundle, in seconds since the epoch; 0 before the first time.",
            registry=self.registry,
        )
        self.policy_observed = Gauge(
            "handrail_policy_observed",
            "Hands under observation: when it ends, in seconds since the epoch.",
            ["tenant", "hand"],
            registry=self.registry,
        )
        self.policy_let_go = Counter(
            "handrail_policy_let_go",
            "Steps let go only because their hand is observed, by what the policy said.",
            ["tenant", "hand", "said"],
            registry=self.registry,
        )

        self.freezes = Gauge(
            "handrail_freezes", "Freezes in force, as this gateway knows them.", registry=self.registry
        )
        self.freeze_stopped = Counter(
            "handrail_freeze_stopped",
            "Calls that were ended: by a freeze, or because it could not be known what is frozen.",
            ["by"],
            registry=self.registry,
        )
        self.policy_canary = Gauge(
            "handrail_policy_canary",
            "For how many principals in a hundred a candidate bundle decides.",
            registry=self.registry,
        )
        self.policy_canary_stopped = Gauge(
            "handrail_policy_canary_stopped",
            "1 while a canary that stopped itself is in force: the stricter of both bundles decides.",
            registry=self.registry,
        )
        self.policy_compared = Counter(
            "handrail_policy_compared",
            "Steps judged by a candidate bundle too, by what came of it; for a shadow also inputs that were left out.",
            ["trial", "outcome"],
            registry=self.registry,
        )
        self.policy_shadow_waiting = Gauge(
            "handrail_policy_shadow_waiting", "Policy inputs that wait for the shadow.", registry=self.registry
        )

        self.webhook_messages = Counter(
            "handrail_webhook_messages",
            "Messages for webhooks by what became of them: delivered, retried, dead or dropped.",
            ["webhook", "outcome"],
            registry=self.registry,
        )
        self.webhook_waiting = Gauge(
            "handrail_webhook_messages_waiting", "Messages not delivered yet.", ["webhook"], registry=self.registry
        )

        self.identity_fetches = Counter(
            "handrail_identity_fetches",
            "Fetches of an issuer's keys by what became of them: good or failed.",
            ["issuer", "outcome"],
            registry=self.registry,
        )
        self.identity_good = Gauge(
            "handrail_identity_keys_good_timestamp_seconds",
            "When an issuer's keys were last fetched, in seconds since the epoch; 0 before the first time.",
            ["issuer"],
            registry=self.registry,
        )

        self.log_witness_size = Gauge(
            "handrail_log_witness_tree_size", "The largest tree that a witness cosigned.", ["witness"],
            registry=self.registry,
        )  # fmt: skip
        self.log_witness_time = Gauge(
            "handrail_log_witness_timestamp_seconds",
            "When a witness last cosigned, by its own clock, in seconds since the epoch; 0 for never.",
            ["witness"],
            registry=self.registry,
        )
        self.log_witness_fault = Gauge(
            "handrail_log_witness_fault",
            "1 while the newest attempt to have a checkpoint cosigned failed, by how it failed.",
            ["witness", "fault"],
            registry=self.registry,
        )
        self.tls_ends = Gauge(
            "handrail_tls_certificate_expiry_timestamp_seconds",
            "When the listener's certificate is over, in seconds since the epoch; 0 without TLS.",
            registry=self.registry,
        )
        self.tls_problem = Gauge(
            "handrail_tls_certificate_problem",
            "1 while newer certificate files cannot be used, or the certificate is over.",
            registry=self.registry,
        )
        self.log_quorum_lag = Gauge(
            "handrail_log_quorum_lag_seconds",
            "How long ago enough witnesses last gave their word; 0 where none is needed.",
            registry=self.registry,
        )

        self.backup_made = Gauge(
            "handrail_backup_made_timestamp_seconds",
            "When the newest backup on record was made, in seconds since the epoch; 0 for never.",
            registry=self.registry,
        )
        self._of_listener()
        self._of_models()

    def _of_listener(self) -> None:
        self.http_limited = Counter(
            "handrail_http_limited",
            "Requests refused with 429 for a rate or for too many at once, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self.http_connections = Gauge("handrail_http_connections", "Connections open now.", registry=self.registry)
        self.http_connections_refused = Counter(
            "handrail_http_connections_refused",
            "Connections that got no service, by why: too many in all, or of one address.",
            ["reason"],
            registry=self.registry,
        )
        self.http_hung_up = Counter(
            "handrail_http_hung_up",
            "Connections ended from here: no request in time, an answer that nobody read, or too many to be told.",
            ["why"],
            registry=self.registry,
        )

    def _of_models(self) -> None:
        self.runs_live = Gauge("handrail_runs_live", "Runs that this process takes forward.", registry=self.registry)
        self.runs = Counter(
            "handrail_runs", "Runs that ended, by how: done, failed or cancelled.", ["status"], registry=self.registry
        )
        self.run_tokens = Counter(
            "handrail_run_tokens",
            "Tokens of runs, by brain and kind: input, output, cache_read, cache_write.",
            ["brain", "kind"],
            registry=self.registry,
        )
        self.model_tokens = Counter(
            "handrail_model_tokens",
            "Tokens of models' answers, by hand and kind: input or output.",
            ["hand", "kind"],
            registry=self.registry,
        )
        self.agent_sessions = Gauge(
            "handrail_agent_sessions",
            "Sessions of managed agents that this gateway follows now.",
            ["connector"],
            registry=self.registry,
        )
        self.agent_events = Counter(
            "handrail_agent_events",
            "Events of managed agents' sessions: new, duplicate, unknown (of a type that nobody here knows) or broken.",
            ["connector", "outcome"],
            registry=self.registry,
        )
        self.agent_answers = Counter(
            "handrail_agent_answers",
            "Tool uses of managed agents that were answered: allow, deny, result; ambiguous, refused or ended.",
            ["connector", "outcome"],
            registry=self.registry,
        )
        self.agent_reconnects = Counter(
            "handrail_agent_reconnects",
            "Streams of managed agents' sessions that broke or could not be opened.",
            ["connector"],
            registry=self.registry,
        )
        self.agent_bypasses = Counter(
            "handrail_agent_bypasses",
            "What of managed agents went past the gateway, or could: let_go, answered_elsewhere, policy.",
            ["connector", "cause"],
            registry=self.registry,
        )

    def count(self, states: Iterable[StepState]) -> None:
        """Count steps that were just held, or that ended."""
        for state in states:
            # A name that a caller made up must not become a time series.
            hand = state.step.hand if state.manifest_digest is not None else "unknown"
            if state.status is StepStatus.HELD:
                self.held.labels(hand).inc()
            elif state.status.final:
                self.steps.labels(str(state.status), hand).inc()
                for kind, number in state.used().items():
                    self.model_tokens.labels(hand, kind.removesuffix("_tokens")).inc(number)
                if is_dead(state):
                    self.dead_letters.labels(hand, "dead").inc()

    def count_egress(self, hand: str, outcome: str, number: int) -> None:
        """Count what a hand's jail asked to be sent: ``connected``, or the cause of a refusal."""
        self.egress.labels(hand, outcome).inc(number)


def note(name: str, **attributes: str | int) -> None:
    """Mark a moment in the span that is open, where there is one."""
    trace.get_current_span().add_event(name, attributes)


class Tracer:
    """One span per numbered step, with the plan's ``context_id``; free of cost where nobody listens."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("handrail") if provider is not None else None

    def stage(self, name: str, context_id: str = "") -> AbstractContextManager[Any]:
        """A span around one stage."""
        if self._tracer is None:
            return _NOTHING
        return self._span(name, context_id)

    @contextlib.contextmanager
    def _span(self, name: str, context_id: str) -> Iterator[trace.Span]:
        if self._tracer is None:
            raise RuntimeError("no tracer")
        attributes = {"handrail.context_id": context_id} if context_id else None
        with self._tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=True
        ) as span:
            yield span

    def close(self) -> None:
        """Flush what is pending."""
        if self._provider is not None:
            self._provider.shutdown()


def tracer(settings: TelemetrySettings) -> Tracer:
    """The tracer that the settings ask for.

    Raises:
        SettingsError: ``otlp`` without its exporter installed.
    """
    exporter: SpanExporter
    if settings.traces == "none":
        return Tracer()
    if settings.traces == "console":
        exporter = ConsoleSpanExporter(out=sys.stderr)
    else:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        except ImportError:
            raise SettingsError("telemetry.traces = 'otlp' needs: pip install 'handrail[otlp]'") from None
        exporter = OTLPSpanExporter(endpoint=settings.otlp_endpoint)
    provider = TracerProvider(resource=Resource.create({"service.name": "handrail"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracer(provider)


def configure_logging(settings: TelemetrySettings) -> None:
    """Send structlog to standard error, for people or as one JSON object a line."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.log_level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
