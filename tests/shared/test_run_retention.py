"""Ended runs go after a time, with all that belongs to them; what failed posts and cut-off deletions left goes too."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from shared import run_names, run_store
from shared.deadline import Deadline
from shared.run_store import IdempotencyKey, RunStore
from shared.runs import ENDED, Run, owner_of
from shared.storage import Storage
from tests.kept_runs import StorageThatFails, new_run
from tests.memory_storage import MemoryStorage

KEY = IdempotencyKey("key", "digest")
OWNER = owner_of("somebody")


class Crash(Exception):
    """The process ends here."""


@pytest.fixture
def store(storage: Storage) -> RunStore:
    return RunStore(storage)


def whole(store: RunStore, key: IdempotencyKey | None = KEY, **changes: Any) -> Run:
    """A run that has one of everything."""
    run, _ = store.create(new_run(files=("a", "b"), **changes), {"a": b"1", "b": b"2"}, key)
    store.save_reply(run.run_id, b"{}")
    with store.lease(run.run_id):
        pass
    return run


def later() -> float:
    # The storage counts in whole seconds.
    return time.time() + 2


def minute() -> Deadline:
    return Deadline.after(60)


def names(storage: Storage) -> set[str]:
    return {entry.name for entry in storage.page("", 1000).entries}


@pytest.mark.parametrize("status", sorted(ENDED))
def test_an_ended_run_goes_with_all_that_belongs_to_it(store: RunStore, storage: Storage, status: str) -> None:
    store.secret()
    run = whole(store, status=status)
    assert len(names(storage)) == 8
    assert store.delete_ended_before(later(), minute()) == 1
    assert names(storage) == {run_names.SECRET}
    assert store.load(run.run_id) is None
    assert store.recent(OWNER, 10, None) == ([], None)


def test_a_key_that_is_forgotten_makes_a_new_run(store: RunStore) -> None:
    run = whole(store, status="completed")
    store.delete_ended_before(later(), minute())
    again, made = store.create(new_run(), {}, KEY)
    assert made
    assert again.run_id != run.run_id


def test_what_is_younger_stays(store: RunStore, storage: Storage) -> None:
    whole(store, status="completed")
    before = names(storage)
    assert store.delete_ended_before(time.time() - 3600, minute()) == 0
    assert names(storage) == before


@pytest.mark.parametrize("status", ["queued", "running"])
def test_a_run_that_goes_on_stays_with_its_key(store: RunStore, storage: Storage, status: str) -> None:
    run = whole(store, status=status)
    before = names(storage)
    assert store.delete_ended_before(later(), minute()) == 0
    assert names(storage) == before
    assert store.create(new_run(), {}, KEY)[0] == run


@pytest.mark.parametrize("status", ["queued", "running"])
def test_a_run_whose_deadline_is_long_past_is_over(store: RunStore, status: str) -> None:
    run = whole(store, status=status, expires_at=time.time() - 1)
    assert store.delete_ended_before(later(), minute()) == 1
    assert store.load(run.run_id) is None


@pytest.mark.parametrize("data", [b"{", b"x" * 2001], ids=["no JSON", "too large"])
def test_a_record_that_cannot_be_read_is_over_and_keeps_no_other_run_from_going(
    store: RunStore, storage: Storage, data: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(run_store, "RECORD_BYTES_MAX", 2000)
    broken = whole(store, status="queued")
    for number in range(3):
        whole(store, key=IdempotencyKey(str(number), "digest"), status="completed")
    storage.put(run_names.record(broken.run_id), data)
    assert store.delete_ended_before(later(), minute()) == 4
    assert names(storage) == set()
    assert broken.run_id in caplog.text


def test_a_young_record_that_cannot_be_read_stays_with_its_entry_and_its_key() -> None:
    storage = MemoryStorage()
    store = RunStore(storage)
    run = whole(store)
    storage.now = 1000.0
    storage.put(run_names.record(run.run_id), b"{")
    before = names(storage)
    assert store.delete_ended_before(1000.0, minute()) == 0
    assert names(storage) == before


def test_what_a_deadline_leaves_the_next_call_deletes_wherever_it_was(store: RunStore, storage: Storage) -> None:
    looks, deleted = 0, 0
    while deleted < 2:
        looks += 1
        runs = [whole(store, key=IdempotencyKey(str(number), "digest"), status="completed") for number in range(2)]
        deleted = store.delete_ended_before(later(), Deadline(looks, clock=itertools.count().__next__))
        assert all(store.load(run.run_id) is None or store.reply(run.run_id) == b"{}" for run in runs)
        store.delete_ended_before(later(), minute())
        assert names(storage) == set()
    assert looks > 10


def test_lists_of_several_pages_are_gone_through(
    store: RunStore, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.run_retention._PAGE", 2)
    for number in range(3):
        whole(store, key=IdempotencyKey(str(number), "digest"), status="completed")
    assert store.delete_ended_before(later(), minute()) == 3
    assert names(storage) == set()


def test_an_empty_storage_has_nothing_to_delete(store: RunStore) -> None:
    assert store.delete_ended_before(later(), minute()) == 0


def test_what_a_failed_post_has_left_goes_whichever_call_failed(storage: Storage) -> None:
    run, number, failed = new_run(files=("a",)), 0, True
    while failed:
        number += 1
        failing = StorageThatFails(storage, number, Crash())
        try:
            RunStore(failing.as_storage()).create(run, {"a": b"1"}, KEY)
        except Crash:
            assert RunStore(storage).delete_ended_before(later(), minute()) == 0
            assert names(storage) == set()
        else:
            failed = False
    assert number == 5


def test_what_a_post_that_is_under_way_has_made_stays(storage: Storage) -> None:
    # Key, entry and file are there, the record is not yet.
    failing = StorageThatFails(storage, 4, Crash())
    with pytest.raises(Crash):
        RunStore(failing.as_storage()).create(new_run(files=("a",)), {"a": b"1"}, KEY)
    before = names(storage)
    assert len(before) == 3
    RunStore(storage).delete_ended_before(time.time() - 3600, minute())
    assert names(storage) == before


def test_a_deletion_that_is_cut_off_anywhere_is_finished_by_the_next(storage: Storage) -> None:
    number, failed, calls = 0, True, 0
    while failed:
        number += 1
        store = RunStore(storage)
        run = whole(store, status="completed")
        failing = StorageThatFails(storage, number, Crash())
        try:
            RunStore(failing.as_storage()).delete_ended_before(later(), minute())
        except Crash:
            pass
        else:
            failed = False
        calls = len(failing.calls)
        assert store.load(run.run_id) is None or store.reply(run.run_id) == b"{}"
        store.delete_ended_before(later(), minute())
        assert names(storage) == set()
    # Three lists; the record read; entry, two files, reply, lease and record deleted; the key read, its run looked
    # for, and the key deleted.
    assert calls == 13


def test_the_lease_of_a_worker_that_is_still_there_stays_until_it_has_ended(store: RunStore, storage: Storage) -> None:
    run = whole(store, key=None, status="completed")
    with store.lease(run.run_id):
        assert store.delete_ended_before(later(), minute()) == 1
        assert names(storage) == {run_names.lease(run.run_id)}
    assert store.delete_ended_before(later(), minute()) == 0
    assert names(storage) == set()


def test_blobs_that_are_not_ours_are_left_alone(store: RunStore, storage: Storage) -> None:
    storage.put("runs/somebody-elses", b"")
    storage.put("else", b"")
    assert store.delete_ended_before(later(), minute()) == 0
    assert names(storage) == {"runs/somebody-elses", "else"}
