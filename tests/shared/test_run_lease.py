"""Who works on a run: one at a time, told when it is over, and followed by another one after a crash."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import pytest
from azure.storage.blob import BlobClient, BlobLeaseClient

from shared import run_lease, run_names
from shared.errors import RunBusy, StorageUnreachable
from shared.run_lease import Lease
from shared.run_store import RunStore
from shared.settings import Settings
from shared.storage import Storage
from tests.kept_runs import StorageThatFails, new_run
from tests.memory_storage import MemoryStorage

NAME = "runs/0/lease"
SECONDS = 15


@pytest.fixture
def end_lease(azurite: Settings, container: str) -> Callable[[str], None]:
    """Ends whatever lease a blob has, as time does."""

    def end(name: str) -> None:
        blob = BlobClient.from_connection_string(azurite.storage_connection, container, name)
        BlobLeaseClient(blob).break_lease(0)
        blob.close()

    return end


class Renewals:
    """A storage whose renewals a test counts and lets fail."""

    def __init__(self, storage: Storage) -> None:
        self.failing = threading.Event()
        self.asked = threading.Semaphore(0)
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def renew(self, name: str, lease_id: str) -> bool:
        self.asked.release()
        if self.failing.is_set():
            raise StorageUnreachable
        return self._storage.renew(name, lease_id)

    def lease(self, **options: Any) -> Lease:
        return Lease(cast(Storage, self), NAME, seconds=SECONDS, every_seconds=0.01, **options)

    def wait_for(self, count: int) -> None:
        for _ in range(count):
            assert self.asked.acquire(timeout=10)


def test_a_second_taker_is_told_that_the_run_is_busy(storage: Storage) -> None:
    run, _ = RunStore(storage).create(new_run(), {}, None)
    with RunStore(storage).lease(run.run_id) as lease:
        for _ in range(2):
            with pytest.raises(RunBusy), RunStore(storage).lease(run.run_id):
                pytest.fail("two have the run")
        assert not lease.lost.is_set()
    with RunStore(storage).lease(run.run_id) as again:
        assert not again.lost.is_set()


def test_of_many_who_come_at_the_same_time_one_gets_the_run(storage: Storage) -> None:
    barrier, over = threading.Barrier(8), threading.Barrier(8)

    def take(_: int) -> bool:
        barrier.wait(10)
        try:
            with Lease(storage, NAME, seconds=SECONDS):
                over.wait(10)
                return True
        except RunBusy:
            over.wait(10)
            return False

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(take, range(8), timeout=30)) == 1


def test_a_lease_of_one_run_leaves_another_one_free(storage: Storage) -> None:
    store = RunStore(storage)
    with store.lease("0" * 32) as one, store.lease("1" * 32) as other:
        assert not one.lost.is_set()
        assert not other.lost.is_set()


def test_the_record_can_be_changed_by_others_meanwhile(storage: Storage) -> None:
    store = RunStore(storage)
    run, _ = store.create(new_run(), {}, None)
    with store.lease(run.run_id):
        assert store.change(run.run_id, lambda run: new_run(run_id=run.run_id)).run_id == run.run_id


def test_a_lease_is_renewed_until_the_work_is_over(storage: Storage) -> None:
    renewals = Renewals(storage)
    with renewals.lease() as lease:
        renewals.wait_for(3)
        assert not lease.lost.is_set()
    with Lease(storage, NAME, seconds=SECONDS):
        pass


def test_a_lease_is_renewed_three_times_as_it_lasts_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float | None] = []
    renewed = threading.Semaphore(0)

    class Impatient(threading.Event):
        """Waits for nothing, and tells how long it should have."""

        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout)
            renewed.release()
            return self.is_set()

    monkeypatch.setattr(run_lease, "threading", SimpleNamespace(Event=Impatient, Thread=threading.Thread))
    for lease in (RunStore(MemoryStorage()).lease("0" * 32), Lease(MemoryStorage(), NAME, seconds=SECONDS)):
        with lease:
            assert renewed.acquire(timeout=10)
            assert renewed.acquire(timeout=10)
    assert set(pauses) == {20, 5}


def test_a_lost_lease_is_noticed(storage: Storage, end_lease: Callable[[str], None]) -> None:
    with Renewals(storage).lease() as lease:
        end_lease(NAME)
        with Lease(storage, NAME, seconds=SECONDS) as taken:
            assert lease.lost.wait(10)
            assert not taken.lost.is_set()


def test_what_ends_with_a_lost_lease_leaves_the_next_holders_alone(
    storage: Storage, end_lease: Callable[[str], None]
) -> None:
    first = Renewals(storage).lease()
    with first:
        end_lease(NAME)
        second = Lease(storage, NAME, seconds=SECONDS)
        second.__enter__()
        assert first.lost.wait(10)
    with pytest.raises(RunBusy), Lease(storage, NAME, seconds=SECONDS):
        pytest.fail("the second one's lease was given away")
    second.__exit__()


def test_a_deleted_run_is_a_lost_lease(storage: Storage, end_lease: Callable[[str], None]) -> None:
    with Renewals(storage).lease() as lease:
        end_lease(NAME)
        storage.delete(NAME)
        assert lease.lost.wait(10)


def test_the_lease_of_a_killed_worker_can_be_taken_once_it_has_ended(
    storage: Storage, end_lease: Callable[[str], None]
) -> None:
    store = RunStore(storage)
    name = run_names.lease("0" * 32)
    storage.put(name, b"")
    assert storage.acquire(name, SECONDS)
    with pytest.raises(RunBusy), store.lease("0" * 32):
        pytest.fail("it has not ended yet")
    end_lease(name)
    with store.lease("0" * 32) as lease:
        assert not lease.lost.is_set()


def test_a_storage_that_is_away_for_a_while_costs_no_lease(storage: Storage) -> None:
    renewals = Renewals(storage)
    with renewals.lease() as lease:
        renewals.failing.set()
        renewals.wait_for(3)
        renewals.failing.clear()
        renewals.wait_for(3)
        assert not lease.lost.is_set()


def test_a_storage_that_is_away_for_longer_than_the_lease_lasts_costs_it(storage: Storage) -> None:
    now = 1000.0
    renewals = Renewals(storage)
    with renewals.lease(clock=lambda: now) as lease:
        renewals.failing.set()
        renewals.wait_for(2)
        assert not lease.lost.is_set()
        now += SECONDS
        assert lease.lost.wait(10)


def test_a_lease_lasts_from_its_last_renewal(storage: Storage) -> None:
    now = 1000.0
    renewals = Renewals(storage)
    with renewals.lease(clock=lambda: now) as lease:
        now += SECONDS - 1
        # The second one has begun after the clock was put forward.
        renewals.wait_for(3)
        renewals.failing.set()
        now += 2
        renewals.wait_for(3)
        assert not lease.lost.is_set()


def test_a_lease_that_cannot_be_given_back_does_not_undo_the_work(storage: Storage) -> None:
    # Put, acquire, release.
    failing = StorageThatFails(storage, 3, StorageUnreachable())
    with Lease(failing.as_storage(), NAME, seconds=SECONDS):
        pass
    assert failing.calls == ["put", "acquire", "release"]


@pytest.mark.parametrize("number", [1, 2])
def test_a_lease_that_cannot_be_asked_for_is_an_error(storage: Storage, number: int) -> None:
    failing = StorageThatFails(storage, number, StorageUnreachable())
    with pytest.raises(StorageUnreachable), Lease(failing.as_storage(), NAME, seconds=SECONDS):
        pytest.fail("nobody has given it")


def test_no_thread_stays_behind(storage: Storage) -> None:
    with Renewals(storage).lease():
        assert "run-lease" in {thread.name for thread in threading.enumerate()}
    assert "run-lease" not in {thread.name for thread in threading.enumerate()}
