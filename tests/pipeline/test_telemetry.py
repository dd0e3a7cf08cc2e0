"""One span per numbered step with the plan's context, and metrics whose labels a caller cannot invent."""

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.calls import HandCall, HandResult
from gateway.telemetry import Tracer
from tests.pipeline.house import House, step

STAGES = {
    "1 ingress",
    "2 verify",
    "3 schema",
    "4 policy",
    "5 approval",
    "6 credential",
    "6 record",
    "7 dispatch",
    "8 result",
    "9 record",
}
"""Span names of the numbered steps."""


async def test_every_numbered_step_is_a_span_with_its_context(house: House) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    house.pipeline.tracer = Tracer(provider)
    await house.plan(step("a"), context_id="journey")
    spans = exporter.get_finished_spans()
    assert {span.name for span in spans} == STAGES
    contexts = {span.name: (span.attributes or {}).get("handrail.context_id") for span in spans}
    assert {name for name, context in contexts.items() if context == "journey"} == STAGES - {
        "1 ingress",  # nobody knows the context before the plan is verified and read
        "2 verify",
    }
    provider.shutdown()


async def test_no_span_carries_args_results_or_an_exceptions_text(house: House) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    house.pipeline.tracer = Tracer(provider)

    async def explode(call: HandCall) -> HandResult:
        raise ValueError("top-secret-text")

    house.hands.behaviour["echo"] = explode
    await house.plan(step("a", args={"text": "private-argument"}))
    shown = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert "private-argument" not in shown
    assert "top-secret-text" not in shown
    provider.shutdown()


def value(house: House, name: str, **labels: str) -> float:
    return house.pipeline.metrics.registry.get_sample_value(name, labels) or 0.0


async def test_metrics_count_plans_steps_and_refusals(house: House) -> None:
    await house.plan(step("a"), step("w", "write"), step("x", hand="made-up-by-the-caller"))
    assert value(house, "handrail_plans_total", outcome="accepted") == 1
    assert value(house, "handrail_steps_total", status="succeeded", hand="tool") == 1
    assert value(house, "handrail_steps_held_total", hand="tool") == 1
    assert value(house, "handrail_steps_total", status="denied", hand="unknown") == 1
    assert value(house, "handrail_plans_live") == 0
    samples = [sample for metric in house.pipeline.metrics.registry.collect() for sample in metric.samples]
    assert not [sample for sample in samples if "made-up-by-the-caller" in sample.labels.values()]
