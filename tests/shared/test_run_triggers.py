"""What the queue and the timer set off, with the store in memory and without a host."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from shared import api, run_api, run_names, run_retention, run_triggers, settings
from shared.errors import StorageUnreachable
from shared.run_store import RunStore
from shared.run_triggers import NotCarriedOut
from shared.runs import Run
from tests.memory_storage import MemoryStorage

DAY = 86_400.0


@pytest.fixture(autouse=True)
def _fresh_settings() -> None:
    settings.current.cache_clear()


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
def store(storage: MemoryStorage) -> RunStore:
    return RunStore(storage)


def queued(store: RunStore, **values: Any) -> str:
    """The id of a run that was posted, as its message has it."""
    headers = {"host": "localhost", "content-type": "application/json"}
    reply = run_api.create(api.Request("POST", headers, {}, b'{"message": "x"}'), store)
    run_id = str(json.loads(reply.body)["run_id"])
    store.change(run_id, lambda run: replace(run, **values))
    return run_id


def run_of(store: RunStore, run_id: str) -> Run:
    stored = store.load(run_id)
    assert stored is not None
    return stored.run


def test_the_run_that_a_message_names_is_carried_out(store: RunStore) -> None:
    # Such a run needs neither a model nor a pool.
    run_id = queued(store, cancel_requested=True)
    run_triggers.carry_out(run_id.encode(), store)
    assert run_of(store, run_id).status == "cancelled"


def test_a_message_of_an_unknown_or_ended_run_has_no_effect(store: RunStore) -> None:
    run_id = queued(store, status="completed")
    before = run_of(store, run_id)
    for handler in (run_triggers.carry_out, run_triggers.fail_poisoned):
        handler(run_id.encode(), store)
        handler(b"0" * 32, store)
    assert run_of(store, run_id) == before


@pytest.mark.parametrize("message", [b"", b"x", b"\xff", b"../secret", b"A" * 32, b"0" * 33])
def test_a_message_that_names_no_run_is_dropped(
    storage: MemoryStorage, store: RunStore, message: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    run_triggers.carry_out(message, store)
    run_triggers.fail_poisoned(message, store)
    assert storage.operations == []
    assert "no run's id" in caplog.text


def test_a_poisoned_run_ends_with_the_reason(store: RunStore) -> None:
    run_id = queued(store)
    run_triggers.fail_poisoned(run_id.encode(), store)
    run = run_of(store, run_id)
    assert run.status == "failed"
    assert run.problem is not None
    assert (run.problem["code"], run.problem["status"]) == ("run_given_up", 500)
    assert run.problem["remedy"]


def test_a_message_comes_again_where_the_storage_failed(storage: MemoryStorage, store: RunStore) -> None:
    run_id = queued(store)
    storage.failing["read"] = StorageUnreachable()
    for handler in (run_triggers.carry_out, run_triggers.fail_poisoned):
        with pytest.raises(NotCarriedOut, match="storage_unreachable"):
            handler(run_id.encode(), store)


def test_an_unforeseen_error_is_raised_without_its_words(storage: MemoryStorage, store: RunStore) -> None:
    run_id = queued(store)

    def break_down(operation: str, name: str) -> None:
        raise ZeroDivisionError("".join(["s3", "cret"]))

    storage.before = break_down
    with pytest.raises(NotCarriedOut) as caught:
        run_triggers.carry_out(run_id.encode(), store)
    assert "ZeroDivisionError" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    # The host prints what an error came of, too.
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None


def test_ended_runs_are_deleted_after_their_time(storage: MemoryStorage, store: RunStore) -> None:
    storage.now = time.time() - 8 * DAY
    old, queued_long_ago = queued(store, status="completed"), queued(store)
    storage.now = time.time() - 6 * DAY
    newer = queued(store, status="completed")
    run_triggers.delete_old(store)
    assert store.load(old) is None
    assert not any(old in name for name in storage.blobs)
    assert None not in (store.load(queued_long_ago), store.load(newer))
    assert run_names.SECRET in storage.blobs


def test_the_days_are_a_setting(storage: MemoryStorage, store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUN_RETENTION_DAYS", "1")
    storage.now = time.time() - 2 * DAY
    run_id = queued(store, status="failed")
    run_triggers.delete_old(store)
    assert store.load(run_id) is None


def test_a_slow_storage_is_left_in_time_and_the_next_calls_do_the_rest(storage: MemoryStorage, store: RunStore) -> None:
    storage.now = time.time() - 8 * DAY
    for _ in range(20):
        queued(store, status="completed")
    operations, left = storage.operations, [20]
    while left[-1] and len(left) < 20:
        operations.clear()
        run_triggers.delete_old(store, clock=lambda: 10.0 * len(operations))
        # Two more may be under way.
        assert len(operations) <= run_triggers.DELETION_SECONDS_MAX / 10 + 2
        left.append(sum(name.endswith("/record") for name in storage.blobs))
    assert left == sorted(set(left), reverse=True)
    assert len(left) > 3
    assert set(storage.blobs) == {run_names.SECRET}


def test_a_slow_list_of_runs_that_stay_is_left_in_time_too(
    storage: MemoryStorage, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_retention, "_PAGE", 1)
    storage.now = time.time()
    for _ in range(50):
        queued(store)
    operations = storage.operations
    operations.clear()
    run_triggers.delete_old(store, clock=lambda: 10.0 * len(operations))
    assert len(operations) <= run_triggers.DELETION_SECONDS_MAX / 10 + 2


def test_a_failing_storage_is_told_by_the_timer(storage: MemoryStorage, store: RunStore) -> None:
    storage.failing["page"] = StorageUnreachable()
    with pytest.raises(NotCarriedOut, match="storage_unreachable"):
        run_triggers.delete_old(store)
