"""How Azure Monitor's distribution is set up; what it then sends is tests/integration/test_telemetry.py's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from azure.monitor.opentelemetry import _constants
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics

from shared import telemetry_names
from shared.telemetry_azure import INSTRUMENTATIONS

ROOT = Path(__file__).parents[2]
STARTED = (
    "import sys, types\n"
    "from shared import telemetry, api\n"
    "from opentelemetry import trace\n"
    "import azure.monitor.opentelemetry as distribution\n"
    "called = []\n"
    "distribution.configure_azure_monitor = lambda **options: called.append(options)\n"
)
CONNECTION = {"APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=k", "TELEMETRY_CONTENT": "True"}


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What another interpreter does, in the project's folder: a process has one OpenTelemetry."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def test_every_instrumentation_of_the_distribution_is_off() -> None:
    assert set(INSTRUMENTATIONS) == set(_constants._ALL_SUPPORTED_INSTRUMENTED_LIBRARIES)
    code = STARTED + "telemetry.start()\nprint(called[0]['instrumentation_options'])"
    assert python(code, **CONNECTION).stdout.strip() == str({name: {"enabled": False} for name in INSTRUMENTATIONS})


def test_content_is_told_where_the_setting_says_so() -> None:
    code = STARTED + "telemetry.start()\nprint(telemetry.sink().on, telemetry.sink().content)"
    assert python(code, **CONNECTION).stdout.strip() == "True True"
    assert python(code, **{**CONNECTION, "TELEMETRY_CONTENT": ""}).stdout.strip() == "True False"


def test_all_chats_are_told_unless_the_operator_samples() -> None:
    code = STARTED + "telemetry.start()\nprint(called[0].get('sampling_ratio'))"
    assert python(code, **CONNECTION).stdout.strip() == "1.0"
    assert python(code, **CONNECTION, OTEL_TRACES_SAMPLER="microsoft.rate_limited").stdout.strip() == "None"


def test_what_the_worker_has_set_up_is_used_and_complained_of() -> None:
    provided = "from opentelemetry.sdk.trace import TracerProvider\ntrace.set_tracer_provider(TracerProvider())\n"
    done = python(STARTED + provided + "telemetry.start()\nprint(len(called), telemetry.sink().on)", **CONNECTION)
    assert done.stdout.strip() == "0 True"
    assert "set PYTHON_ENABLE_OPENTELEMETRY instead of PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY" in done.stderr


def test_names_of_the_conventions_are_theirs() -> None:
    ours, *theirs = (
        {text for text in vars(module).values() if isinstance(text, str) and text.startswith("gen_ai.")}
        for module in (telemetry_names, gen_ai_attributes, gen_ai_metrics)
    )
    assert ours
    assert ours - set().union(*theirs) == set()
