"""The two agents: what they are told and what they do with a message, with the stand-in model's protocol."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from local.model import create_app
from shared import agents, model
from shared.aca_sessions_executor import ACASessionsExecutor
from shared.code_blocks import TERMINATE
from shared.deadline import Deadline
from shared.settings import Settings
from tests.scripted_pool import Credential, ended, scripted_pool
from tests.scripted_server import Answer, Received, ScriptedServer, scripted_server
from tests.served import served

CODE = "```python\nprint(42)\n```"


class Heard(list[tuple[str, str]]):
    def __call__(self, agent: str, message: str) -> None:
        self.append((agent, message))


@contextmanager
def pair(model_url: str, pool: ScriptedServer, heard: Heard) -> Iterator[agents.AgentPair]:
    settings = Settings(openai_base_url=f"{model_url}/v1", openai_model="stand-in")
    executor = ACASessionsExecutor(pool.url + "/pool", credential=Credential())
    yield agents.build_agents(model.llm_config(settings, Deadline.after(30)), executor, heard, 5)
    executor.close()


def exchange(*replies: str) -> Heard:
    heard = Heard()
    with (
        served(create_app(script=replies)) as model_url,
        scripted_pool(POST_executions=ended("42")) as pool,
        pair(model_url, pool, heard) as both,
    ):
        both.runner.initiate_chat(both.writer, message="Compute", max_turns=5, silent=True)
    return heard


def test_each_message_is_heard_before_the_other_agent_has_it() -> None:
    heard = exchange(CODE, "It is 42.\n\nTERMINATE")
    assert [agent for agent, _ in heard] == [agents.RUNNER, agents.WRITER, agents.RUNNER, agents.WRITER]
    assert heard[0] == (agents.RUNNER, "Compute")
    assert heard[2][1].endswith("stdout:\n42")


@pytest.mark.parametrize("silent", ["", "Let me think."])
def test_neither_code_nor_an_end_is_told_what_to_send(silent: str) -> None:
    heard = exchange(silent, "Done.\n\nTERMINATE")
    assert heard[2] == (agents.RUNNER, agents.NEITHER_CODE_NOR_END)
    assert len(heard) == 4


def test_the_model_is_told_the_rules_first() -> None:
    asked: list[Received] = []

    def answer(number: int, request: Received) -> Answer:
        asked.append(request)
        return Answer(400, b'{"error": {"message": "no"}}')

    with (
        scripted_server(answer) as server,
        scripted_pool() as pool,
        pair(server.url, pool, Heard()) as both,
        pytest.raises(Exception, match="400"),
    ):
        both.runner.initiate_chat(both.writer, message="Compute", max_turns=1, silent=True)
    body = asked[0].body.decode()
    assert body.index("```python") < body.index("Compute")
    assert TERMINATE in body


def test_the_models_library_does_not_try_again_by_a_clock_of_its_own() -> None:
    # It would repeat what is answered with 409 twice, after pauses that know no deadline.
    refusal = Answer(409, b'{"error": {"message": "conflict"}}')
    with (
        scripted_server(lambda number, request: refusal) as server,
        scripted_pool() as pool,
        pair(server.url, pool, Heard()) as both,
        pytest.raises(Exception, match="409"),
    ):
        both.runner.initiate_chat(both.writer, message="Compute", max_turns=1, silent=True)
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("message", "text"), [("a", "a"), ({"content": "a"}, "a"), ({"content": None}, ""), (None, ""), ({}, "")]
)
def test_every_form_of_a_message_has_a_text(message: agents.Message, text: str) -> None:
    assert agents.text_of(message) == text
