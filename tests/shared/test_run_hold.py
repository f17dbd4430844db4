"""A run's record while somebody works on it: whose it is, and what a step leaves in it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from shared.errors import ChatAbandoned, RunChanged
from shared.run_hold import HeldRun, Recorder, earlier_of
from shared.run_store import Stored
from shared.runs import Run
from shared.session_wire import SessionFile
from shared.steps import Step, Usage

CODE, REPORT = Step(1, "CodeWriter", "code"), Step(2, "CodeExecutor", "42", 0)
KNOWN = {"a.csv": SessionFile("a.csv", 1, "text/csv", "")}
RUN = Run(
    run_id="f" * 32,
    owner="",
    caller="",
    created_at=0,
    expires_at=0,
    message="",
    session_id="s",
    max_turns=1,
)


@dataclass
class Store:
    """One record, which others may change before a save.

    Attributes:
        before_save: changes by others, one for each save.
        answers_lost: so many saves are done and told as if they were not.
    """

    run: Run | None = RUN
    version: int = 0
    before_save: list[Callable[[Run], Run]] = field(default_factory=list)
    answers_lost: int = 0

    def load(self, run_id: str) -> Stored | None:
        return Stored(self.run, str(self.version)) if self.run else None

    def save(self, stored: Stored, run: Run) -> Stored:
        if self.before_save and self.run:
            self._write(self.before_save.pop(0)(self.run))
        if stored.etag != str(self.version):
            raise RunChanged
        self._write(run)
        if self.answers_lost:
            self.answers_lost -= 1
            raise RunChanged
        return Stored(run, str(self.version))

    def _write(self, run: Run) -> None:
        self.run, self.version = run, self.version + 1


class Lease:
    def __init__(self) -> None:
        self.lost = threading.Event()


def held(store: Store, lease: Lease | None = None) -> HeldRun:
    run = HeldRun(Stored(RUN, "0"), store, lease or Lease())  # type: ignore[arg-type]  # what is used of them
    run.begin()
    return run


def cancelled(run: Run) -> Run:
    return replace(run, cancel_requested=True)


def test_a_request_to_cancel_is_found_with_the_next_step_and_kept() -> None:
    store = Store()
    recorder = Recorder(held(store))
    assert not recorder.is_cancelled()
    store.before_save = [cancelled]
    recorder.said(CODE, Usage("m", 1, 2, 3), "execution")
    assert recorder.is_cancelled()
    assert store.run == replace(
        RUN,
        status="running",
        attempts=1,
        steps=(CODE,),
        usage=Usage("m", 1, 2, 3),
        pending="execution",
        cancel_requested=True,
    )


def test_a_step_whose_save_was_done_although_it_seemed_not_is_there_once() -> None:
    store = Store()
    recorder = Recorder(held(store))
    store.answers_lost = 1
    recorder.said(CODE, Usage(), "")
    recorder.said(REPORT, Usage(), "")
    assert store.run is not None
    assert store.run.steps == (CODE, REPORT)


@pytest.mark.parametrize(
    "other",
    [
        lambda run: replace(run, attempts=run.attempts + 1),
        lambda run: replace(run, status="failed"),
    ],
)
def test_a_run_that_another_has_begun_or_ended_is_left_to_it(other: Callable[[Run], Run]) -> None:
    store = Store()
    run = held(store)
    store.before_save = [other]
    with pytest.raises(ChatAbandoned):
        Recorder(run).said(CODE, Usage(), "")
    assert store.run is not None
    assert store.run.steps == ()


def test_a_run_that_was_deleted_is_left() -> None:
    store = Store()
    run = held(store)
    store.run, store.version = None, 9
    with pytest.raises(ChatAbandoned):
        run.save(cancelled)


def test_without_its_lease_nothing_is_saved() -> None:
    store, lease = Store(), Lease()
    run = held(store, lease)
    before = store.run
    lease.lost.set()
    with pytest.raises(ChatAbandoned):
        run.save(cancelled)
    assert store.run == before


def test_a_record_that_changes_all_the_time_is_not_fought_for() -> None:
    store = Store()
    run = held(store)
    store.before_save = [lambda run: replace(run, message=run.message + "x")] * 20
    with pytest.raises(RunChanged):
        run.save(cancelled)


def test_files_of_before_are_kept_with_the_first_step() -> None:
    store = Store()
    recorder = Recorder(held(store))
    recorder.begun(KNOWN)
    assert store.run is not None
    assert earlier_of(store.run).known_files == {}
    recorder.said(CODE, Usage(), "")
    assert earlier_of(store.run).known_files == KNOWN


def test_that_the_session_was_gone_is_known_until_code_has_reported() -> None:
    store = Store()
    recorder = Recorder(held(store))
    recorder.found_session_gone()
    known = []
    for step, pending in ((CODE, "execution"), (REPORT, ""), (replace(CODE, index=3), "execution")):
        assert store.run is not None
        known.append(earlier_of(store.run).session_was_gone)
        recorder.said(step, Usage(), pending)
    assert known == [True, True, False]
    assert store.run is not None
    assert store.run.pending == "execution"
