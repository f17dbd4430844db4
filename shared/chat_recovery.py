"""How a chat goes on after the process that led it is gone: from its steps, without doing anything twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared import agents
from shared.aca_sessions_executor import ACASessionsExecutor
from shared.agents import AgentPair
from shared.chat_log import ChatLog
from shared.session_wire import SessionFile
from shared.steps import Step, Usage


@dataclass(frozen=True)
class Earlier:
    """What earlier attempts at a chat have left.

    Attributes:
        steps: what was said, as the observer was told it; none where the chat starts afresh.
        usage: tokens so far.
        known_files: as the observer was told them.
        session_was_gone: as the observer was told it.
    """

    steps: tuple[Step, ...] = ()
    usage: Usage = field(default_factory=Usage)
    known_files: Mapping[str, SessionFile] = field(default_factory=dict)
    session_was_gone: bool = False


def remember(pair: AgentPair, opening: str, steps: Sequence[Step]) -> None:
    """Gives new agents the memory of the old ones.

    Args:
        pair: agents that have heard nothing yet.
        opening: the task as the writer got it.
        steps: what was said after it; where the last word is the runner's, it has not reached the writer.
    """
    heard = steps[:-1] if steps[-1].agent == agents.RUNNER else steps
    for name, content in ((agents.RUNNER, opening), *((step.agent, step.content) for step in heard)):
        for own, other in ((pair.runner, pair.writer), (pair.writer, pair.runner)):
            role = "assistant" if own.name == name else "user"
            own.chat_messages[other].append({"content": content, "role": role, "name": name})


def next_message(pair: AgentPair, chat_log: ChatLog, *, session_there: bool) -> str:
    """The runner's message with which a chat goes on.

    Where the writer had the last word, its code is run now, unless the session knows what became of it.

    Args:
        pair: agents that remember the earlier attempts.
        chat_log: of the chat, with their steps; the writer has turns left.
        session_there: whether their session is still there.

    Raises:
        DeadlineReached: the deadline has passed.
        PoolError: the pool failed or refused.
    """
    last = chat_log.steps[-1]
    if last.agent == agents.RUNNER:
        return last.content
    chat_log.skips_next = False
    chat_log.name_executions(begun=session_there)
    return agents.text_of(pair.runner.generate_reply(sender=pair.writer))


def restore_pictures(executor: ACASessionsExecutor, chat_log: ChatLog, *, session_there: bool) -> list[str]:
    """Asks the session again for the pictures of earlier attempts, and returns the names of those that are lost.

    Raises:
        DeadlineReached: the deadline has passed.
    """
    lost: list[str] = []
    for code, report in zip(chat_log.steps, chat_log.steps[1:], strict=False):
        if report.pictures:
            ids = chat_log.operation_ids(code) if session_there else []
            shown = executor.show_again(report.pictures, ids)
            chat_log.pictures += shown
            lost += [] if shown else report.pictures
    return lost
