"""One chat: two new agents, one session, one deadline, and everything that comes of it."""

from __future__ import annotations

import copy
import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared import agents, errors, harvest, model
from shared.aca_sessions_executor import ACASessionsExecutor
from shared.code_blocks import fenced_code, says_finished, without_terminate
from shared.deadline import Deadline
from shared.errors import DeadlineReached
from shared.harvest import Harvest
from shared.pictures import PictureRoom, ShownPicture
from shared.session_wire import SessionFile
from shared.settings import Settings
from shared.steps import Step, Usage

COMPLETED, TURN_LIMIT, DEADLINE = "completed", "turn_limit", "deadline"
# Listing and fetching what the chat made: in the chat's own time while it has some, and else for so long after
# it. 225 + 4 s stay below Azure's 230.
HARVEST_SECONDS_MAX, HARVEST_SECONDS_MIN = 30.0, 4.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChatTask:
    """What is asked.

    Attributes:
        message: the task in plain words.
        session_id: goes on in that session of the caller's; None for a new one.
        caller: who asks; empty where callers are not told apart.
        max_turns: most messages of the writer.
        files: names and contents, put into the session first.
    """

    message: str
    session_id: str | None = None
    caller: str = ""
    max_turns: int = 10
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class ChatOutcome:
    """What came of a chat.

    Attributes:
        session_id: to go on in the same session.
        status: `completed`, `turn_limit` or `deadline`.
        result: the answer as text, or the writer's last words where it did not finish.
        steps: every message after the task.
        harvest: pictures and files, and what could not be fetched.
        usage: tokens.
        chat_history, cost: as AutoGen gives them.
    """

    session_id: str
    status: str
    result: str
    steps: tuple[Step, ...]
    harvest: Harvest
    usage: Usage
    chat_history: list[dict[str, Any]]
    cost: dict[str, Any]


def run_chat(task: ChatTask, settings: Settings, deadline: Deadline) -> ChatOutcome:
    """Answers a task.

    Args:
        task: what is asked.
        settings: which pool and model, and the limits.
        deadline: bounds every wait; what is done by then is the outcome.

    Raises:
        SettingError: a setting is missing or malformed.
        IdentityError: no token could be had.
        PoolError: the session pool failed or refused.
        ModelError: the model failed or refused.
    """
    llm_config = model.llm_config(settings, deadline)
    room = PictureRoom(settings.chat_max_pictures, settings.chat_max_picture_bytes)
    executor = ACASessionsExecutor(
        settings.pool_management_endpoint,
        session_id=task.session_id,
        caller=task.caller,
        client_id=settings.azure_client_id,
        api_version=settings.session_pool_api_version,
        execution_timeout_seconds=settings.execution_timeout_seconds,
        output_limit=settings.output_max_characters,
        picture_room=room,
        deadline=deadline,
    )
    chat_log = _ChatLog(executor, deadline)
    pair = _build_pair(llm_config, executor, chat_log, task.max_turns, settings)
    before: dict[str, SessionFile] = {}
    try:
        before = harvest.baseline(executor, task.session_id is not None)
        executor.provide_files(task.files)
        status = _exchange_messages(pair, chat_log, _opening(task), task.max_turns, deadline)
    except DeadlineReached:
        status = DEADLINE
        chat_log.keep_unsaid()
    cost = _cost(pair)
    return ChatOutcome(
        session_id=executor.session_id,
        status=status,
        result=chat_log.answer(),
        steps=tuple(chat_log.steps),
        harvest=harvest.gather(executor, before, chat_log.pictures, room, settings, _harvest_deadline(deadline)),
        usage=_usage(cost),
        chat_history=copy.deepcopy(pair.runner.chat_messages[pair.writer]),
        cost=cost,
    )


def _harvest_deadline(deadline: Deadline) -> Deadline:
    seconds = max(HARVEST_SECONDS_MIN, min(HARVEST_SECONDS_MAX, deadline.remaining()))
    return Deadline.after(seconds, deadline.clock)


class _ChatLog:
    """The messages of a chat, kept while they happen."""

    def __init__(self, executor: ACASessionsExecutor, deadline: Deadline) -> None:
        self.steps: list[Step] = []
        self.pictures: list[ShownPicture] = []
        self._executor = executor
        self._deadline = deadline
        self._opened = False

    def hear(self, agent: str, content: str) -> None:
        """Takes one message; the first is the task itself and no step."""
        if not self._opened:
            self._opened = True
            return
        self._add(agent, content)
        if not self.finished():
            self._deadline.check()

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


def _build_pair(
    llm_config: dict[str, Any],
    executor: ACASessionsExecutor,
    chat_log: _ChatLog,
    max_turns: int,
    settings: Settings,
) -> agents.AgentPair:
    import openai

    try:
        return agents.build_agents(llm_config, executor, chat_log.hear, max_turns)
    except (ValueError, TypeError, ImportError, openai.OpenAIError) as error:
        # AutoGen and the model's library check the configuration here; their words may quote a key.
        _log.warning("The model's configuration was refused: %s", type(error).__name__)
        name = model.choose(settings).setting
        raise errors.SettingError(
            name,
            f"AutoGen cannot use the model that {name} describes: something in it is unknown, missing or malformed, "
            "or it needs a library that is not installed.",
        ) from None


def _exchange_messages(
    pair: agents.AgentPair, chat_log: _ChatLog, opening: str, max_turns: int, deadline: Deadline
) -> str:
    from autogen.io import IOStream

    try:
        with IOStream.set_default(_Silence()):
            pair.runner.initiate_chat(
                pair.writer, message=opening, max_turns=max_turns, silent=True, summary_method="last_msg"
            )
    except (DeadlineReached, errors.ServiceError):
        raise
    except Exception as error:
        # A call that the deadline cut off looks like a lost connection to the model's library.
        if deadline.remaining() <= 0:
            raise DeadlineReached from None
        known = model.model_error(error)
        if known is None:
            raise
        raise known from None
    return COMPLETED if chat_log.finished() else TURN_LIMIT


class _Silence:
    """Takes what AutoGen would print: standard output is not a log."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Nothing is printed."""

    def send(self, message: Any) -> None:
        """Nothing is sent."""

    def input(self, prompt: str = "", *, password: bool = False) -> str:
        """Nobody is there to answer.

        Raises:
            io.UnsupportedOperation: always.
        """
        raise io.UnsupportedOperation("a chat has no human input")


def _opening(task: ChatTask) -> str:
    if not task.files:
        return task.message
    listed = ", ".join(f"{name} ({len(content)} bytes)" for name, content in task.files.items())
    return f"{task.message}\n\nFiles in /mnt/data: {listed}"


def _cost(pair: agents.AgentPair) -> dict[str, Any]:
    from autogen import gather_usage_summary

    summary: dict[str, Any] = gather_usage_summary([pair.runner, pair.writer])
    return summary


def _usage(cost: Mapping[str, Any]) -> Usage:
    models = {
        name: row for name, row in cost.get("usage_including_cached_inference", {}).items() if isinstance(row, dict)
    }
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    return Usage(", ".join(models), *(sum(row.get(name, 0) for row in models.values()) for name in names))
