"""A chat whose process is gone, at any moment, and that goes on in another one."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import pytest

from shared import errors
from shared.chat import ChatOutcome, ChatTask, run_chat
from shared.chat_log import Observer
from shared.chat_recovery import Earlier
from shared.deadline import Deadline
from shared.errors import ChatAbandoned
from shared.session_wire import SessionFile
from shared.settings import Settings
from shared.steps import Step, Usage
from tests.identities import local_identity
from tests.remembering_pool import CountingModel, RememberingPool, model_and_pool
from tests.scripted_pool import described, ended, listing
from tests.scripted_server import Answer, Received

CODE = "```python\nprint(42)\n```"
TWO_BLOCKS = "```python\nx = 1\n```\n\n```python\nprint(x)\n```"
END = "It is 42.\n\nTERMINATE"
SCRIPT = [CODE, "Let me think.", TWO_BLOCKS, END]
STEPS = 7
TASK = ChatTask("Compute", "session", session_is_new=True, run_id="run", files={"a.csv": b"1,2"})
IMAGE = {"type": "image", "format": "png", "base64_data": base64.b64encode(b"picture").decode()}


@pytest.fixture(scope="module", autouse=True)
def _identity() -> Iterator[None]:
    with local_identity():
        yield


class Notebook(Observer):
    """Keeps what it is told, until its process dies at a step, before or after it has written that down."""

    def __init__(self, *, dies_at: int = 0, written: bool = True) -> None:
        self.earlier = Earlier()
        self.pending = ""
        self._dies_at = dies_at
        self._written = written

    def begun(self, known_files: Mapping[str, SessionFile]) -> None:
        self.earlier = replace(self.earlier, known_files=known_files)

    def said(self, step: Step, usage: Usage, pending: str) -> None:
        dies = step.index == self._dies_at
        if not dies or self._written:
            self.earlier = replace(self.earlier, steps=(*self.earlier.steps, step), usage=usage)
            self.pending = pending
        if dies:
            raise ChatAbandoned


def attempt(settings: Settings, notebook: Notebook, task: ChatTask = TASK, seconds: float = 60) -> ChatOutcome:
    """One more attempt, from what the notebook has."""
    earlier = notebook.earlier
    return run_chat(task, settings, Deadline.after(seconds), observer=notebook, earlier=earlier)


def interrupted(settings: Settings, *, dies_at: int, written: bool = True, task: ChatTask = TASK) -> Notebook:
    """What is left of a first attempt."""
    notebook = Notebook(dies_at=dies_at, written=written)
    with suppress(ChatAbandoned):
        attempt(settings, notebook, task)
    survivor = Notebook()
    survivor.earlier = notebook.earlier
    return survivor


def undisturbed(script: Sequence[str] = SCRIPT) -> ChatOutcome:
    with model_and_pool(CountingModel(script), RememberingPool()) as settings:
        return run_chat(TASK, settings, Deadline.after(60))


@pytest.mark.parametrize("dies_at", range(1, STEPS + 1))
def test_a_chat_cut_off_after_any_step_goes_on_without_doing_anything_twice(dies_at: int) -> None:
    model, pool = CountingModel(SCRIPT), RememberingPool()
    with model_and_pool(model, pool) as settings:
        outcome = attempt(settings, interrupted(settings, dies_at=dies_at))
    assert replace(outcome, cost={}) == replace(undisturbed(), cost={})
    assert len(outcome.steps) == STEPS
    assert model.calls == len(SCRIPT)
    assert pool.executed == ["print(42)", "x = 1", "print(x)"]


@pytest.mark.parametrize("dies_at", [2, 6])
def test_code_that_ran_without_its_report_being_written_is_asked_for_and_not_run_again(dies_at: int) -> None:
    model, pool = CountingModel(SCRIPT), RememberingPool()
    with model_and_pool(model, pool) as settings:
        notebook = interrupted(settings, dies_at=dies_at, written=False)
        assert len(notebook.earlier.steps) == dies_at - 1
        outcome = attempt(settings, notebook)
    assert replace(outcome, cost={}) == replace(undisturbed(), cost={})
    assert model.calls == len(SCRIPT)
    assert pool.executed == ["print(42)", "x = 1", "print(x)"]


def test_blocks_that_were_not_begun_run_after_those_that_were() -> None:
    pool = RememberingPool([ended("one"), Answer(403, b""), ended("two")])
    with model_and_pool(CountingModel([TWO_BLOCKS, END]), pool) as settings:
        notebook = Notebook()
        with pytest.raises(errors.PoolForbidden):
            attempt(settings, notebook)
        assert notebook.pending == "execution"
        outcome = attempt(settings, notebook)
    assert pool.executed == ["x = 1", "print(x)"]
    assert outcome.steps[1].content.endswith("block 1 of 2\nstdout:\none\n\nblock 2 of 2\nstdout:\ntwo")


def test_an_execution_that_still_runs_is_waited_for() -> None:
    running = Answer(body=json.dumps({"id": "e", "status": "Running"}).encode())
    pool = RememberingPool()
    with model_and_pool(CountingModel([CODE, END]), pool, GET_executions=[running, running, ended("late")]) as settings:
        outcome = attempt(settings, interrupted(settings, dies_at=2, written=False))
    assert outcome.steps[1].content.endswith("stdout:\nlate")
    assert pool.executed == ["print(42)"]


def test_an_execution_that_runs_on_past_the_deadline_ends_the_chat_in_time() -> None:
    running = Answer(body=json.dumps({"id": "e", "status": "Running"}).encode())
    with model_and_pool(CountingModel([CODE, END]), RememberingPool(), GET_executions=running) as settings:
        notebook = interrupted(settings, dies_at=2, written=False)
        outcome = attempt(settings, notebook, seconds=1.5)
    assert (outcome.status, len(outcome.steps)) == ("deadline", 1)


def test_a_session_that_keeps_no_executions_runs_the_code_again() -> None:
    pool = RememberingPool(forgets=True)
    with model_and_pool(CountingModel([CODE, END]), pool) as settings:
        outcome = attempt(settings, interrupted(settings, dies_at=2, written=False))
    assert outcome.status == "completed"
    assert pool.executed == ["print(42)"] * 2
    assert "session was lost" not in outcome.steps[1].content


def test_a_session_that_is_gone_is_told_to_the_model_and_has_the_files_again() -> None:
    pool = RememberingPool()
    with model_and_pool(CountingModel([CODE, CODE, END]), pool) as settings:
        notebook = interrupted(settings, dies_at=4, written=False)
        pool.lose_session()
        before = len(pool.asked())
        outcome = attempt(settings, notebook)
    assert pool.asked()[before:] == ["GET session", "POST files", "POST executions", "GET files"]
    assert "the session was lost" in outcome.steps[3].content
    assert "the session was lost" not in outcome.steps[1].content
    assert outcome.status == "completed"


def test_a_session_that_is_lost_while_its_answer_is_awaited_is_told_and_the_code_runs_again() -> None:
    pool = RememberingPool()

    def first_is_lost(number: int, request: Received) -> Answer:
        reply = pool.execute(number, request)
        if number:
            return reply
        pool.lose_session()
        return Answer(hang_up=True)

    with model_and_pool(CountingModel([CODE, END]), pool, POST_executions=first_is_lost) as settings:
        outcome = attempt(settings, Notebook())
    assert outcome.steps[1].content.endswith("stdout:\n42")
    assert len(pool.executed) == 2


def test_an_answer_that_is_lost_is_asked_for_again() -> None:
    pool = RememberingPool()

    def lost(number: int, request: Received) -> Answer:
        pool.execute(number, request)
        return Answer(hang_up=True)

    with model_and_pool(CountingModel([CODE, END]), pool, POST_executions=lost) as settings:
        outcome = attempt(settings, Notebook())
    assert outcome.status == "completed"
    assert pool.executed == ["print(42)"]


def test_an_answer_that_is_lost_and_nobody_knows_ends_the_chat() -> None:
    pool = RememberingPool(forgets=True)

    def lost(number: int, request: Received) -> Answer:
        pool.execute(number, request)
        return Answer(hang_up=True)

    with (
        model_and_pool(CountingModel([CODE, END]), pool, POST_executions=lost) as settings,
        pytest.raises(errors.PoolOutcomeUnknown),
    ):
        attempt(settings, Notebook())
    assert pool.executed == ["print(42)"]


def test_pictures_from_before_come_with_the_reply_and_later_ones_have_other_names() -> None:
    pool = RememberingPool([ended(result=IMAGE)])
    with model_and_pool(CountingModel([CODE, CODE, END]), pool) as settings:
        outcome = attempt(settings, interrupted(settings, dies_at=3))
    assert [made.name for made in outcome.harvest.pictures] == ["picture-1.png", "picture-2.png"]
    assert [step.pictures for step in outcome.steps if step.pictures] == [("picture-1.png",), ("picture-2.png",)]
    assert outcome.harvest.warnings == ()


def test_pictures_that_the_session_no_longer_has_are_a_warning() -> None:
    pool = RememberingPool([ended(result=IMAGE)])
    with model_and_pool(CountingModel([CODE, END]), pool) as settings:
        notebook = interrupted(settings, dies_at=2)
        pool.lose_session()
        outcome = attempt(settings, notebook)
    assert outcome.harvest.pictures == ()
    assert outcome.harvest.warnings == ("picture-1.png is lost: the chat was interrupted after it was shown.",)


def test_files_from_before_the_chat_are_not_its_own_after_an_interruption_either() -> None:
    files = listing(described("old.csv"), described("a.csv", 3), described("made.csv"))
    task = replace(TASK, session_is_new=False)
    pool = RememberingPool(there=True)
    before = [listing(described("old.csv")), files]
    with model_and_pool(CountingModel([CODE, END]), pool, GET_files=before) as settings:
        outcome = attempt(settings, interrupted(settings, dies_at=2, task=task), task)
    assert [made.file.path for made in outcome.harvest.files] == ["made.csv"]


def test_a_chat_whose_turns_are_used_up_does_not_go_on() -> None:
    model, pool = CountingModel([CODE]), RememberingPool()
    task = replace(TASK, max_turns=2)
    with model_and_pool(model, pool) as settings:
        outcome = attempt(settings, interrupted(settings, dies_at=3, task=task), task)
    assert (outcome.status, len(outcome.steps), model.calls) == ("turn_limit", 3, 2)
    assert pool.executed == ["print(42)"]


def test_a_chat_that_goes_on_has_the_turns_that_are_left() -> None:
    model = CountingModel([CODE])
    task = replace(TASK, max_turns=3)
    with model_and_pool(model, RememberingPool()) as settings:
        outcome = attempt(settings, interrupted(settings, dies_at=2, task=task), task)
    assert (outcome.status, len(outcome.steps), model.calls) == ("turn_limit", 5, 3)


def test_a_chat_without_time_keeps_what_it_has() -> None:
    model = CountingModel(SCRIPT)
    with model_and_pool(model, RememberingPool()) as settings:
        notebook = interrupted(settings, dies_at=2)
        outcome = attempt(settings, notebook, seconds=0)
    assert (outcome.status, len(outcome.steps), model.calls) == ("deadline", 2, 1)
    assert outcome.usage == notebook.earlier.usage
