"""Telemetry by OpenTelemetry, and to Application Insights.

Import it only where it is switched on.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import context, metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import SpanKind, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared import VERSION
from shared.identity import process_credential
from shared.settings import Settings
from shared.telemetry import Attributes, Kind, Sink
from shared.telemetry_names import ERROR, METRICS, SCHEMA_URL

SCOPE = "autogen-aca-sessions"
# All that the distribution would instrument by itself: their spans hold URLs, and a URL of the pool holds the session's
# identifier, one of the storage a run's names.
INSTRUMENTATIONS = (
    "azure_sdk",
    "django",
    "fastapi",
    "flask",
    "httpx",
    "httpx2",
    "psycopg2",
    "requests",
    "urllib",
    "urllib3",
)
_W3C = TraceContextTextMapPropagator()
_log = logging.getLogger(__name__)


class OpenTelemetry(Sink):
    """Tells it to OpenTelemetry.

    Args:
        tracers: where spans go.
        meters: where metrics go.
        content: whether to tell what was said, written and printed.
    """

    on = True

    def __init__(self, tracers: TracerProvider, meters: MeterProvider, *, content: bool = False) -> None:
        self.content = content
        self._tracer = tracers.get_tracer(SCOPE, VERSION, SCHEMA_URL)
        meter = meters.get_meter(SCOPE, VERSION, SCHEMA_URL)
        self._counters = {
            name: meter.create_counter(name, row.unit, row.meaning) for name, row in METRICS.items() if row.counts
        }
        self._histograms = {
            name: meter.create_histogram(name, row.unit, row.meaning) for name, row in METRICS.items() if not row.counts
        }

    @contextmanager
    def span(self, name: str, attributes: Attributes, *, kind: Kind = "internal", parent: str = "") -> Iterator[None]:
        """As told in `Sink`."""
        with self._tracer.start_as_current_span(
            name,
            _W3C.extract({"traceparent": parent}) if parent else None,
            SpanKind[kind.upper()],
            dict(attributes),
            # An exception's own words may hold anything.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            finally:
                span.set_attributes(attributes)
                if ERROR in attributes:
                    span.set_status(StatusCode.ERROR)

    def event(self, name: str) -> None:
        """As told in `Sink`."""
        trace.get_current_span().add_event(name)

    def measure(self, metric: str, value: float, attributes: Attributes) -> None:
        """As told in `Sink`."""
        if metric in self._counters:
            self._counters[metric].add(value, attributes)
        else:
            self._histograms[metric].record(value, attributes)

    def traceparent(self) -> str:
        """As told in `Sink`."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return carrier.get("traceparent", "")

    @contextmanager
    def within(self, headers: Mapping[str, str]) -> Iterator[None]:
        """As told in `Sink`."""
        token = context.attach(_W3C.extract(headers, context.get_current()))
        try:
            yield
        finally:
            context.detach(token)


def azure_sink(settings: Settings) -> Sink:
    """Sends spans, metrics and the app's own log lines to Application Insights.

    Args:
        settings: with the connection string.

    Raises:
        ImportError: a package is not installed.
        ValueError: the connection string is not of its form.
    """
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        # The worker has done so, with all that it can instrument.
        _log.error(
            "The Functions worker tells every URL, the identifiers of sessions with them: set "
            "PYTHON_ENABLE_OPENTELEMETRY instead of PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY."
        )
    else:
        _configure(settings)
    content = settings.telemetry_content.lower() == "true"
    return OpenTelemetry(trace.get_tracer_provider(), metrics.get_meter_provider(), content=content)


def _configure(settings: Settings) -> None:
    from azure.monitor.opentelemetry import configure_azure_monitor

    # As the Functions worker does it; the distribution's own detectors would look for a virtual machine.
    os.environ.setdefault("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "azure_functions")
    # Without a choice of the operator's it would be five spans a second.
    sampling: dict[str, Any] = {} if "OTEL_TRACES_SAMPLER" in os.environ else {"sampling_ratio": 1.0}
    configure_azure_monitor(
        connection_string=settings.telemetry_connection,
        credential=process_credential(settings.azure_client_id),
        # Libraries' lines may hold URLs.
        logger_name="shared",
        instrumentation_options={name: {"enabled": False} for name in INSTRUMENTATIONS},
        enable_live_metrics=False,
        enable_performance_counters=False,
        disable_offline_storage=True,
        **sampling,
    )
