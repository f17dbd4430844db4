"""A key stands for one run, whoever posts with it, how often and how many at once."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from shared import run_names
from shared.errors import InvalidRequest, RunChanged
from shared.run_store import IdempotencyKey, RunStore
from shared.runs import Run, owner_of
from shared.storage import Storage
from tests.kept_runs import StorageThatFails, new_run

KEY = IdempotencyKey("key", "digest of the body")
FILES = {"sales.csv": b"city,sales\n", "empty": b""}


class Crash(Exception):
    """The process ends here."""


@pytest.fixture
def store(storage: Storage) -> RunStore:
    return RunStore(storage)


def with_files(caller: str = "somebody") -> Run:
    return new_run(caller, files=tuple(FILES))


def test_the_same_key_and_body_give_the_same_run(store: RunStore) -> None:
    first, made = store.create(with_files(), FILES, KEY)
    again, made_again = store.create(with_files(), FILES, KEY)
    assert (made, made_again) == (True, False)
    assert again == first


def test_a_repetition_gets_the_run_as_it_is_now(store: RunStore) -> None:
    first, _ = store.create(new_run(), {}, KEY)
    done = store.change(first.run_id, lambda run: replace(run, status="completed"))
    assert store.create(new_run(), {}, KEY) == (done, False)


def test_the_same_key_with_another_body_is_refused(store: RunStore) -> None:
    first, _ = store.create(new_run(), {}, KEY)
    with pytest.raises(InvalidRequest) as caught:
        store.create(new_run(), {}, replace(KEY, body_hash="another"))
    assert (caught.value.status, caught.value.code) == (422, "idempotency_key_reused")
    assert store.recent(first.owner, 10, None)[0] == [first]


def test_the_same_key_of_another_caller_is_another_key(store: RunStore) -> None:
    mine, _ = store.create(new_run("me"), {}, KEY)
    yours, made = store.create(new_run("you"), {}, replace(KEY, body_hash="another"))
    assert made
    assert yours.run_id != mine.run_id


def test_ten_simultaneous_posts_with_one_key_make_one_run(storage: Storage) -> None:
    barrier = threading.Barrier(10)

    def post(_: int) -> tuple[Run, bool]:
        store = RunStore(storage)
        run = with_files()
        barrier.wait(10)
        return store.create(run, FILES, KEY)

    with ThreadPoolExecutor(10) as threads:
        results = list(threads.map(post, range(10), timeout=30))
    runs = [run for run, _ in results]
    assert all(run == runs[0] for run in runs)
    assert [made for _, made in results].count(True) == 1
    store = RunStore(storage)
    assert store.recent(owner_of("somebody"), 20, None) == ([runs[0]], None)
    assert store.files(runs[0].run_id) == FILES


def test_a_run_that_is_repaired_late_has_the_time_of_the_post_that_repaired_it(storage: Storage) -> None:
    # Key, entry, record: the record is not written.
    failing = StorageThatFails(storage, 3, Crash())
    early = new_run(created_at=1000.0, expires_at=1100.0)
    with pytest.raises(Crash):
        RunStore(failing.as_storage()).create(early, {}, KEY)
    late = new_run(created_at=5000.0, expires_at=5100.0)
    run, made = RunStore(storage).create(late, {}, KEY)
    assert made
    assert (run.run_id, run.created_at, run.expires_at) == (early.run_id, 1000.0, 5100.0)


def test_what_another_version_has_written_to_a_key_besides_is_of_no_account(store: RunStore, storage: Storage) -> None:
    run, _ = store.create(new_run(), {}, KEY)
    name = run_names.claim(run.owner, KEY.value)
    blob = storage.read(name, 4096)
    assert blob is not None
    storage.put(name, json.dumps({**json.loads(blob.data), "token_hash": "0" * 64}).encode())
    assert store.create(new_run(), {}, KEY) == (run, False)


def test_a_key_that_was_deleted_right_now_is_told(storage: Storage) -> None:
    class Deleting(StorageThatFails):
        def read(self, name: str, most_bytes: int) -> None:
            storage.delete(name)

    RunStore(storage).create(new_run(), {}, KEY)
    store = RunStore(Deleting(storage, 0, Crash()).as_storage())
    with pytest.raises(RunChanged, match="forgotten"):
        store.create(new_run(), {}, KEY)


def test_a_key_is_not_kept_in_the_clear(store: RunStore, storage: Storage) -> None:
    store.create(new_run(), {}, replace(KEY, value="somebody's order 17"))
    (entry,) = storage.page("keys/", 10).entries
    blob = storage.read(entry.name, 4096)
    assert blob is not None
    assert "order" not in entry.name
    assert b"order" not in blob.data
