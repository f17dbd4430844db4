"""What an observer of a chat is told and asked, and what ends a chat before its answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.chat import ChatOutcome, ChatTask, run_chat
from shared.chat_log import Observer
from shared.deadline import Deadline
from shared.settings import Settings
from shared.steps import Step, Usage
from tests.identities import local_identity
from tests.remembering_pool import CountingModel, RememberingPool, model_and_pool

CODE = "```python\nprint(42)\n```"
END = "It is 42.\n\nTERMINATE"
SCRIPT = [CODE, CODE, END]


@pytest.fixture(scope="module", autouse=True)
def _identity() -> Iterator[None]:
    with local_identity():
        yield


class Witness(Observer):
    """Notes what had happened at each step; cancels the chat after some of them."""

    def __init__(self, model: CountingModel, pool: RememberingPool, cancels_after: int | None = None) -> None:
        self.steps: list[Step] = []
        self.rows: list[tuple[str, int, int]] = []
        self.tokens: list[int] = []
        self._model = model
        self._pool = pool
        self._cancels_after = cancels_after

    def said(self, step: Step, usage: Usage, pending: str) -> None:
        self.steps.append(step)
        self.rows.append((pending, self._model.calls, len(self._pool.executed)))
        self.tokens.append(usage.total_tokens)

    def is_cancelled(self) -> bool:
        return len(self.steps) == self._cancels_after


class Watched:
    """A chat with a witness."""

    def __init__(self, *, cancels_after: int | None = None, token_budget: int | None = None) -> None:
        self.model, self.pool = CountingModel(SCRIPT), RememberingPool()
        self.witness = Witness(self.model, self.pool, cancels_after)
        with model_and_pool(self.model, self.pool) as settings:
            self.outcome = self._run(settings, ChatTask("Compute", run_id="run", token_budget=token_budget))

    def _run(self, settings: Settings, task: ChatTask) -> ChatOutcome:
        return run_chat(task, settings, Deadline.after(60), observer=self.witness)


def test_an_observer_hears_each_step_before_the_next_message_goes_out() -> None:
    watched = Watched()
    assert watched.witness.steps == list(watched.outcome.steps)
    assert watched.witness.rows == [
        ("execution", 1, 0),
        ("", 1, 1),
        ("execution", 2, 1),
        ("", 2, 2),
        ("", 3, 2),
    ]
    assert watched.witness.tokens == sorted(watched.witness.tokens)
    assert watched.witness.tokens[-1] == watched.outcome.usage.total_tokens > watched.witness.tokens[0] > 0


@pytest.mark.parametrize(("steps", "calls", "executions"), [(0, 0, 0), (1, 1, 0), (2, 1, 1), (3, 2, 1), (4, 2, 2)])
def test_a_cancelled_chat_stops_where_it_is(steps: int, calls: int, executions: int) -> None:
    watched = Watched(cancels_after=steps)
    assert watched.outcome.status == "cancelled"
    assert len(watched.outcome.steps) == steps
    assert (watched.model.calls, len(watched.pool.executed)) == (calls, executions)


def test_a_chat_that_is_answered_is_no_longer_cancelled() -> None:
    watched = Watched(cancels_after=5)
    assert watched.outcome.status == "completed"


def test_the_model_is_not_called_again_once_the_tokens_are_used_up() -> None:
    watched = Watched(token_budget=1)
    assert watched.outcome.status == "budget"
    # What the call led to is done: it is paid for.
    assert [step.agent for step in watched.outcome.steps] == ["CodeWriter", "CodeExecutor"]
    assert (watched.model.calls, len(watched.pool.executed)) == (1, 1)


def test_an_answer_that_uses_up_the_tokens_is_an_answer() -> None:
    two_calls = Watched().witness.tokens[3]
    watched = Watched(token_budget=two_calls + 1)
    assert watched.outcome.status == "completed"
    assert watched.outcome.usage.total_tokens > two_calls + 1
