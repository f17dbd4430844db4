"""What the two settings files of an app say: `host.json` and `local.settings.json`.

Contract: Azure Functions host.json reference, and `func start` of Core Tools (StartHostAction).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.functions_host import time_span
from local.functions_host.queue_settings import QueueOptions, read_queue_options

DEFAULT_TIMEOUT_SECONDS = 1800.0
_OVERRIDE = "AzureFunctionsJobHost__"


class SettingsError(Exception):
    """A settings file that the host cannot run with; the text says which and why."""


@dataclass(frozen=True)
class HostConfig:
    """The part of `host.json` that this host heeds.

    Args:
        route_prefix: what comes before every route, without slashes; empty for none.
        timeout_seconds: how long one invocation may run; None for no bound.
        max_outstanding: how many requests may be under way, beyond which the answer is 429.
        queues: how queues are read.
    """

    route_prefix: str = "api"
    timeout_seconds: float | None = DEFAULT_TIMEOUT_SECONDS
    max_outstanding: int = 1000
    queues: QueueOptions = field(default_factory=QueueOptions)


@dataclass(frozen=True)
class LocalSettings:
    """The content of `local.settings.json`.

    Args:
        values: app settings; None where the file says null.
        port: `Host.LocalHttpPort`.
        cors: the origins of `Host.CORS`.
        cors_credentials: `Host.CORSCredentials`.
    """

    values: Mapping[str, str | None]
    port: int | None = None
    cors: tuple[str, ...] = ()
    cors_credentials: bool = False


def read_host_config(app_dir: Path, environment: Mapping[str, str]) -> HostConfig:
    """Reads `host.json`, with the overrides `AzureFunctionsJobHost__a__b` of the environment.

    Raises:
        SettingsError: the file is no version 2.0 host.json, or a value has no sense.
    """
    path = app_dir / "host.json"
    content = _json_object(path) if path.exists() else {"version": "2.0"}
    if content.get("version") != "2.0":
        raise SettingsError('The host.json file is missing the required property "version": "2.0".')
    for name, value in environment.items():
        if name.startswith(_OVERRIDE):
            _override(content, name[len(_OVERRIDE) :].split("__"), value)
    extensions = _section(content, "extensions")
    http = _section(extensions, "http")
    prefix = http.get("routePrefix", "api")
    if not isinstance(prefix, str):
        raise SettingsError("host.json: extensions.http.routePrefix must be a string.")
    try:
        queues = read_queue_options(_section(extensions, "queues"))
    except ValueError as error:
        raise SettingsError(f"host.json: extensions.queues.{error}.") from error
    return HostConfig(
        route_prefix=prefix.strip("/"),
        timeout_seconds=_seconds(content.get("functionTimeout")),
        max_outstanding=_outstanding(http.get("maxOutstandingRequests")),
        queues=queues,
    )


def read_local_settings(app_dir: Path) -> LocalSettings:
    """Reads `local.settings.json`; without the file there are no settings.

    Raises:
        SettingsError: the file is encrypted (also when `IsEncrypted` is missing) or malformed.
    """
    path = app_dir / "local.settings.json"
    if not path.exists():
        return LocalSettings({})
    content = _json_object(path)
    if content.get("IsEncrypted", True) is not False:
        raise SettingsError(
            'local.settings.json: "IsEncrypted" must be false; only Core Tools can read encrypted settings '
            "(func settings decrypt)."
        )
    values = _section(content, "Values")
    for name, value in values.items():
        if isinstance(value, (dict, list)):
            raise SettingsError(f"local.settings.json: the value of {name!r} must be a string.")
    host = _section(content, "Host")
    port = host.get("LocalHttpPort")
    if port is not None and not (isinstance(port, int) and 0 <= port <= 65535):
        raise SettingsError("local.settings.json: Host.LocalHttpPort must be a port number.")
    return LocalSettings(
        values={name: _text(value) for name, value in values.items()},
        port=port,
        cors=origins(str(host.get("CORS") or "")),
        cors_credentials=host.get("CORSCredentials") is True,
    )


def origins(text: str) -> tuple[str, ...]:
    """The CORS origins in a comma-separated text."""
    return tuple(part.strip().rstrip("/") for part in text.split(",") if part.strip())


def apply_environment(
    settings: LocalSettings,
    environment: MutableMapping[str, str],
    *,
    app_dir: Path,
    port: int,
    warn: Callable[[str], object],
) -> None:
    """Sets the environment of the app as `func start` does: what is already set wins over the file.

    Args:
        settings: the app settings.
        environment: what to change, usually `os.environ`.
        app_dir: the app's folder.
        port: the port that the app will be reached at.
        warn: takes one line per setting that is left out; names only, never values.
    """
    already = frozenset(environment)
    for name, value in settings.values.items():
        if not name:
            warn("Skipping local setting with empty key.")
        elif name in already:
            warn(f"Skipping '{name}' from local settings as it's already defined in current environment variables.")
        elif value is None:
            warn(f"Skipping '{name}' because value is null")
        else:
            environment[name] = value
    environment["AZURE_FUNCTIONS_ENVIRONMENT"] = "Development"
    environment["WEBSITE_HOSTNAME"] = f"localhost:{port}"
    environment["AzureWebJobsScriptRoot"] = str(app_dir)
    environment.setdefault("PYTHON_ENABLE_DEBUG_LOGGING", "1")


def _json_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise SettingsError(f"{path.name} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{path.name} must hold a JSON object.")
    return content


def _section(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = content.get(name) or {}
    if not isinstance(section, dict):
        raise SettingsError(f"The settings' section {name!r} must be a JSON object.")
    return section


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value)


def _override(content: dict[str, Any], keys: list[str], value: str) -> None:
    for key in keys[:-1]:
        inner = content.get(key)
        if not isinstance(inner, dict):
            inner = content[key] = {}
        content = inner
    content[keys[-1]] = value


def _seconds(value: object) -> float | None:
    if value is None:
        return DEFAULT_TIMEOUT_SECONDS
    if value in ("-1", -1):
        return None
    total = time_span.seconds(value)
    if total is None:
        raise SettingsError('host.json: functionTimeout must be "hh:mm:ss" or "-1".')
    if total == 0:
        raise SettingsError("host.json: functionTimeout must be longer than zero.")
    return total


def _outstanding(value: object) -> int:
    default = HostConfig.max_outstanding
    if value is None:
        return default
    try:
        number = int(str(value))
    except ValueError:
        raise SettingsError("host.json: maxOutstandingRequests must be a whole number.") from None
    return default if number < 1 else min(number, default)
