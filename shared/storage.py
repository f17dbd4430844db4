"""The storage account that runs are kept in: a container of blobs and a queue, in few operations.

Import it only where it is used: Azure's libraries take a while to load. Container and queue are made on first use.
Errors are `StorageError`s, whose text holds neither an address nor a key.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import requests
from azure.core import MatchConditions
from azure.core.credentials import AccessToken
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import BlobLeaseClient, ContainerClient, LinearRetry
from azure.storage.queue import LinearRetry as QueueRetry
from azure.storage.queue import QueueClient, TextBase64EncodePolicy

from shared import errors
from shared.deadline import Deadline
from shared.errors import IdentityError, SettingError
from shared.identity import process_credential
from shared.settings import Settings
from shared.storage_errors import Refusal, error_code, told

CONTAINER = "runs"
# One attempt; after the attempts, one operation; and one transfer of many pieces.
CONNECT_SECONDS, READ_SECONDS, ATTEMPTS, TRANSFER_SECONDS = 5, 10, 3, 60
# A lease has to be renewed in time or given up.
RENEW_SECONDS = 5
_PIECE_BYTES = 8_000_000
# Azure Functions gives an instance up to so many threads; more connections than this are closed after use.
_CONNECTIONS = 64
# Azure allows 63 characters, and the host's queue of poisoned messages has seven more at its end.
_QUEUE_NAME = r"(?=.{3,56}\Z)(?!.*-poison\Z)[a-z0-9]+(-[a-z0-9]+)*"
_ACCOUNT_NAME = r"[a-z0-9]{3,24}"
_CONNECTION_NAME = "AzureWebJobsStorage"


@dataclass(frozen=True)
class Blob:
    """What was read.

    Attributes:
        data: all of it.
        etag: of this version.
    """

    data: bytes = field(repr=False)
    etag: str


@dataclass(frozen=True)
class Entry:
    """A blob in a list.

    Attributes:
        name: its full name.
        modified_at: seconds since the epoch.
    """

    name: str
    modified_at: float


@dataclass(frozen=True)
class Page:
    """A part of a list.

    Attributes:
        entries: in the order of their names.
        marker: for the next part; None where there is none.
    """

    entries: tuple[Entry, ...]
    marker: str | None


class Storage:
    """A container and a queue. Every method raises StorageError, or IdentityError where there is no token.

    After an error other than a refusal, what was asked may have been done all the same.

    Args:
        container: of the blobs.
        queue: that encodes as the Functions runtime expects.
    """

    def __init__(self, container: ContainerClient, queue: QueueClient) -> None:
        self._container = container
        self._queue = queue

    @classmethod
    def from_settings(cls, settings: Settings, *, container: str = CONTAINER, attempts: int = ATTEMPTS) -> Storage:
        """The storage that the settings name; nothing is sent yet.

        Args:
            settings: with a connection string, which wins, or an account for the app's identity.
            container: of the blobs.
            attempts: of each request.

        Raises:
            SettingError: a setting is missing or malformed.
        """
        if not re.fullmatch(_QUEUE_NAME, settings.run_queue_name):
            raise SettingError(
                "RUN_QUEUE_NAME",
                "It is not 3 to 56 lower-case letters, digits and hyphens, or ends in -poison.",
            )
        # It writes down every request with its address.
        logging.getLogger("azure.core.pipeline.policies.http_logging_policy").setLevel(logging.WARNING)
        retry: Any = {"backoff": 1, "retry_total": attempts - 1, "random_jitter_range": 1}
        blob_options = {
            "retry_policy": LinearRetry(**retry),
            "transport": _transport(),
            "max_single_put_size": _PIECE_BYTES,
            "max_block_size": _PIECE_BYTES,
            "max_single_get_size": _PIECE_BYTES,
            "max_chunk_get_size": _PIECE_BYTES,
        }
        queue_options = {
            "retry_policy": QueueRetry(**retry),
            "transport": _transport(),
            "message_encode_policy": TextBase64EncodePolicy(),
        }
        text, name = settings.storage_connection, settings.run_queue_name
        if text:
            try:
                return cls(
                    ContainerClient.from_connection_string(text, container, **blob_options),
                    QueueClient.from_connection_string(text, name, **queue_options),
                )
            except ValueError:
                raise SettingError(_CONNECTION_NAME, "It is not a connection string.") from None
        credential = _AppCredential(settings.storage_client_id or settings.azure_client_id)
        blobs = _service("blob", settings.storage_blob_uri, settings)
        queues = _service("queue", settings.storage_queue_uri, settings)
        return cls(
            ContainerClient(blobs, container, credential=credential, **blob_options),
            QueueClient(queues, name, credential=credential, **queue_options),
        )

    def close(self) -> None:
        """Closes the connections."""
        self._container.close()
        self._queue.close()

    def read(self, name: str, most_bytes: int) -> Blob | None:
        """A blob; None where there is none.

        Args:
            name: of the blob.
            most_bytes: a larger one is refused before more than a piece of it is read.
        """
        in_time = _in_time()
        with told():
            for _ in range(ATTEMPTS):
                # All pieces are of one version; where another one has come in between, that one is read.
                with Refusal(412):
                    return self._download(name, most_bytes, in_time)
        raise errors.StorageUnavailable("A blob was changed again and again while it was read.")

    def create(self, name: str, data: bytes) -> str | None:
        """Writes a new blob and returns its etag; None where there is one of that name already."""
        return self._write(name, data, overwrite=False)

    def replace(self, name: str, data: bytes, etag: str) -> str | None:
        """Writes a blob and returns its etag; None where it is no longer of that version."""
        return self._write(name, data, overwrite=True, etag=etag, match_condition=MatchConditions.IfNotModified)

    def put(self, name: str, data: bytes) -> str | None:
        """Writes a blob, new or not, and returns its etag; None where somebody has a lease on it."""
        return self._write(name, data, overwrite=True)

    def delete(self, name: str) -> None:
        """Deletes a blob; one that does not exist is no error, and one that somebody has a lease on stays."""
        with told(), suppress(ResourceNotFoundError), Refusal(412):
            self._container.delete_blob(name)

    def page(self, prefix: str, limit: int, marker: str | None = None) -> Page:
        """Blobs in the order of their names.

        Args:
            prefix: of their names.
            limit: most of them, 1 to 5000; there may be fewer although more follow.
            marker: of the page before; None for the first.
        """
        with told(), suppress(ResourceNotFoundError):
            pages = self._container.list_blobs(name_starts_with=prefix, results_per_page=limit).by_page(marker)
            found: Any = next(pages, ())
            entries = tuple(Entry(blob.name, _epoch(blob.last_modified)) for blob in found)
            return Page(entries, pages.continuation_token or None)  # type: ignore[attr-defined]  # ItemPaged's pages
        return Page((), None)

    def acquire(self, name: str, seconds: int) -> str | None:
        """Takes a lease on a blob and returns its id; None where somebody else has one.

        Args:
            name: of a blob that exists.
            seconds: how long it lasts unless it is renewed, 15 to 60.
        """
        with told(), Refusal(409):
            lease = BlobLeaseClient(self._container.get_blob_client(name))
            lease.acquire(seconds)
            return lease.id
        return None

    def renew(self, name: str, lease_id: str) -> bool:
        """Lets a lease last for as long again; False where it is lost. One attempt: time is short."""
        with told(), suppress(ResourceNotFoundError), Refusal(409, 412):
            self._lease(name, lease_id).renew(
                retry_total=0, connection_timeout=RENEW_SECONDS, read_timeout=RENEW_SECONDS
            )
            return True
        return False

    def release(self, name: str, lease_id: str) -> None:
        """Ends a lease; one that is lost is no error."""
        with told(), suppress(ResourceNotFoundError), Refusal(409, 412):
            self._lease(name, lease_id).release()

    def send(self, text: str, delay_seconds: int = 0) -> None:
        """Puts a message into the queue.

        Args:
            text: of the message.
            delay_seconds: how long nobody gets it, up to 7 days.
        """
        with told():
            try:
                self._queue.send_message(text, visibility_timeout=delay_seconds)
            except ResourceNotFoundError:
                with suppress(ResourceExistsError):
                    self._queue.create_queue()
                self._queue.send_message(text, visibility_timeout=delay_seconds)

    def _write(self, name: str, data: bytes, **conditions: Any) -> str | None:
        with told(), Refusal(412), suppress(ResourceExistsError):
            try:
                return self._upload(name, data, conditions)
            except ResourceNotFoundError as error:
                # With a condition on the version the blob itself may be what is missing.
                if error_code(error) != "ContainerNotFound":
                    return None
                with suppress(ResourceExistsError):
                    self._container.create_container()
                return self._upload(name, data, conditions)
        return None

    def _download(self, name: str, most_bytes: int, in_time: Callable[[int, int | None], None]) -> Blob | None:
        with suppress(ResourceNotFoundError):
            stream = self._container.download_blob(name, progress_hook=in_time)
            if stream.size > most_bytes:
                raise errors.StorageLimitExceeded(f"A blob has {stream.size} bytes; {most_bytes} are allowed.")
            return Blob(stream.readall(), stream.properties.etag)
        return None

    def _upload(self, name: str, data: bytes, conditions: dict[str, Any]) -> str:
        blob = self._container.get_blob_client(name)
        return str(blob.upload_blob(data, length=len(data), progress_hook=_in_time(), **conditions)["etag"])

    def _lease(self, name: str, lease_id: str) -> BlobLeaseClient:
        return BlobLeaseClient(self._container.get_blob_client(name), lease_id)


class _AppCredential:
    """The process's credential, whose failures are told as such."""

    def __init__(self, client_id: str) -> None:
        self._client_id = client_id

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        try:
            return process_credential(self._client_id).get_token(*scopes, **options)
        except Exception as error:
            raise IdentityError(f"No token could be had ({type(error).__name__}).") from error


