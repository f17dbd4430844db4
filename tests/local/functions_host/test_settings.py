from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from local.functions_host.settings import (
    LocalSettings,
    SettingsError,
    apply_environment,
    origins,
    read_host_config,
    read_local_settings,
)


def write(folder: Path, name: str, content: Any) -> Path:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_host_json_is_optional(tmp_path: Path) -> None:
    config = read_host_config(tmp_path, {})
    assert (config.route_prefix, config.timeout_seconds) == ("api", 1800)


@pytest.mark.parametrize(
    ("timeout", "seconds"), [("00:05:00", 300), ("1.00:00:01", 86401), ("-1", None), ("01:00:00", 3600)]
)
def test_function_timeout(tmp_path: Path, timeout: str, seconds: float | None) -> None:
    write(tmp_path, "host.json", {"version": "2.0", "functionTimeout": timeout})
    assert read_host_config(tmp_path, {}).timeout_seconds == seconds


def test_prefix_and_its_override_in_the_environment(tmp_path: Path) -> None:
    write(tmp_path, "host.json", {"version": "2.0", "extensions": {"http": {"routePrefix": "/v1/"}}})
    assert read_host_config(tmp_path, {}).route_prefix == "v1"
    override = {"AzureFunctionsJobHost__extensions__http__routePrefix": ""}
    assert read_host_config(tmp_path, override).route_prefix == ""


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "host.json is not valid JSON"),
        ([], "JSON object"),
        ({}, "version"),
        ({"version": "2.0", "functionTimeout": "5 minutes"}, "functionTimeout"),
        ({"version": "2.0", "functionTimeout": "00:00:00"}, "functionTimeout"),
        ({"version": "2.0", "extensions": {"http": {"routePrefix": 1}}}, "routePrefix"),
        ({"version": "2.0", "extensions": []}, None),
        ({"version": "2.0", "extensions": [1]}, "extensions"),
        ({"version": "2.0", "extensions": {"http": {"maxOutstandingRequests": "many"}}}, "maxOutstandingRequests"),
    ],
)
def test_malformed_host_json(tmp_path: Path, content: Any, problem: str | None) -> None:
    write(tmp_path, "host.json", content)
    if problem is None:
        assert read_host_config(tmp_path, {}).route_prefix == "api"
        return
    with pytest.raises(SettingsError, match=problem):
        read_host_config(tmp_path, {})


def test_local_settings(tmp_path: Path) -> None:
    content = {
        "IsEncrypted": False,
        "Values": {"A": "1", "B": 2, "C": None, "": "x"},
        "Host": {"LocalHttpPort": 7072, "CORS": "https://a.example, https://b.example/", "CORSCredentials": True},
    }
    settings = read_local_settings(write(tmp_path, "local.settings.json", content))
    assert settings == LocalSettings(
        {"A": "1", "B": "2", "C": None, "": "x"}, 7072, ("https://a.example", "https://b.example"), True
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"Values": {}}, "IsEncrypted"),
        ({"IsEncrypted": True}, "IsEncrypted"),
        ("nothing", "not valid JSON"),
        ({"IsEncrypted": False, "Values": {"A": {}}}, "'A'"),
        ({"IsEncrypted": False, "Host": {"LocalHttpPort": "x"}}, "LocalHttpPort"),
    ],
)
def test_malformed_local_settings(tmp_path: Path, content: Any, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        read_local_settings(write(tmp_path, "local.settings.json", content))


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    environment = {"TAKEN": "from the shell", "AZURE_FUNCTIONS_ENVIRONMENT": "Production"}
    lines: list[str] = []
    settings = LocalSettings({"TAKEN": "from the file", "NEW": "value", "": "x", "EMPTY": None})
    apply_environment(settings, environment, app_dir=tmp_path, port=7075, warn=lines.append)
    assert environment == {
        "TAKEN": "from the shell",
        "NEW": "value",
        "AZURE_FUNCTIONS_ENVIRONMENT": "Development",
        "WEBSITE_HOSTNAME": "localhost:7075",
        "AzureWebJobsScriptRoot": str(tmp_path),
        "PYTHON_ENABLE_DEBUG_LOGGING": "1",
    }
    assert lines == [
        "Skipping 'TAKEN' from local settings as it's already defined in current environment variables.",
        "Skipping local setting with empty key.",
        "Skipping 'EMPTY' because value is null",
    ]


def test_origins() -> None:
    assert origins("") == ()
    assert origins("*") == ("*",)
