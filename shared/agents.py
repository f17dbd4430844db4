"""The two agents of a chat and what they are told, built afresh for every request."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.code_blocks import TERMINATE, says_finished

if TYPE_CHECKING:
    from autogen import ConversableAgent

    from shared.aca_sessions_executor import ACASessionsExecutor

WRITER = "CodeWriter"
RUNNER = "CodeExecutor"

WRITER_PROMPT = f"""You solve the user's task by writing Python, which runs in a sandboxed Jupyter session.

How to work:
- Write one block of code in each message, between ```python and ``` on lines of their own. Use ```bash only for
  shell commands. The session runs it and sends you what it printed; you never run code yourself.
- The session keeps its variables between your messages. Print what you need to see, and only that.
- Files are in /mnt/data: the user's files are there, and what the user is to get you save there. pandas, numpy and
  matplotlib are installed; assume that there is no internet.
- A plot is shown to the user when it is the block's last output (plt.show()) or saved to /mnt/data as PNG.
- When code fails, read the error, mend the code and send it again.

How to finish:
- When you have read the output that answers the task, write the answer for the user in plain words, without code, and
  end that message with a last line that says {TERMINATE}.
- Never put {TERMINATE} into a message with code: you have not seen its output yet.
- If no code is needed, answer at once in that way. If the task cannot be done, say why in that way."""

NEITHER_CODE_NOR_END = (
    "I found no code to run and no end. Send one ```python block, or, if the task is answered, the answer "
    f"for the user with a last line that says {TERMINATE}."
)

Message = str | dict[str, Any] | None


class AgentPair(NamedTuple):
    """The agents of one chat; the runner starts it with the user's task."""

    runner: ConversableAgent
    writer: ConversableAgent


def build_agents(
    llm_config: dict[str, Any],
    executor: ACASessionsExecutor,
    on_message: Callable[[str, str], None],
    max_turns: int,
) -> AgentPair:
    """New agents for one chat.

    Args:
        llm_config: AutoGen's model configuration.
        executor: runs the writer's code.
        on_message: is told the speaker's name and each message before the other agent gets it; what it
            raises ends the chat.
        max_turns: the chat's own limit, so that no agent's limit comes before it.

    Raises:
        ValueError, TypeError, ImportError, openai.OpenAIError: the configuration cannot be used.
    """
    from autogen import ConversableAgent, OpenAIWrapper

    _check_config(_config_key(llm_config))
    # It prints a warning for every model whose price it does not know.
    logging.getLogger("autogen.oai.client").setLevel(logging.ERROR)
    writer = ConversableAgent(
        WRITER,
        system_message=WRITER_PROMPT,
        llm_config=False,
        code_execution_config=False,
        human_input_mode="NEVER",
        max_consecutive_auto_reply=max_turns + 1,
        is_termination_msg=lambda message: False,
    )
    # Given as `llm_config`, AutoGen 0.9 would build a JSON schema of its settings for every agent: 5 ms.
    writer.client = OpenAIWrapper(**llm_config)
    _leave_retries_to_us(writer)
    runner = ConversableAgent(
        RUNNER,
        llm_config=False,
        code_execution_config={"executor": executor},
        human_input_mode="NEVER",
        max_consecutive_auto_reply=max_turns + 1,
        is_termination_msg=lambda message: says_finished(text_of(message)),
        default_auto_reply=NEITHER_CODE_NOR_END,
    )

    def before_send(sender: ConversableAgent, message: Message, recipient: object, silent: bool) -> Message:
        on_message(sender.name, text_of(message))
        return message

    for agent in (writer, runner):
        agent.register_hook("process_message_before_send", before_send)
    return AgentPair(runner, writer)


def _config_key(llm_config: dict[str, Any]) -> str:
    """What of a configuration says whether AutoGen takes it: all but this chat's own client and time."""
    entries = [
        {name: value for name, value in row.items() if name != "http_client"} for row in llm_config["config_list"]
    ]
    return json.dumps(entries, sort_keys=True)


@lru_cache(maxsize=8)
def _check_config(key: str) -> None:
    from autogen import ConversableAgent

    ConversableAgent("Check", llm_config={"config_list": json.loads(key), "cache_seed": None}, human_input_mode="NEVER")


def _leave_retries_to_us(writer: ConversableAgent) -> None:
    # The openai library repeats failed calls by a clock of its own, and AutoGen 0.9 has no setting for it:
    # this is its inside, so a version that looks different keeps the library's two repetitions.
    for client in getattr(writer.client, "_clients", ()):
        library = getattr(client, "_oai_client", None)
        if library is not None:
            library.max_retries = 0


def text_of(message: Message) -> str:
    """The text of a message in any of AutoGen's forms."""
    content = message.get("content") if isinstance(message, dict) else message
    return content if isinstance(content, str) else ""