def _transport() -> RequestsTransport:
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=_CONNECTIONS))
    session.hooks["response"] = [_read_failure]
    return RequestsTransport(session=session, connection_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS)


def _read_failure(response: requests.Response, **_: Any) -> None:
    # The library drops it unread, and its connection with it.
    if response.status_code >= 400:
        response.content  # noqa: B018  # it is kept where it was read


def _service(kind: str, uri: str, settings: Settings) -> str:
    if uri:
        if not re.fullmatch(r"https://[A-Za-z0-9.-]+(:\d{1,5})?(/[A-Za-z0-9-]*)?", uri):
            raise SettingError(f"{_CONNECTION_NAME}__{kind}ServiceUri", "It is not the https address of a service.")
        return uri
    account = settings.storage_account
    if not account:
        raise SettingError(
            _CONNECTION_NAME,
            f"Runs need a storage account: set {_CONNECTION_NAME}__accountName, or {_CONNECTION_NAME} to a connection "
            f"string, or to UseDevelopmentStorage=true where Azurite runs.",
        )
    if not re.fullmatch(_ACCOUNT_NAME, account):
        raise SettingError(f"{_CONNECTION_NAME}__accountName", "It is not the name of a storage account.")
    return f"https://{account}.{kind}.core.windows.net"


def _in_time() -> Callable[[int, int | None], None]:
    """Ends a transfer of many pieces: each of them alone has its own time."""
    deadline = Deadline.after(TRANSFER_SECONDS)
    return lambda done, total: deadline.check()


def _epoch(time: datetime) -> float:
    return time.timestamp()
