"""What the storage account's refusals and failures are told as, and what never gets into a text."""

from __future__ import annotations

import gc
import logging
import traceback
from collections.abc import Iterator

import pytest

from shared.errors import (
    ServiceError,
    StorageForbidden,
    StorageLimitExceeded,
    StorageRefused,
    StorageUnavailable,
)
from tests.scripted_server import Answer, scripted_server
from tests.storage_accounts import NOBODY, SIGNATURE, answering, storage_at

# The library refuses some replies without reading them, and their connections end with what it drops.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(autouse=True)
def _dropped() -> Iterator[None]:
    yield
    # Here, and not in a test to come.
    gc.collect()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, StorageRefused),
        (401, StorageForbidden),
        (403, StorageForbidden),
        (409, StorageRefused),
        (413, StorageLimitExceeded),
        (429, StorageUnavailable),
        (500, StorageUnavailable),
        (503, StorageUnavailable),
    ],
)
def test_a_refusal_is_told_by_its_kind(status: int, kind: type[ServiceError]) -> None:
    headers = {"x-ms-error-code": "SomeCode", "Content-Type": "application/xml"}
    answer = Answer(status, b"<Error><Code>SomeCode</Code><Message>secret words</Message></Error>", headers)
    with scripted_server(answering(answer)) as server, storage_at(server.url, attempts=1) as storage:
        for operation in (lambda: storage.read("a", 10), lambda: storage.page("a", 10), lambda: storage.send("x")):
            with pytest.raises(kind) as caught:
                operation()
            assert caught.value.detail == f"The storage account answered {status} (SomeCode)."


def test_a_code_that_is_none_is_not_shown() -> None:
    answer = Answer(400, b"", {"x-ms-error-code": "https://account/?sig=x"})
    with scripted_server(answering(answer)) as server, storage_at(server.url, attempts=1) as storage:
        with pytest.raises(StorageRefused) as caught:
            storage.read("a", 10)
        assert caught.value.detail == "The storage account answered 400."


def test_missing_roles_are_named() -> None:
    assert "'Storage Blob Data Owner'" in StorageForbidden.remedy
    assert "'Storage Queue Data Contributor'" in StorageForbidden.remedy
    assert "AzureWebJobsStorage" in StorageForbidden.remedy


def test_what_is_no_storage_account_is_refused() -> None:
    with scripted_server(answering(Answer(200, b"<no xml"))) as server, storage_at(server.url, attempts=1) as storage:
        for operation in (lambda: storage.read("a", 10), lambda: storage.send("a"), lambda: storage.page("a", 1)):
            with pytest.raises(StorageRefused):
                operation()


def test_nothing_secret_is_in_an_error_or_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def texts(url: str) -> Iterator[str]:
        with storage_at(url, attempts=1) as storage:
            for operation in (
                lambda: storage.read("name", 10),
                lambda: storage.send("text"),
                lambda: storage.page("", 1),
            ):
                with pytest.raises(ServiceError) as caught:
                    operation()
                yield "".join(traceback.format_exception(caught.value)) + caught.value.detail + caught.value.remedy

    for answer in (Answer(403), Answer(500), Answer(hang_up=True), Answer(200, b"<no xml", {"ETag": "x"})):
        with scripted_server(answering(answer)) as server:
            for text in [*texts(server.url), *texts(NOBODY), caplog.text]:
                assert SIGNATURE not in text
                assert server.url.rpartition(":")[2] not in text
                assert "/account/" not in text
