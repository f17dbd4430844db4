"""The operator's page asks only for what is told: its queries against what Azure Monitor's exporter makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.monitor.opentelemetry.exporter import AzureMonitorMetricExporter, AzureMonitorTraceExporter

from shared import errors, run_triggers, telemetry_names
from tests.heard import Heard, heard
from tests.identities import local_identity
from tests.scripted_pool import ended
from tests.scripted_server import Answer, Received, scripted_server
from tests.shared.test_telemetry import runs
from tests.shared.test_telemetry_chats import CODE, END, place

PAGE = (Path(__file__).parents[1] / "docs" / "operate.md").read_text("utf-8")
QUERIES = re.findall(r"```kusto\n(.*?)```", PAGE, re.DOTALL)
TABLES = {
    "RemoteDependencyData": "dependencies",
    "RequestData": "requests",
    "MetricData": "customMetrics",
    "MessageData": "traces",
}
FULL = Answer(429, b"{}", {"Retry-After": "9999"})


def scenes() -> Iterator[Heard]:
    """What an app has to tell on a bad day."""
    new = ended("1", x_ms_session_guid="a", x_ms_new_allocation="true")
    with heard() as told, place([CODE, CODE, END], POST_executions=[new, ended("2", x_ms_session_guid="b")]) as here:
        here.ask()
    yield told
    with heard() as told, place([CODE, END] * 2, POST_executions=[ended(stderr="x", status="Failed"), FULL]) as here:
        here.ask()
        here.ask()
    yield told
    silent = Answer(500, b"{}")
    with heard() as told, runs([CODE, END] * 4, POST_executions=[ended("1"), FULL, silent]) as kept:
        for _ in range(2):
            run_triggers.carry_out(kept.post().encode(), kept.store)
        with pytest.raises(run_triggers.NotCarriedOut):
            run_triggers.carry_out(kept.post().encode(), kept.store)
        run_triggers.fail_poisoned(kept.post().encode(), kept.store)
    yield told


def exported(told: Heard) -> list[dict[str, Any]]:
    """The items that Application Insights gets."""

    def answer(number: int, request: Received) -> Answer:
        items = json.loads(request.body)
        return Answer(body=json.dumps({"itemsReceived": len(items), "itemsAccepted": len(items)}).encode())

    with scripted_server(answer) as server:
        connection = f"InstrumentationKey={'0' * 8}-0000-4000-8000-{'0' * 12};IngestionEndpoint={server.url}/"
        tracing = AzureMonitorTraceExporter(
            connection_string=connection, disable_offline_storage=True, tracer_provider=told.tracers
        )
        tracing.export(told.spans)
        data = told.metrics_data
        assert data is not None
        AzureMonitorMetricExporter(connection_string=connection, disable_offline_storage=True).export(data)
        return [item for request in server.received for item in json.loads(request.body)]


class Rows:
    """What a query can find: by table, the names (and messages), the keys and the values of their dimensions."""

    def __init__(self) -> None:
        self.names: dict[str, set[str]] = {table: set() for table in TABLES.values()}
        self.keys: dict[str, set[str]] = {table: set() for table in TABLES.values()}
        self.values: dict[str, set[str]] = {table: set() for table in TABLES.values()}

    def add(self, item: dict[str, Any]) -> None:
        table, data = TABLES[item["data"]["baseType"]], item["data"]["baseData"]
        name = data["metrics"][0]["name"] if "metrics" in data else data.get("name") or data["message"]
        if name != "_OTELRESOURCE_":
            self.names[table].add(name)
            self.keys[table] |= set(data["properties"])
            self.values[table] |= set(data["properties"].values())


@pytest.fixture(scope="module")
def rows() -> Rows:
    found = Rows()
    with pytest.MonkeyPatch.context() as patch, local_identity():
        # The exporter reads it even where it is given another, and does not take an empty one.
        patch.delenv("APPLICATIONINSIGHTS_CONNECTION_STRING")
        for name in ("STATSBEAT_DISABLED_ALL", "SDKSTATS_DISABLED", "CONTROLPLANE_DISABLED"):
            patch.setenv(f"APPLICATIONINSIGHTS_{name}", "true")
        for told in scenes():
            for item in exported(told):
                found.add(item)
    return found


def tables_of(query: str) -> list[str]:
    return [table for table in TABLES.values() if re.search(rf"\b{table}\b", query)]


def test_the_page_has_queries() -> None:
    assert len(QUERIES) >= 10
    assert all(tables_of(query) for query in QUERIES)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_finds_its_dimensions(query: str, rows: Rows) -> None:
    known = set().union(*(rows.keys[table] for table in tables_of(query)))
    asked = set(re.findall(r'customDimensions\["([^"]+)"\]', query))
    assert asked - known == set()


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_finds_its_names_and_values(query: str, rows: Rows) -> None:
    tables = tables_of(query)
    known = set().union(*(rows.names[table] | rows.values[table] for table in tables))
    without_keys = re.sub(r'customDimensions\["[^"]+"\]', "", query)
    asked = {text for text in re.findall(r'"([^"]*)"', without_keys) if not text.startswith("<")}
    assert asked - known == set()


def test_the_alerts_name_codes_that_exist() -> None:
    kinds, codes = [errors.ServiceError], set()
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        codes.add(kind.code)
    alerts = PAGE.partition("## Alerts")[2].partition("##")[0]
    named = re.findall(r"`([a-z_]+)`", alerts)
    assert len(named) >= 6
    assert [name for name in named if not any(code.endswith(name) for code in codes)] == []


def test_the_page_names_all_that_is_told_and_nothing_else() -> None:
    told = {value for name, value in vars(telemetry_names).items() if name.isupper() and isinstance(value, str)}
    named = set(re.findall(r"`((?:aca|gen_ai)\.[a-z_.]+|error\.type)`", PAGE))
    assert named == {name for name in told if not name.startswith("https")}
