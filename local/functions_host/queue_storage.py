"""One storage queue, as a listener uses it. Calls block: the listener makes them in threads."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueClient, StorageErrorCode

from local.functions_host.queue_settings import Connection

POISON_SUFFIX = "-poison"
_NAME_LENGTH_MAX = 63
_CONNECT_SECONDS = 5
_READ_SECONDS = 20


class StorageFailed(Exception):
    """The storage did not do what it was asked; the text says why, without addresses."""


class MessageGone(StorageFailed):
    """The message is no longer this listener's: deleted, or fetched by another one."""


@dataclass(frozen=True)
class Message:
    """A fetched message.

    Args:
        id: the queue's name for it.
        receipt: what renews, returns or deletes it; changes with each renewal.
        raw: its text as it lies in the queue.
        dequeue_count: how often it was fetched, this time included.
        inserted, expires, visible_again: times in UTC.
    """

    id: str
    receipt: str
    raw: str
    dequeue_count: int
    inserted: datetime
    expires: datetime
    visible_again: datetime


class StorageQueue:
    """A queue and its poison queue.

    Args:
        connection: where they are.
        name: the queue's name.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self.name = name
        self._queue = _client(connection, name)
        poison = name + POISON_SUFFIX
        has_poison = not name.endswith(POISON_SUFFIX) and len(poison) <= _NAME_LENGTH_MAX
        self._poison = _client(connection, poison) if has_poison else None

    @property
    def has_poison(self) -> bool:
        """Whether messages that fail too often have a queue to go to."""
        return self._poison is not None

    def fetch(self, count: int, visibility_seconds: int) -> list[Message]:
        """Up to `count` messages, hidden from others for a while; none where the queue does not exist.

        Raises:
            StorageFailed: the storage did not answer, or refused.
        """
        with _failures(), suppress(ResourceNotFoundError):
            pages = self._queue.receive_messages(
                messages_per_page=count, visibility_timeout=visibility_seconds, max_messages=count
            ).by_page()
            return [_message(found) for found in next(pages, ())]
        return []

    def hide(self, message: Message, seconds: int) -> Message:
        """Keeps a message from others for so many seconds from now; returns it with its new receipt.

        Raises:
            MessageGone: it is not ours any more.
            StorageFailed: the storage did not answer, or refused.
        """
        with _failures():
            changed = self._queue.update_message(message.id, message.receipt, visibility_timeout=seconds)
            return replace(message, receipt=str(changed.pop_receipt))

    def delete(self, message: Message) -> None:
        """Removes a message; one that is deleted already is no error.

        Raises:
            MessageGone: another has it.
            StorageFailed: the storage did not answer, or refused.
        """
        with _failures(), suppress(ResourceNotFoundError):
            self._queue.delete_message(message.id, message.receipt)

    def copy_to_poison(self, message: Message) -> None:
        """Copies a message to the poison queue, made if there is none yet; the message stays here.

        Raises:
            StorageFailed: the storage did not answer, or refused.
        """
        if self._poison is None:
            return
        with _failures():
            try:
                self._poison.send_message(message.raw)
            except ResourceNotFoundError:
                self._poison.create_queue()
                self._poison.send_message(message.raw)

    def close(self) -> None:
        """Closes the connections."""
        for client in filter(None, (self._queue, self._poison)):
            client.close()


def decoded(message: Message, *, is_base64: bool) -> str:
    """The text that the function gets.

    Raises:
        ValueError: it is no base64.
    """
    if not is_base64:
        return message.raw
    try:
        return base64.b64decode(message.raw, validate=True).decode("utf-8", "replace")
    except binascii.Error as error:
        raise ValueError("the message is not base64") from error


def _client(connection: Connection, name: str) -> QueueClient:
    # No retries of the SDK's own: the listener has its own pauses, and tells once that the storage is away.
    options: dict[str, Any] = {
        "retry_total": 0,
        "connection_timeout": _CONNECT_SECONDS,
        "read_timeout": _READ_SECONDS,
        "logging_enable": False,
    }
    if connection.text:
        return QueueClient.from_connection_string(connection.text, name, **options)
    from azure.identity import DefaultAzureCredential

    identity = {"managed_identity_client_id": connection.client_id} if connection.client_id else {}
    return QueueClient(connection.service_uri, name, credential=DefaultAzureCredential(**identity), **options)


def _message(found: Any) -> Message:
    return Message(
        id=found.id,
        receipt=found.pop_receipt,
        raw=found.content or "",
        dequeue_count=found.dequeue_count,
        inserted=found.inserted_on,
        expires=found.expires_on,
        visible_again=found.next_visible_on,
    )


@contextmanager
def _failures() -> Iterator[None]:
    """Makes every failure one of ours: a broken answer makes the SDK raise anything, and a listener outlives it."""
    try:
        yield
    except Exception as error:
        raise _failure(error) from error


def _failure(error: Exception) -> StorageFailed:
    status = getattr(error, "status_code", None)
    code = getattr(error, "error_code", None)
    # An old receipt is 400, not 404: since it was given, another one has fetched or renewed the message.
    if status == 404 or code == StorageErrorCode.POP_RECEIPT_MISMATCH:
        return MessageGone("another has the message, or has deleted it")
    # The text of an error may hold the account's address.
    parts = [type(error).__name__, *([f"status {status}"] if status else []), *([str(code)] if code else [])]
    return StorageFailed(", ".join(parts))
