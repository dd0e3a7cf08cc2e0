"""The page of metrics lists what a gateway exposes, with the types and labels that it has, and nothing else."""

import re
from collections.abc import Iterator

from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase

from gateway.telemetry import Metrics
from gateway.web.metrics import WebMetrics
from tests.meta.tree import CODE, ROOT, python_files, text, tracked

ROW = re.compile(r"^\| `(handrail_\w+)` \| (counter|gauge|histogram) \| ((?:`\w+`(?:, )?)*) ?\| \S.* \|$", re.MULTILINE)
MAKERS = ("gateway/telemetry.py", "gateway/web/metrics.py")


def exposed() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Name as it is scraped, type and labels of every metric."""
    metrics = Metrics()
    web = WebMetrics(metrics)
    for value in [*vars(metrics).values(), *vars(web).values()]:
        if isinstance(value, MetricWrapperBase):
            [family] = value.describe()
            suffix = "_total" if isinstance(value, Counter) else ""
            yield family.name + suffix, family.type, tuple(value._labelnames)


def test_the_page_lists_every_metric_as_it_is_exposed_and_no_other() -> None:
    rows = ROW.findall(text(ROOT / "docs" / "metrics.md"))
    listed = [(name, kind, tuple(re.findall(r"\w+", labels))) for name, kind, labels in rows]
    assert sorted(listed) == sorted(exposed())


def test_every_metric_is_made_where_the_page_is_checked_against() -> None:
    makers = {
        str(path.relative_to(ROOT)) for path in python_files(*CODE) if re.search(r"\bprometheus_client\b", text(path))
    }
    assert makers == {*MAKERS, "gateway/web/routes/metrics.py"}


NO_METRICS = {"handrail_step", "handrail_app", "handrail_eraser"}
"""A type of authorization details, and roles of PostgreSQL."""


def test_metrics_that_a_page_names_are_there() -> None:
    named = {
        name
        for path in tracked()
        if path.endswith(".md")
        for name in re.findall(r"`(handrail_[a-z_]+)(?:\{[^`]*\})?`", text(ROOT / path))
    }
    assert named - NO_METRICS == {name for name, _, _ in exposed()}
