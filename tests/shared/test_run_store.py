"""Runs in a real storage emulator: made once, changed under ETags, listed, and whole again after a crash anywhere."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from shared import run_names, run_store
from shared.errors import (
    InvalidRequest,
    RunChanged,
    RunNotFound,
    RunUnreadable,
    SettingError,
    StorageLimitExceeded,
    StorageRefused,
    StorageUnreachable,
)
from shared.run_store import IdempotencyKey, RunStore, process_store
from shared.runs import Callback, Run, owner_of
from shared.settings import Settings
from shared.steps import Step, Usage
from shared.storage import Storage
from tests.kept_runs import StorageThatFails, StorageThatRepeats, new_run

ROOT = Path(__file__).parents[2]
KEY = IdempotencyKey("key", "digest of the body")
FILES = {"sales.csv": b"city,sales\n", "../odd name?#\u00e9.bin": bytes(range(256)), "empty": b""}


class Crash(Exception):
    """The process ends here."""


@pytest.fixture
def store(storage: Storage) -> RunStore:
    return RunStore(storage)


def with_files(caller: str = "somebody") -> Run:
    return new_run(caller, files=tuple(FILES))


def test_a_run_that_was_kept_is_loaded_with_its_files(store: RunStore) -> None:
    run = replace(with_files(), callback=Callback("https://example.com/x"), token_budget=5)
    assert store.create(run, FILES, None) == (run, True)
    stored = store.load(run.run_id)
    assert stored is not None
    assert stored.run == run
    assert store.files(run.run_id) == FILES
    assert list(store.files(run.run_id)) == list(FILES)


@pytest.mark.parametrize("run_id", ["0" * 32, "", "../secret", "A" * 32, "0" * 31 + "\n", "0" * 33, "\u0660" * 32])
def test_an_unknown_run_is_none_and_has_no_files_and_no_reply(store: RunStore, run_id: str) -> None:
    assert store.load(run_id) is None
    assert store.reply(run_id) is None
    with pytest.raises(RunNotFound):
        store.files(run_id)
    with pytest.raises(RunNotFound):
        store.change(run_id, lambda run: run)


def test_steps_are_saved_one_after_the_other(store: RunStore) -> None:
    run, _ = store.create(new_run(), {}, None)
    stored = store.load(run.run_id)
    assert stored is not None
    for index in (1, 2, 3):
        steps = (*stored.run.steps, Step(index, "CodeWriter", f"step {index}"))
        stored = store.save(stored, replace(stored.run, steps=steps, usage=Usage("m", index, index, 2 * index)))
    found = store.load(run.run_id)
    assert found == stored
    assert len(stored.run.steps) == 3


def test_a_change_of_what_was_read_before_another_change_is_refused(store: RunStore) -> None:
    run, _ = store.create(new_run(), {}, None)
    stored = store.load(run.run_id)
    assert stored is not None
    store.save(stored, replace(run, status="running"))
    with pytest.raises(RunChanged):
        store.save(stored, replace(run, cancel_requested=True))
    found = store.load(run.run_id)
    assert found is not None
    assert (found.run.status, found.run.cancel_requested) == ("running", False)


def test_a_run_that_was_deleted_meanwhile_does_not_come_back(store: RunStore, storage: Storage) -> None:
    run, _ = store.create(new_run(), {}, None)
    stored = store.load(run.run_id)
    assert stored is not None
    storage.delete(run_names.record(run.run_id))
    with pytest.raises(RunChanged):
        store.save(stored, replace(run, status="running"))
    assert store.load(run.run_id) is None


def test_a_save_that_the_storages_library_sends_twice_counts(storage: Storage) -> None:
    store = RunStore(StorageThatRepeats(storage).as_storage())
    run, _ = store.create(new_run(), {}, None)
    stored = store.load(run.run_id)
    assert stored is not None
    saved = store.save(stored, replace(run, status="running"))
    assert store.load(run.run_id) == saved
    store.save(saved, replace(run, status="completed"))


def test_of_two_who_save_the_same_only_one_goes_on(store: RunStore) -> None:
    run, _ = store.create(new_run(), {}, None)
    stored = store.load(run.run_id)
    assert stored is not None
    begun = replace(run, status="running", attempts=1)
    store.save(stored, begun)
    with pytest.raises(RunChanged):
        store.save(stored, begun)


def test_changes_at_the_same_time_all_count(store: RunStore) -> None:
    run, _ = store.create(new_run(), {}, None)
    barrier = threading.Barrier(8)

    def add(_: int) -> None:
        barrier.wait(10)
        store.change(run.run_id, lambda run: replace(run, attempts=run.attempts + 1))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, range(8), timeout=30))
    stored = store.load(run.run_id)
    assert stored is not None
    assert stored.run.attempts == 8


def test_a_change_that_always_comes_too_late_ends(store: RunStore) -> None:
    run, _ = store.create(new_run(), {}, None)
    met = 0

    def overtaken(run: Run) -> Run:
        nonlocal met
        met += 1
        stored = store.load(run.run_id)
        assert stored is not None
        store.save(stored, replace(stored.run, attempts=stored.run.attempts + 1))
        return replace(run, cancel_requested=True)

    with pytest.raises(RunChanged):
        store.change(run.run_id, overtaken)
    assert met == run_store.CHANGE_ATTEMPTS


def test_a_reply_of_many_pieces_comes_back_and_the_first_one_counts(store: RunStore) -> None:
    run, _ = store.create(new_run(), {}, None)
    assert store.reply(run.run_id) is None
    large = bytes(range(251)) * 80_000
    assert store.save_reply(run.run_id, large)
    assert not store.save_reply(run.run_id, b"of another attempt")
    assert store.reply(run.run_id) == large


def test_what_is_too_large_is_refused_before_it_is_kept(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = store.create(new_run(), {}, None)
    stored = store.load(run.run_id)
    assert stored is not None
    monkeypatch.setattr(run_store, "RECORD_BYTES_MAX", 2000)
    monkeypatch.setattr(run_store, "REPLY_BYTES_MAX", 2000)
    large = new_run(message="x" * 2000)
    for refused in (
        lambda: store.create(large, {}, None),
        lambda: store.save(stored, replace(run, message="x" * 2000)),
        lambda: store.save_reply(run.run_id, b"x" * 2001),
    ):
        with pytest.raises(StorageLimitExceeded):
            refused()
    assert store.load(large.run_id) is None
    assert store.reply(run.run_id) is None


def test_a_reply_that_grew_too_large_elsewhere_is_not_read(
    store: RunStore, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = store.create(new_run(), {}, None)
    storage.put(run_names.reply(run.run_id), b"x" * 2001)
    monkeypatch.setattr(run_store, "REPLY_BYTES_MAX", 2000)
    with pytest.raises(StorageLimitExceeded):
        store.reply(run.run_id)


def test_a_record_that_is_none_is_told_and_not_shown(store: RunStore, storage: Storage) -> None:
    run_id = "0" * 32
    storage.put(run_names.record(run_id), b'{"message": "mine"')
    with pytest.raises(RunUnreadable) as caught:
        store.load(run_id)
    assert "mine" not in caught.value.detail


def test_files_that_are_gone_are_missed(store: RunStore, storage: Storage) -> None:
    run, _ = store.create(with_files(), FILES, None)
    storage.delete(run_names.file(run.run_id, 1))
    with pytest.raises(RunNotFound):
        store.files(run.run_id)


# Crashes


@pytest.mark.parametrize("late", [False, True], ids=["before its work", "after its work"])
@pytest.mark.parametrize("with_key", [True, False], ids=["with a key", "without"])
def test_a_crash_at_any_call_never_gives_two_runs_and_is_repaired_by_the_next_post(
    storage: Storage, late: bool, with_key: bool
) -> None:
    calls = 0
    while True:
        calls += 1
        caller = f"caller {calls}"
        key = KEY if with_key else None
        failing = StorageThatFails(storage, calls, Crash(), late=late)
        store = RunStore(failing.as_storage())

        def post(store: RunStore, caller: str = caller, key: IdempotencyKey | None = key) -> Run:
            run, _ = store.create(with_files(caller), FILES, key)
            store.enqueue(run.run_id)
            return run

        try:
            post(store)
        except Crash:
            pass
        else:
            break
        whole = RunStore(storage)
        before = whole.recent(owner_of(caller), 10, None)[0]
        assert len(before) <= 1
        run = post(whole)
        stored = whole.load(run.run_id)
        assert stored is not None
        assert stored.run == run
        assert run.status == "queued"
        assert whole.files(run.run_id) == FILES
        listed = whole.recent(owner_of(caller), 10, None)[0]
        assert len(listed) == (1 if with_key else len(before) + 1)
        assert run in listed
        assert post(whole) == run or not with_key
    # Key, entry, three files, record, message.
    assert calls - 1 == (7 if with_key else 6)


@pytest.mark.parametrize("key", [KEY, None])
def test_a_new_run_that_the_storages_library_sends_twice_is_one_run(
    storage: Storage, key: IdempotencyKey | None
) -> None:
    store = RunStore(StorageThatRepeats(storage).as_storage())
    run = with_files()
    assert store.create(run, FILES, key)[0] == run
    assert store.recent(run.owner, 5, None) == ([run], None)


# The queue


def test_a_failure_to_queue_is_an_error_and_the_record_says_so(storage: Storage) -> None:
    run, _ = RunStore(storage).create(new_run(), {}, KEY)
    store = RunStore(StorageThatFails(storage, 1, StorageUnreachable()).as_storage())
    with pytest.raises(StorageUnreachable):
        store.enqueue(run.run_id)
    stored = store.load(run.run_id)
    assert stored is not None
    assert stored.run.status == "queued"
    assert stored.run.problem is not None
    assert (stored.run.problem["code"], stored.run.problem["status"]) == ("run_not_queued", 503)
    # Who posts again queues it.
    again, _ = store.create(new_run(), {}, KEY)
    assert again == run
    store.enqueue(again.run_id)
    stored = store.load(run.run_id)
    assert stored is not None
    assert stored.run.problem is None


def test_a_run_that_was_started_all_the_same_keeps_its_state(storage: Storage) -> None:
    run, _ = RunStore(storage).create(new_run(status="running"), {}, None)
    store = RunStore(StorageThatFails(storage, 1, StorageUnreachable()).as_storage())
    with pytest.raises(StorageUnreachable):
        store.enqueue(run.run_id, 60)
    stored = store.load(run.run_id)
    assert stored is not None
    assert stored.run == run


def test_a_storage_that_is_away_for_good_is_told_once(storage: Storage) -> None:
    run, _ = RunStore(storage).create(new_run(), {}, None)
    failing = StorageThatFails(storage, 1, StorageUnreachable("The first."), ever_after=True)
    with pytest.raises(StorageUnreachable, match="The first"):
        RunStore(failing.as_storage()).enqueue(run.run_id)


# Lists


def test_runs_are_listed_newest_first_in_pages_for_their_owner_alone(store: RunStore) -> None:
    mine = [store.create(new_run("me", created_at=1000.0 + second), {}, None)[0] for second in (2, 0, 4, 1, 3)]
    store.create(new_run("you"), {}, None)
    found: list[Run] = []
    sizes, marker = [], None
    while True:
        page, marker = store.recent(owner_of("me"), 2, marker)
        found += page
        sizes.append(len(page))
        if marker is None:
            break
    assert found == sorted(mine, key=lambda run: -run.created_at)
    assert sizes == [2, 2, 1]
    assert store.recent(owner_of("nobody"), 2, None) == ([], None)


def test_a_run_that_comes_between_two_pages_is_neither_listed_nor_pushes_another_one_in_twice(store: RunStore) -> None:
    runs = [store.create(new_run("me", created_at=1000.0 + second), {}, None)[0] for second in range(4)]
    first, marker = store.recent(owner_of("me"), 2, None)
    store.create(new_run("me", created_at=2000.0), {}, None)
    second, _ = store.recent(owner_of("me"), 2, marker)
    assert [*first, *second] == runs[::-1]


@pytest.mark.parametrize("data", [b'{"message": "mine"', b"x" * 2001], ids=["no JSON", "too large"])
def test_a_run_that_cannot_be_read_is_left_out_and_logged(
    store: RunStore,
    storage: Storage,
    data: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(run_store, "RECORD_BYTES_MAX", 2000)
    older, broken, newer = (store.create(new_run("me", created_at=time), {}, None)[0] for time in (1000.0, 2e3, 3e3))
    storage.put(run_names.record(broken.run_id), data)
    assert store.recent(owner_of("me"), 5, None) == ([newer, older], None)
    assert broken.run_id in caplog.text
    assert "mine" not in caplog.text


def test_the_empty_callers_runs_are_listed_too(store: RunStore) -> None:
    run, _ = store.create(new_run(""), {}, None)
    assert store.recent(owner_of(""), 5, None) == ([run], None)


@pytest.mark.parametrize("marker", ["no base64!", "\u00e9", "AA", "/////w==", "_____w=="])
def test_a_marker_that_is_none_is_the_callers_fault(store: RunStore, marker: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        store.recent(owner_of("me"), 2, marker)
    assert caught.value.code == "continuation_invalid"


def test_a_marker_that_the_storage_refuses_is_the_callers_fault(storage: Storage) -> None:
    store = RunStore(StorageThatFails(storage, 1, StorageRefused()).as_storage())
    with pytest.raises(InvalidRequest) as caught:
        store.recent(owner_of("me"), 2, "bWFya2Vy")
    assert caught.value.code == "continuation_invalid"


def test_a_refusal_without_a_marker_is_the_storages(storage: Storage) -> None:
    store = RunStore(StorageThatFails(storage, 1, StorageRefused()).as_storage())
    with pytest.raises(StorageRefused):
        store.recent(owner_of("me"), 2, None)


# The secret


def test_the_secret_is_the_same_for_all_who_ask_at_the_same_time(storage: Storage) -> None:
    barrier = threading.Barrier(6)

    def ask(_: int) -> bytes:
        store = RunStore(storage)
        barrier.wait(10)
        return store.secret()

    with ThreadPoolExecutor(6) as threads:
        found = set(threads.map(ask, range(6), timeout=30))
    assert len(found) == 1
    assert found == {RunStore(storage).secret()}
    assert len(found.pop()) == 32


def test_two_storages_have_two_secrets(storage: Storage, azurite: Settings) -> None:
    other = Storage.from_settings(azurite, container="another-one")
    assert RunStore(storage).secret() != RunStore(other).secret()
    other.close()


# The process


@pytest.fixture
def requests_sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The method of every request to the storage account."""
    sent: list[str] = []
    send = requests.Session.send

    def counted(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        sent.append(str(request.method))
        return send(session, request, **options)

    monkeypatch.setattr(requests.Session, "send", counted)
    return sent


def test_the_storage_calls_of_each_operation(storage: Storage, requests_sent: list[str]) -> None:
    store = RunStore(storage)
    # Makes the container and the queue: a first refusal, the making, and the same again.
    first, _ = store.create(new_run(), {}, None)
    store.enqueue(first.run_id)
    assert requests_sent == ["PUT", "PUT", "PUT", "PUT", "POST", "PUT", "POST"]

    def calls(operation: Callable[[], object]) -> list[str]:
        requests_sent.clear()
        operation()
        return list(requests_sent)

    stored = store.load(first.run_id)
    assert stored is not None
    entry, record, claim = "PUT", "PUT", "PUT"
    assert calls(lambda: store.create(new_run(), {}, None)) == [entry, record]
    assert calls(lambda: store.create(new_run(), {}, KEY)) == [claim, entry, record]
    assert calls(lambda: store.create(with_files("you"), FILES, KEY)) == [claim, entry, *["PUT"] * len(FILES), record]
    assert calls(lambda: store.create(new_run(), {}, KEY)) == [claim, "GET", "GET"]
    assert calls(lambda: store.enqueue(first.run_id)) == ["POST"]
    assert calls(lambda: store.load(first.run_id)) == ["GET"]
    assert calls(lambda: store.save(stored, replace(first, status="running"))) == ["PUT"]
    assert calls(lambda: store.change(first.run_id, lambda run: replace(run, attempts=1))) == ["GET", "PUT"]
    assert calls(lambda: store.change(first.run_id, lambda run: run)) == ["GET"]
    assert calls(lambda: store.save_reply(first.run_id, b"{}")) == ["PUT"]
    assert calls(lambda: store.reply(first.run_id)) == ["GET"]
    assert calls(lambda: store.recent(first.owner, 2, None)) == ["GET", "GET", "GET"]
    assert calls(store.secret) == ["GET", "PUT"]
    assert calls(store.secret) == []
    with store.lease(first.run_id):
        assert len(requests_sent) == 2
        requests_sent.clear()
    assert requests_sent == ["PUT"]


def test_a_process_has_one_store_for_its_settings(azurite: Settings) -> None:
    assert process_store(azurite) is process_store(azurite)


def test_without_storage_settings_runs_say_what_to_set() -> None:
    with pytest.raises(SettingError) as caught:
        process_store(Settings())
    assert caught.value.name == "AzureWebJobsStorage"


def test_the_storages_libraries_are_loaded_when_they_are_used() -> None:
    code = (
        "import sys, function_app, shared.run_store\n"
        "print([n for n in sys.modules if n.startswith(('azure.storage', 'azure.core', 'requests'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
