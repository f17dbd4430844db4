"""A container and a queue: in a real emulator, and against servers that do what no well-behaved storage does."""

from __future__ import annotations

import base64
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import requests
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.transport import HttpTransport
from azure.storage.queue import QueueClient

from shared import storage as storage_module
from shared.errors import (
    IdentityError,
    SettingError,
    StorageForbidden,
    StorageLimitExceeded,
    StorageUnavailable,
    StorageUnreachable,
)
from shared.settings import Settings
from shared.storage import ATTEMPTS, Page, Storage
from tests.scripted_server import Answer, scripted_server
from tests.storage_accounts import NOBODY, answering, storage_at

MINUTE = 60


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, in seconds; none is made."""
    made: list[float] = []
    monkeypatch.setattr(HttpTransport, "sleep", lambda self, seconds: made.append(seconds))
    # Bodies have pauses of their own.
    monkeypatch.setattr("azure.storage.blob._download.time.sleep", made.append)
    return made


# In the emulator


def test_a_blob_is_what_was_written(storage: Storage) -> None:
    etag = storage.create("a/b", b"one")
    blob = storage.read("a/b", 3)
    assert blob is not None
    assert (blob.data, blob.etag) == (b"one", etag)


def test_the_first_operation_of_all_may_be_any(storage: Storage) -> None:
    assert storage.read("a", 1) is None
    assert storage.page("", 10) == Page((), None)
    storage.delete("a")
    assert storage.replace("a", b"", '"0x0"') is None


def test_a_blob_is_created_once(storage: Storage) -> None:
    assert storage.create("a", b"one")
    assert storage.create("a", b"two") is None
    blob = storage.read("a", 10)
    assert blob is not None
    assert blob.data == b"one"


def test_a_blob_is_replaced_only_in_the_version_that_is_named(storage: Storage) -> None:
    first = storage.create("a", b"one")
    assert first
    second = storage.replace("a", b"two", first)
    assert second
    assert second != first
    assert storage.replace("a", b"three", first) is None
    storage.delete("a")
    assert storage.replace("a", b"four", second) is None
    assert storage.read("a", 10) is None


def test_a_blob_that_does_not_exist_cannot_be_replaced_and_need_not_be_deleted(storage: Storage) -> None:
    storage.put("other", b"")
    assert storage.replace("a", b"", '"0x0"') is None
    storage.delete("a")
    assert storage.read("a", 1) is None


def test_a_blob_larger_than_allowed_is_refused(storage: Storage) -> None:
    storage.put("a", b"x" * 101)
    with pytest.raises(StorageLimitExceeded, match="100"):
        storage.read("a", 100)


def test_a_blob_of_several_pieces_is_whole(storage: Storage) -> None:
    data = bytes(range(256)) * 70_000
    storage.put("a", data)
    blob = storage.read("a", len(data))
    assert blob is not None
    assert blob.data == data


def test_a_blob_that_is_written_anew_while_it_is_read_is_of_one_version(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, writes = 17_000_000, 0
    storage.put("a", b"0" * size)
    writing = threading.Lock()

    def between_pieces(done: int, total: int | None) -> None:
        nonlocal writes
        # Writing has pieces too.
        if writes < most_writes and writing.acquire(blocking=False):
            writes += 1
            storage.put("a", b"%d" % (writes % 10) * size)
            writing.release()

    monkeypatch.setattr(storage_module, "_in_time", lambda: between_pieces)
    most_writes = 1
    blob = storage.read("a", size)
    assert blob is not None
    assert blob.data == b"1" * size
    most_writes = 100
    with pytest.raises(StorageUnavailable):
        storage.read("a", size)


def test_a_transfer_of_many_pieces_ends_in_time(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(17_000_000)
    storage.put("a", data)
    monkeypatch.setattr(storage_module, "TRANSFER_SECONDS", 0)
    with pytest.raises(StorageUnreachable, match="too long"):
        storage.read("a", len(data))
    with pytest.raises(StorageUnreachable, match="too long"):
        storage.put("b", data)
    monkeypatch.undo()
    assert storage.read("b", len(data)) is None


def test_blobs_are_listed_by_name_page_by_page(storage: Storage) -> None:
    for name in ("b", "a/2", "a/1", "a/3"):
        storage.put(name, b"")
    first = storage.page("a/", 2)
    second = storage.page("a/", 2, first.marker)
    assert [entry.name for entry in (*first.entries, *second.entries)] == ["a/1", "a/2", "a/3"]
    assert second.marker is None
    assert all(entry.modified_at > 1_700_000_000 for entry in first.entries)


def test_a_lease_keeps_others_from_the_blob(storage: Storage) -> None:
    storage.put("a", b"")
    lease = storage.acquire("a", 15)
    assert lease
    assert storage.acquire("a", 15) is None
    assert storage.put("a", b"") is None
    storage.delete("a")
    assert storage.renew("a", lease)
    storage.release("a", lease)
    storage.release("a", lease)
    assert not storage.renew("a", lease) or storage.acquire("a", 15)


def test_somebody_elses_lease_is_neither_renewed_nor_ended(storage: Storage) -> None:
    storage.put("a", b"")
    assert storage.acquire("a", 15)
    stranger = "00000000-0000-0000-0000-000000000000"
    assert not storage.renew("a", stranger)
    storage.release("a", stranger)
    assert storage.acquire("a", 15) is None
    assert not storage.renew("never-there", stranger)


def test_a_message_is_base64_as_the_functions_runtime_expects(
    storage: Storage, azurite: Settings, container: str
) -> None:
    storage.send("the run's id")
    storage.send("later", MINUTE)
    queue = QueueClient.from_connection_string(azurite.storage_connection, container)
    messages = list(queue.receive_messages(max_messages=10))
    queue.close()
    assert [base64.b64decode(message.content) for message in messages] == [b"the run's id"]


# Failures


def test_a_wrong_key_is_forbidden(azurite: Settings) -> None:
    key = base64.b64encode(b"another key").decode()
    parts = azurite.storage_connection.split(";")
    text = ";".join(f"AccountKey={key}" if part.startswith("AccountKey") else part for part in parts)
    storage = Storage.from_settings(Settings(storage_connection=text), attempts=1)
    with pytest.raises(StorageForbidden) as caught:
        storage.read("a", 10)
    storage.close()
    assert key not in "".join(traceback.format_exception(caught.value))


def test_a_key_that_is_none_is_not_shown() -> None:
    text = "AccountName=account;AccountKey=secret!key;BlobEndpoint=http://127.0.0.1:1/account"
    with pytest.raises((SettingError, StorageForbidden)) as caught:
        Storage.from_settings(Settings(storage_connection=text), attempts=1).read("a", 10)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("answer", [Answer(hang_up=True), Answer(silent=True)], ids=["hangs up", "is silent"])
def test_a_storage_that_does_not_answer_is_unreachable(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_module, "READ_SECONDS", 0.2)
    with (
        scripted_server(answering(answer)) as server,
        storage_at(server.url, attempts=1) as storage,
        pytest.raises(StorageUnreachable),
    ):
        storage.read("a", 10)


def test_a_storage_that_is_not_there_is_unreachable(pauses: list[float]) -> None:
    with storage_at(NOBODY) as storage:
        for operation in (
            lambda: storage.read("a", 10),
            lambda: storage.put("a", b""),
            lambda: storage.acquire("a", 15),
            lambda: storage.release("a", "00000000-0000-0000-0000-000000000000"),
            lambda: storage.send("a"),
        ):
            pauses.clear()
            with pytest.raises(StorageUnreachable):
                operation()
            assert len(pauses) == ATTEMPTS - 1
            assert all(0 <= seconds <= 2 for seconds in pauses)


def test_attempts_are_few_and_the_last_one_counts(pauses: list[float]) -> None:
    fine = Answer(200, b"data", {"ETag": '"1"', "Content-Range": "bytes 0-3/4"})
    with (
        scripted_server(lambda number, request: Answer(503) if number < ATTEMPTS - 1 else fine) as server,
        storage_at(server.url) as storage,
    ):
        blob = storage.read("a", 10)
        assert blob is not None
        assert blob.data == b"data"
        assert len(server.received) == ATTEMPTS == len(pauses) + 1
    with scripted_server(answering(Answer(503))) as server, storage_at(server.url) as storage:
        with pytest.raises(StorageUnavailable):
            storage.read("a", 10)
        assert len(server.received) == ATTEMPTS


def test_a_lease_is_renewed_in_one_attempt_because_time_is_short(pauses: list[float]) -> None:
    with storage_at(NOBODY) as storage, pytest.raises(StorageUnreachable):
        storage.renew("a", "00000000-0000-0000-0000-000000000000")
    assert pauses == []


def test_a_body_that_ends_too_early_is_no_blob(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    monkeypatch.setattr(storage_module, "READ_SECONDS", 0.2)
    answer = Answer(206, b"da", {"ETag": '"1"', "Content-Range": "bytes 0-3/4", "Content-Length": "4"})
    with (
        scripted_server(answering(answer)) as server,
        storage_at(server.url, attempts=1) as storage,
        pytest.raises(StorageUnreachable),
    ):
        storage.read("a", 10)
    assert sum(pauses) <= ATTEMPTS


# Settings


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (Settings(), "AzureWebJobsStorage"),
        (Settings(storage_connection="secret"), "AzureWebJobsStorage"),
        (Settings(storage_connection="AccountKey=secret"), "AzureWebJobsStorage"),
        (Settings(storage_account="a.evil.example/secret"), "AzureWebJobsStorage__accountName"),
        (Settings(storage_account="acc", storage_blob_uri="http://secret"), "AzureWebJobsStorage__blobServiceUri"),
        (
            Settings(storage_account="acc", storage_queue_uri="https://u:secret@h"),
            "AzureWebJobsStorage__queueServiceUri",
        ),
        (Settings(storage_blob_uri="https://acc.blob.core.windows.net"), "AzureWebJobsStorage"),
        (Settings(storage_connection="UseDevelopmentStorage=true", run_queue_name="Secret"), "RUN_QUEUE_NAME"),
    ],
)
def test_a_setting_that_does_not_fit_is_named_and_not_shown(settings: Settings, name: str) -> None:
    with pytest.raises(SettingError) as caught:
        Storage.from_settings(settings)
    assert caught.value.name == name
    assert "secret" not in "".join(traceback.format_exception(caught.value)).lower()


@pytest.mark.parametrize("name", ["r-1", "q" * 56, "poison", "runs-poisoned"])
def test_a_queue_may_be_called_what_leaves_room_for_that_of_its_poisoned_messages(name: str) -> None:
    Storage.from_settings(Settings(storage_connection="UseDevelopmentStorage=true", run_queue_name=name)).close()
    assert len(f"{name}-poison") <= 63


@pytest.mark.parametrize("name", ["ru", "q" * 57, "runs-poison", "runs--1", "-runs", "runs-", "runs\n", "Runs", "a/b"])
def test_a_queue_that_could_not_be_or_not_be_poisoned_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match="RUN_QUEUE_NAME"):
        Storage.from_settings(Settings(storage_connection="UseDevelopmentStorage=true", run_queue_name=name))


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[requests.PreparedRequest]:
    """What would have been sent."""
    kept: list[requests.PreparedRequest] = []

    def send(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        kept.append(request)
        raise requests.ConnectionError

    monkeypatch.setattr(requests.Session, "send", send)
    return kept


class Credential:
    def __init__(self, client_id: str) -> None:
        self._client_id = client_id

    def get_token(self, *scopes: str, **options: object) -> AccessToken:
        if self._client_id == "none":
            raise ClientAuthenticationError("https://login.example/secret")
        return AccessToken(f"token for {self._client_id} {scopes[0]}", 4_000_000_000)


BOTH = {"storage_blob_uri": "https://b.example:8443/acc", "storage_queue_uri": "https://q.example"}


@pytest.mark.parametrize(
    ("settings", "blob", "queue", "client"),
    [
        (
            Settings(storage_account="acc"),
            "https://acc.blob.core.windows.net/runs/a",
            "https://acc.queue.core.windows.net/runs/messages",
            "",
        ),
        (
            Settings(**BOTH, storage_client_id="own", azure_client_id="other"),  # type: ignore[arg-type]  # all are texts
            "https://b.example:8443/acc/runs/a",
            "https://q.example/runs/messages",
            "own",
        ),
        (
            Settings(storage_account="acc", azure_client_id="other"),
            "https://acc.blob.core.windows.net/runs/a",
            "https://acc.queue.core.windows.net/runs/messages",
            "other",
        ),
    ],
)
def test_without_a_connection_string_the_apps_identity_signs(
    settings: Settings,
    blob: str,
    queue: str,
    client: str,
    sent: list[requests.PreparedRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storage_module, "process_credential", Credential)
    storage = Storage.from_settings(settings, attempts=1)
    operations: tuple[Callable[[], object], ...] = (lambda: storage.read("a", 10), lambda: storage.send("x"))
    for operation in operations:
        with pytest.raises(StorageUnreachable):
            operation()
    storage.close()
    assert [str(request.url).partition("?")[0] for request in sent] == [blob, queue]
    token = f"Bearer token for {client} https://storage.azure.com/.default"
    assert [request.headers["Authorization"] for request in sent] == [token] * 2


def test_without_a_token_it_is_the_identity_that_is_told(
    sent: list[requests.PreparedRequest], monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    monkeypatch.setattr(storage_module, "process_credential", Credential)
    storage = Storage.from_settings(Settings(storage_account="acc", azure_client_id="none"))
    with pytest.raises(IdentityError) as caught:
        storage.read("a", 10)
    storage.close()
    assert (sent, pauses) == ([], [])
    assert "login.example" not in caught.value.detail


def test_a_connection_string_wins_over_an_account(sent: list[requests.PreparedRequest]) -> None:
    storage = Storage.from_settings(
        Settings(storage_connection="UseDevelopmentStorage=true", storage_account="acc"), attempts=1
    )
    with pytest.raises(StorageUnreachable):
        storage.read("a", 10)
    storage.close()
    assert str(sent[0].url).startswith("http://127.0.0.1:10000/devstoreaccount1/runs/a")
