"""What settings say about queue triggers: `extensions.queues` of host.json, queue names, connections.

Contract: QueuesOptions of the storage extension 5.x, and the host's rules for `%NAME%` and connections.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from local.azurite import connection_string
from local.functions_host import time_span

_QUEUE_NAME = re.compile(r"(?=.{3,63}\Z)[a-z0-9]+(?:-[a-z0-9]+)*")
_SETTING = re.compile(r"%([^%]+)%")
_AZURITE_PORT = 10000
_DEVELOPMENT_STORAGE = "UseDevelopmentStorage=true"


@dataclass(frozen=True)
class QueueOptions:
    """How queues are read.

    Args:
        batch_size: most messages of one fetch, 1 to 32.
        new_batch_threshold: the next fetch waits until no more messages than this are in work.
        max_polling_seconds: longest pause between two looks at an empty queue.
        visibility_seconds: pause before a message that failed comes again.
        max_dequeue_count: how many tries a message has, the first included.
        is_base64: messages are base64; otherwise they are plain text.
    """

    batch_size: int = 16
    new_batch_threshold: int = field(default_factory=lambda: 8 * (os.cpu_count() or 1))
    # The host's default where AZURE_FUNCTIONS_ENVIRONMENT is Development; in Azure it is a minute.
    max_polling_seconds: float = 2.0
    visibility_seconds: float = 0.0
    max_dequeue_count: int = 5
    is_base64: bool = True


def read_queue_options(section: Mapping[str, Any]) -> QueueOptions:
    """The options in `extensions.queues`.

    Raises:
        ValueError: one has no sense; the text says which.
    """
    batch_size = _whole(section, "batchSize", 16, 1, 32)
    encoding = str(section.get("messageEncoding", "base64")).lower()
    if encoding not in ("base64", "none"):
        raise ValueError('messageEncoding must be "base64" or "none"')
    return QueueOptions(
        batch_size=batch_size,
        new_batch_threshold=_whole(section, "newBatchThreshold", batch_size // 2 * (os.cpu_count() or 1), 0, 10_000),
        max_polling_seconds=_duration(section, "maxPollingInterval", QueueOptions.max_polling_seconds, 0.1),
        visibility_seconds=_duration(section, "visibilityTimeout", QueueOptions.visibility_seconds, 0),
        max_dequeue_count=_whole(section, "maxDequeueCount", QueueOptions.max_dequeue_count, 1, 1_000_000),
        is_base64=encoding == "base64",
    )


def expand(text: str, environment: Mapping[str, str]) -> str:
    """A binding's text with each `%NAME%` replaced by the app setting of that name.

    Raises:
        ValueError: there is no such setting, or it is empty.
    """

    def value(match: re.Match[str]) -> str:
        found = environment.get(match[1])
        if not found:
            raise ValueError(f"'%{match[1]}%' does not resolve to a value")
        return found

    return _SETTING.sub(value, text)


def check_queue_name(name: str) -> None:
    """Raises ValueError for a name that no queue can have."""
    if not _QUEUE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no queue name: 3 to 63 lower-case letters, digits and single hyphens")


@dataclass(frozen=True)
class Connection:
    """Where a queue is: with a connection string, or the service's address for an identity.

    Args:
        text: the connection string; empty where an identity is used.
        service_uri: the queue service's address, for an identity.
        client_id: of a user-assigned identity.
    """

    text: str = field(default="", repr=False)
    service_uri: str = ""
    client_id: str = ""


def connection(name: str, environment: Mapping[str, str]) -> Connection:
    """The connection that a binding's `connection` names.

    Raises:
        ValueError: no setting says where the storage is.
    """
    name = name or "AzureWebJobsStorage"
    text = environment.get(name) or environment.get(f"AzureWebJobs{name}") or ""
    if text:
        is_emulator = text.strip().rstrip(";").lower() == _DEVELOPMENT_STORAGE.lower()
        return Connection(connection_string(_AZURITE_PORT) if is_emulator else text)
    account = environment.get(f"{name}__accountName", "")
    uri = environment.get(f"{name}__queueServiceUri") or (account and f"https://{account}.queue.core.windows.net")
    if not uri:
        raise ValueError(f"the setting {name} is missing")
    return Connection(service_uri=uri, client_id=environment.get(f"{name}__clientId", ""))


def _whole(section: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    text = str(section.get(name, default))
    if not re.fullmatch(r"\d{1,9}", text) or not low <= int(text) <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}")
    return int(text)


def _duration(section: Mapping[str, Any], name: str, default: float, low: float) -> float:
    if name not in section:
        return default
    found = time_span.seconds(section[name])
    if found is None or found < low:
        raise ValueError(f'{name} must be "hh:mm:ss", at least {low:g} s')
    return found
