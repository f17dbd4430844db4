"""One chat: two new agents, one session, one deadline, and everything that comes of it."""

from __future__ import annotations

import copy
import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shared import agents, chat_recovery, errors, harvest, model, telemetry_chats
from shared.aca_sessions_executor import ACASessionsExecutor
from shared.chat_log import COMPLETED, DEADLINE, TURN_LIMIT, ChatEnded, ChatLog, Observer
from shared.chat_recovery import Earlier
from shared.deadline import Deadline
from shared.errors import ChatAbandoned, DeadlineReached
from shared.harvest import Harvest
from shared.pictures import PictureRoom
from shared.session import session_identifier
from shared.session_wire import SessionFile
from shared.settings import Settings
from shared.steps import Step, Usage

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
        session_is_new: the session_id was made for this chat, so that there is nothing to miss in its session.
        caller: who asks; empty where callers are not told apart.
        max_turns: most messages of the writer.
        files: names and contents, put into the session first.
        run_id: of the run that the chat is of: names its executions, so that another attempt finds them again; empty
            for a chat that has one attempt.
        token_budget: the model is not called again once so many tokens are used; None for no limit.
    """

    message: str
    session_id: str | None = None
    session_is_new: bool = False
    caller: str = ""
    max_turns: int = 10
    files: Mapping[str, bytes] = field(default_factory=dict)
    run_id: str = ""
    token_budget: int | None = None


@dataclass(frozen=True)
class ChatOutcome:
    """What came of a chat.

    Attributes:
        session_id: to go on in the same session.
        status: `completed`, `turn_limit`, `deadline`, `budget` or `cancelled`.
        result: the answer as text, or the writer's last words where it did not finish.
        steps: every message after the task.
        harvest: pictures and files, and what could not be fetched.
        usage: tokens, all attempts together.
        chat_history, cost: as AutoGen gives them; the cost is that of the last attempt.
    """

    session_id: str
    status: str
    result: str
    steps: tuple[Step, ...]
    harvest: Harvest
    usage: Usage
    chat_history: list[dict[str, Any]]
    cost: dict[str, Any]


def run_chat(
    task: ChatTask,
    settings: Settings,
    deadline: Deadline,
    *,
    observer: Observer | None = None,
    earlier: Earlier | None = None,
) -> ChatOutcome:
    """Answers a task.

    Args:
        task: what is asked.
        settings: which pool and model, and the limits.
        deadline: bounds every wait; what is done by then is the outcome.
        observer: is told each step before the next message goes out.
        earlier: what an attempt that was cut off has left: the chat goes on from there, and what was completed is
            not done again.

    Raises:
        SettingError: a setting is missing or malformed.
        IdentityError: no token could be had.
        PoolError: the session pool failed or refused.
        ModelError: the model failed or refused.
        ChatAbandoned: the observer raised it.
    """
    session = session_identifier(task.caller, task.session_id) if task.session_id else ""
    with telemetry_chats.chat(agents.WRITER, task.message, session=session, run_id=task.run_id) as span:
        outcome = _Chat(task, settings, deadline, observer or Observer(), earlier or Earlier()).carry_out()
        span.ended(outcome.status, outcome.result)
        return outcome


class _Chat:
    """One chat's agents, session and log."""

    def __init__(
        self, task: ChatTask, settings: Settings, deadline: Deadline, observer: Observer, earlier: Earlier
    ) -> None:
        self._task = task
        self._settings = settings
        self._deadline = deadline
        self._observer = observer
        self._earlier = earlier
        llm_config = model.llm_config(settings, deadline)
        self._room = PictureRoom(settings.chat_max_pictures, settings.chat_max_picture_bytes)
        self._executor = _executor(task, settings, self._room, deadline)
        self._log = ChatLog(
            self._executor,
            deadline,
            observer,
            run_id=task.run_id,
            token_budget=task.token_budget,
            steps=earlier.steps,
        )
        self._pair = _build_pair(llm_config, self._executor, self._log, task.max_turns, settings)
        self._log.usage = lambda: earlier.usage.plus(_usage(_cost(self._pair)))
        if earlier.steps:
            chat_recovery.remember(self._pair, _opening(task), earlier.steps)
        self._known_files = earlier.known_files
        self._lost_pictures: list[str] = []

    def carry_out(self) -> ChatOutcome:
        """What came of it."""
        try:
            status = self._exchange_messages()
        except DeadlineReached:
            status = DEADLINE
            self._log.keep_unsaid()
        except ChatEnded as end:
            status = end.status
        return ChatOutcome(
            session_id=self._executor.session_id,
            status=status,
            result=self._log.answer(),
            steps=tuple(self._log.steps),
            harvest=self._harvest(),
            usage=self._log.usage(),
            chat_history=copy.deepcopy(self._pair.runner.chat_messages[self._pair.writer]),
            cost=_cost(self._pair),
        )

    def _exchange_messages(self) -> str:
        from autogen.io import IOStream

        try:
            with IOStream.set_default(_Silence()):
                if not self._log.finished():
                    self._log.check_cancelled()
                self._go_on() if self._earlier.steps else self._begin()
        except (DeadlineReached, ChatEnded, ChatAbandoned, errors.ServiceError):
            raise
        except Exception as error:
            # A call that the deadline cut off looks like a lost connection to the model's library.
            if self._deadline.remaining() <= 0:
                raise DeadlineReached from None
            known = model.model_error(error)
            if known is None:
                raise
            raise known from None
        return COMPLETED if self._log.finished() else TURN_LIMIT

    def _begin(self) -> None:
        before = self._files_before()
        self._executor.provide_files(self._task.files)
        # An observer may have to know them again when the session itself has changed them.
        self._known_files = {**before, **self._executor.provided_files}
        self._observer.begun(self._known_files)
        self._talk(_opening(self._task), self._task.max_turns)

    def _files_before(self) -> Mapping[str, SessionFile]:
        if self._earlier.session_was_gone:
            # Files that the earlier attempt has put there may have started another.
            self._executor.note_new()
            return {}
        resumed = self._task.session_id is not None and not self._task.session_is_new
        before = harvest.baseline(self._executor, resumed)
        if self._executor.has_notes:
            self._observer.found_session_gone()
        return before

    def _go_on(self) -> None:
        steps = self._earlier.steps
        code_has_run = any(step.exit_code is not None for step in steps)
        if self._earlier.session_was_gone and not code_has_run:
            # The model is told with the first report.
            self._executor.note_new()
        there = self._executor.take_up(self._task.files, code_has_run=code_has_run)
        self._lost_pictures = chat_recovery.restore_pictures(self._executor, self._log, session_there=there)
        turns_left = self._task.max_turns - sum(step.agent == agents.WRITER for step in steps)
        if not self._log.finished() and turns_left > 0:
            self._talk(chat_recovery.next_message(self._pair, self._log, session_there=there), turns_left)

    def _talk(self, message: str, turns: int) -> None:
        self._pair.runner.initiate_chat(
            self._pair.writer,
            message=message,
            max_turns=turns,
            clear_history=False,
            silent=True,
            summary_method="last_msg",
        )

    def _harvest(self) -> Harvest:
        # Nobody waits at the other end of a run's request.
        least = HARVEST_SECONDS_MAX if self._task.run_id else HARVEST_SECONDS_MIN
        seconds = max(least, min(HARVEST_SECONDS_MAX, self._deadline.remaining()))
        end = Deadline.after(seconds, self._deadline.clock)
        gathered = harvest.gather(
            self._executor, self._known_files, self._log.pictures, self._room, self._settings, end
        )
        lost = [f"{name} is lost: the chat was interrupted after it was shown." for name in self._lost_pictures]
        return replace(gathered, warnings=(*gathered.warnings, *lost))


def _executor(task: ChatTask, settings: Settings, room: PictureRoom, deadline: Deadline) -> ACASessionsExecutor:
    executor = ACASessionsExecutor(
        settings.pool_management_endpoint,
        session_id=None if task.session_is_new else task.session_id,
        caller=task.caller,
        client_id=settings.azure_client_id,
        api_version=settings.session_pool_api_version,
        execution_timeout_seconds=settings.execution_timeout_seconds,
        output_limit=settings.output_max_characters,
        picture_room=room,
        deadline=deadline,
    )
    if task.session_is_new and task.session_id is not None:
        executor.session_id = task.session_id
    return executor


def _build_pair(
    llm_config: dict[str, Any],
    executor: ACASessionsExecutor,
    chat_log: ChatLog,
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
