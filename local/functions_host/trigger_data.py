"""What functions get from triggers that are not HTTP, made by the official library's own converters.

Contract: what the host sends to the worker (reference: azure.functions.queue and azure.functions.timer).
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from azure.functions.meta import Datum
from azure.functions.queue import QueueMessageInConverter
from azure.functions.timer import TimerRequestConverter

from local.functions_host.queue_storage import Message


def queue_message(text: str, message: Message | None = None) -> Any:
    """The `func.QueueMessage` of a message.

    Args:
        text: its decoded text.
        message: as it was fetched; None for a call by hand, which has only the text.
    """
    metadata = {"Id": _text(message.id if message else ""), "QueueTrigger": _text(text)}
    metadata["DequeueCount"] = _json(message.dequeue_count if message else 0)
    if message:
        metadata["PopReceipt"] = _text(message.receipt)
        metadata["InsertionTime"] = _time(message.inserted)
        metadata["ExpirationTime"] = _time(message.expires)
        metadata["NextVisibleTime"] = _time(message.visible_again)
    return QueueMessageInConverter.decode(_text(text), trigger_metadata=metadata)


def timer_request() -> Any:
    """The `func.TimerRequest` of a call in time: this host keeps no record of calls that it missed."""
    content = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": False}
    return TimerRequestConverter.decode(_json(content), trigger_metadata=None)


def _text(value: str) -> Datum:
    return Datum(value, "string")


def _json(value: object) -> Datum:
    return Datum(json.dumps(value), "json")


def _time(value: datetime) -> Datum:
    return _json(value.isoformat())
