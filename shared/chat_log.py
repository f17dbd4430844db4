"""The messages of a chat, kept while they happen, and whoever watches them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence

from shared import agents
from shared.aca_sessions_executor import ACASessionsExecutor
from shared.code_blocks import fenced_code, says_finished, without_terminate
from shared.deadline import Deadline
from shared.pictures import ShownPicture
from shared.session_wire import SessionFile
from shared.steps import Step, Usage

COMPLETED, TURN_LIMIT, DEADLINE, BUDGET, CANCELLED = "completed", "turn_limit", "deadline", "budget", "cancelled"
# What a step that was just heard leads to, where it is more than a call of the model.
EXECUTION = "execution"


class ChatEnded(Exception):
    """A chat's end before its answer and before its deadline.

    Args:
        status: `budget` or `cancelled`.
    """

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class Observer:
    """Watches a chat; this one does nothing."""

    def found_session_gone(self) -> None:
        """Is told, before anything is put into a new one, that the session of an earlier conversation is gone."""

    def begun(self, known_files: Mapping[str, SessionFile]) -> None:
        """Is told, before the first message, which files the session has that the chat did not make, by path."""

    def said(self, step: Step, usage: Usage, pending: str) -> None:
        """Is told each message before the other agent gets it.

        Args:
            step: the message.
            usage: tokens of the chat so far, all attempts together.
            pending: `execution` where the message's code runs next, else empty.

        Raises:
            ChatAbandoned: to end the chat at once; it leaves `run_chat`, as a ServiceError does.
        """

    def is_cancelled(self) -> bool:
        """Is asked after each message, and before the first one, whether the chat is to end."""
        return False


class ChatLog:
    """Hears the agents; raises what ends their chat.

    Args:
        executor: runs the writer's code.
        deadline: of the chat.
        observer: is told each step.
        run_id: names the executions; empty where nobody will look for them.
        token_budget: the model is not called again once so many tokens are used; None for no limit.
        steps: what was said in earlier attempts.
    """

    def __init__(
        self,
        executor: ACASessionsExecutor,
        deadline: Deadline,
        observer: Observer,
        *,
        run_id: str = "",
        token_budget: int | None = None,
        steps: Sequence[Step] = (),
    ) -> None:
        self.steps = list(steps)
        self.pictures: list[ShownPicture] = []
        self.usage: Callable[[], Usage] = Usage
        self.skips_next = True
        self._executor = executor
        self._deadline = deadline
        self._observer = observer
        self._run_id = run_id
        self._token_budget = token_budget

    def hear(self, agent: str, content: str) -> None:
        """Takes one message, unless it is known already: the task itself, or the last step of an earlier attempt.

        Raises:
            ChatEnded: the chat is cancelled, or the model may not be called again.
            DeadlineReached: the deadline has passed.
        """
        if self.skips_next:
            self.skips_next = False
        else:
            self._add(agent, content)
            self._tell(agent, content)
        if not self.finished():
            self._check(agent)

    def check_cancelled(self) -> None:
        """Does nothing unless the chat is cancelled.

        Raises:
            ChatEnded: it is.
        """
        if self._observer.is_cancelled():
            raise ChatEnded(CANCELLED)

    def name_executions(self, *, begun: bool = False) -> None:
        """Names the executions of the last step's blocks, where the chat is a run's.

        Args:
            begun: an earlier attempt may have begun them.
        """
        if self._run_id:
            index = self.steps[-1].index
            self._executor.name_executions(lambda block: self._operation_id(index, block), begun=begun)

    def operation_ids(self, step: Step) -> list[str]:
        """The names of the executions of a step of the writer's."""
        return [self._operation_id(step.index, block) for block, _ in enumerate(fenced_code(step.content), 1)]

    def keep_unsaid(self) -> None:
        """Takes what blocks gave whose message was never sent, because the deadline came first."""
        self._add(agents.RUNNER, None)

    def finished(self) -> bool:
        """Whether the writer has had the last word and it was TERMINATE."""
        last = self.steps[-1] if self.steps else None
        return last is not None and last.agent == agents.WRITER and says_finished(last.content)

    def answer(self) -> str:
        """The writer's last prose; where it only said TERMINATE, what it said before that."""
        finished = self.finished()
        for step in reversed(self.steps):
            text = without_terminate(step.content)
            # The last message may show something in a fence; blocks before it were work.
            work = finished and step is not self.steps[-1] and fenced_code(step.content)
            if step.agent == agents.WRITER and text and not work:
                return text
        printed = [step.content for step in self.steps if step.exit_code == 0]
        return printed[-1].partition("Code output: ")[2] if printed else ""

    def _operation_id(self, step: int, block: int) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self._run_id}/{step}/{block}"))

    def _add(self, agent: str, content: str | None) -> None:
        result = self._executor.take_result() if agent == agents.RUNNER else None
        if content is None and result is None:
            return
        text = content if content is not None else result.output if result else ""
        shown = result.pictures if result else ()
        self.pictures += shown
        exit_code = result.exit_code if result else None
        names = tuple(picture.name for picture in shown)
        self.steps.append(Step(len(self.steps) + 1, agent, text, exit_code, names))

    def _tell(self, agent: str, content: str) -> None:
        works = agent == agents.WRITER and not self.finished() and bool(fenced_code(content))
        if works:
            self.name_executions()
        self._observer.said(self.steps[-1], self.usage(), EXECUTION if works else "")

    def _check(self, agent: str) -> None:
        self.check_cancelled()
        # After the runner it is the writer's turn, and that is a call of the model.
        limit = self._token_budget if agent == agents.RUNNER else None
        if limit is not None and self.usage().total_tokens >= limit:
            raise ChatEnded(BUDGET)
        self._deadline.check()
