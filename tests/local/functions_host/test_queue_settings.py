from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from local.azurite import connection_string
from local.functions_host.queue_settings import (
    Connection,
    QueueOptions,
    check_queue_name,
    connection,
    expand,
    read_queue_options,
)
from local.functions_host.settings import SettingsError, read_host_config

PROCESSORS = os.cpu_count() or 1


def test_defaults_are_those_of_the_extension_in_development() -> None:
    assert read_queue_options({}) == QueueOptions()
    assert QueueOptions() == QueueOptions(16, 8 * PROCESSORS, 2.0, 0.0, 5, True)


def test_host_json_says_otherwise() -> None:
    section = {
        "batchSize": 4,
        "maxPollingInterval": "00:00:30",
        "visibilityTimeout": "00:01:00.5",
        "maxDequeueCount": 3,
        "messageEncoding": "None",
    }
    assert read_queue_options(section) == QueueOptions(4, 2 * PROCESSORS, 30.0, 60.5, 3, False)
    assert read_queue_options({"batchSize": 1}).new_batch_threshold == 0
    assert read_queue_options({"newBatchThreshold": 7}).new_batch_threshold == 7


def test_environment_overrides_host_json(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text(json.dumps({"version": "2.0", "extensions": {"queues": {"batchSize": 4}}}))
    override = {"AzureFunctionsJobHost__extensions__queues__batchSize": "8"}
    assert read_host_config(tmp_path, {}).queues.batch_size == 4
    assert read_host_config(tmp_path, override).queues.batch_size == 8


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batchSize", 0),
        ("batchSize", 33),
        ("batchSize", "many"),
        ("newBatchThreshold", -1),
        ("maxPollingInterval", "00:00:00"),
        ("maxPollingInterval", 5),
        ("visibilityTimeout", "30 s"),
        ("maxDequeueCount", 0),
        ("messageEncoding", "utf-8"),
    ],
)
def test_senseless_values_are_refused(tmp_path: Path, name: str, value: Any) -> None:
    (tmp_path / "host.json").write_text(json.dumps({"version": "2.0", "extensions": {"queues": {name: value}}}))
    with pytest.raises(SettingsError, match=rf"extensions\.queues\.{name}"):
        read_host_config(tmp_path, {})


def test_names_of_settings_are_expanded() -> None:
    assert expand("%A%-poison", {"A": "runs"}) == "runs-poison"
    assert expand("runs", {}) == "runs"
    assert expand("%A%%B%", {"A": "1", "B": "2"}) == "12"
    for environment in ({}, {"A": ""}):
        with pytest.raises(ValueError, match="'%A%' does not resolve"):
            expand("%A%", environment)


@pytest.mark.parametrize("name", ["runs", "a-b-c", "1" * 63])
def test_queue_names(name: str) -> None:
    check_queue_name(name)
    assert name


@pytest.mark.parametrize("name", ["", "ab", "Runs", "a--b", "-ab", "ab-", "a_b", "1" * 64, "runs\n"])
def test_no_queue_names(name: str) -> None:
    with pytest.raises(ValueError, match="is no queue name"):
        check_queue_name(name)


def test_connections() -> None:
    assert connection("S", {"S": "AccountName=a"}) == Connection("AccountName=a")
    assert connection("", {"AzureWebJobsStorage": "AccountName=a"}) == Connection("AccountName=a")
    assert connection("Other", {"AzureWebJobsOther": "AccountName=b"}) == Connection("AccountName=b")
    assert connection("S", {"S": "UseDevelopmentStorage=true"}) == Connection(connection_string(10000))
    assert connection("S", {"S__accountName": "mine"}) == Connection(service_uri="https://mine.queue.core.windows.net")
    assert connection("S", {"S__queueServiceUri": "https://q.example", "S__clientId": "c"}) == Connection(
        service_uri="https://q.example", client_id="c"
    )
    # The plain setting wins, as in the host.
    assert connection("S", {"S": "AccountName=a", "S__accountName": "mine"}).text == "AccountName=a"
    with pytest.raises(ValueError, match="the setting S is missing"):
        connection("S", {"S": ""})


def test_key_is_not_in_what_is_printed() -> None:
    assert "secret" not in repr(connection("S", {"S": "AccountKey=secret"}))
