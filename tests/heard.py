"""What the app tells of itself, kept in memory."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import pytest
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.telemetry_azure import OpenTelemetry


class Heard:
    """The spans, metrics and log lines of a process, as an exporter gets them."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._logs = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]  # it has no annotation
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.loggers = LoggerProvider(shutdown_on_exit=False)
        self.loggers.add_log_record_processor(SimpleLogRecordProcessor(self._logs))

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended, in the order of their beginnings."""
        return sorted(self._spans.get_finished_spans(), key=lambda span: span.start_time or 0)

    def span(self, name: str) -> ReadableSpan:
        """The one span of that name."""
        (found,) = (span for span in self.spans if span.name == name)
        return found

    @property
    def lines(self) -> list[Any]:
        """The log lines, with the spans that they were written in."""
        return [row.log_record for row in self._logs.get_finished_logs()]

    @cached_property
    def metrics_data(self) -> MetricsData | None:
        """All metrics as they are at the first call."""
        return self._reader.get_metrics_data()

    @property
    def metrics(self) -> list[tuple[str, dict[str, Any], Any]]:
        """Names, attributes and points of all metrics."""
        data = self.metrics_data
        return [
            (metric.name, dict(point.attributes or {}), point)
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        ]

    def total(self, name: str, **attributes: str) -> float:
        """The sum of a metric's values over the series that have these attributes.

        Args:
            name: of the metric.
            attributes: with _ for a dot, and __ for _.
        """
        points = self._points(name, attributes)
        return sum(point.value if isinstance(point, NumberDataPoint) else point.sum for point in points)

    def count(self, name: str, **attributes: str) -> int:
        """How many values a histogram has, as `total`."""
        return sum(point.count for point in self._points(name, attributes))

    def _points(self, name: str, attributes: dict[str, str]) -> list[Any]:
        wanted = {key.replace("__", "-").replace("_", ".").replace("-", "_"): text for key, text in attributes.items()}
        return [point for metric, has, point in self.metrics if metric == name and wanted.items() <= has.items()]

    @property
    def text(self) -> str:
        """All of it as one text, with everything that an exporter could write."""
        spans = [span.to_json() for span in self.spans]
        lines = [row.to_json() for row in self._logs.get_finished_logs()]
        points = [json.dumps([name, attributes]) for name, attributes, _ in self.metrics]
        return "\n".join([*spans, *lines, *points])


@contextmanager
def heard(*, content: bool = False) -> Iterator[Heard]:
    """Has the process tell it to memory meanwhile, and its log lines too."""
    here = Heard()
    handler = LoggingHandler(logger_provider=here.loggers)
    logger = logging.getLogger("shared")
    logger.addHandler(handler)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("shared.telemetry._process.sink", OpenTelemetry(here.tracers, here.meters, content=content))
            yield here
    finally:
        logger.removeHandler(handler)
