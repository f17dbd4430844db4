"""One chat, with the stand-in model's and the identity endpoint's real parts and a scripted pool."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from local.model import create_app as model_app
from shared import errors
from shared.chat import ChatOutcome, ChatTask, run_chat
from shared.deadline import Deadline
from shared.settings import Settings
from tests.identities import local_identity
from tests.scripted_pool import Script, described, ended, listing, operations, scripted_pool, uploaded
from tests.scripted_server import Answer, Received, ScriptedServer
from tests.served import served

CODE = "```python\nprint(42)\n```"
END = "It is 42.\n\nTERMINATE"


@pytest.fixture(scope="module", autouse=True)
def _identity() -> Iterator[None]:
    with local_identity():
        yield


class Clock:
    """Seconds that pass only as told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def spending(self, seconds: float, answer: Answer) -> Callable[[int, Received], Answer]:
        def late(number: int, request: Received) -> Answer:
            self.now += seconds
            return answer

        return late


class Chat:
    """What came of a chat, and what the pool was asked."""

    def __init__(self, outcome: ChatOutcome, pool: ScriptedServer) -> None:
        self.outcome = outcome
        self.pool = pool
        self.steps = [step.content for step in outcome.steps]


def chat(
    replies: Sequence[str],
    *,
    task: ChatTask | None = None,
    deadline: Deadline | None = None,
    settings: dict[str, Any] | None = None,
    **answers: Script,
) -> Chat:
    """A chat in which the model says `replies`."""
    with (
        served(model_app(script=replies)) as model_url,
        scripted_pool(**{"POST_executions": ended("42\n"), "GET_files": listing(), **answers}) as pool,
    ):
        chosen = Settings(
            pool_management_endpoint=pool.url + "/pool",
            openai_base_url=f"{model_url}/v1",
            openai_model="stand-in",
            **(settings or {}),
        )
        return Chat(run_chat(task or ChatTask("Compute"), chosen, deadline or Deadline.after(60)), pool)


def test_a_chat_is_its_steps_its_answer_and_its_bill() -> None:
    outcome = chat([CODE, END]).outcome
    assert (outcome.status, outcome.result) == ("completed", "It is 42.")
    assert [(step.index, step.agent, step.exit_code) for step in outcome.steps] == [
        (1, "CodeWriter", None),
        (2, "CodeExecutor", 0),
        (3, "CodeWriter", None),
    ]
    assert outcome.steps[1].content.endswith("stdout:\n42")
    assert outcome.usage.model == "stand-in"
    assert outcome.usage.total_tokens == outcome.usage.prompt_tokens + outcome.usage.completion_tokens > 0
    assert len(outcome.chat_history) == 4


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    chat([CODE, END])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("label", ["text", ""])
def test_an_answer_that_shows_output_in_a_fence_ends_the_chat(label: str) -> None:
    answer = f"The output was:\n```{label}\n42\n```"
    done = chat([CODE, f"{answer}\nTERMINATE"])
    assert (done.outcome.status, done.outcome.result) == ("completed", answer)
    assert operations(done.pool).count("POST executions") == 1


def test_code_below_a_tag_of_a_reasoning_model_runs() -> None:
    done = chat([f"<think>\nplan\n\n</think>\n{CODE}", END])
    assert done.steps[1].endswith("stdout:\n42")


@pytest.mark.parametrize(
    ("replies", "result"),
    [
        (["The sum:\n" + CODE, "It is 42.", "TERMINATE"], "It is 42."),
        ([CODE, "TERMINATE"], "stdout:\n42"),
        (["TERMINATE"], ""),
    ],
)
def test_a_bare_end_leaves_the_answer_to_what_was_said_before(replies: list[str], result: str) -> None:
    done = chat(replies)
    assert (done.outcome.status, done.outcome.result) == ("completed", result)


def test_a_chat_without_an_end_stops_at_its_turns() -> None:
    done = chat([CODE], task=ChatTask("Compute", max_turns=2))
    assert done.outcome.status == "turn_limit"
    assert operations(done.pool).count("POST executions") == 1


def test_files_are_put_into_the_session_first_and_named_to_the_model() -> None:
    task = ChatTask("Describe", files={"a.csv": b"1,2"})
    done = chat([CODE, END], task=task, POST_files=uploaded("a.csv", 3))
    assert operations(done.pool) == ["POST files", "POST executions", "GET files"]
    assert "a.csv (3 bytes)" in done.outcome.chat_history[0]["content"]


def test_a_session_that_is_gone_is_told_although_files_have_started_another() -> None:
    task = ChatTask("Go on", session_id="s", files={"a.csv": b"1"})
    done = chat([CODE, END], task=task, GET_session=Answer(404, b""), POST_files=uploaded("a.csv"))
    assert "this session is new" in done.steps[1]


def test_an_input_file_that_the_code_has_changed_is_reported() -> None:
    task = ChatTask("Sort", files={"a.csv": b"1", "b.csv": b"2"})
    done = chat(
        [CODE, END],
        task=task,
        POST_files=[uploaded("a.csv", 1, "before"), uploaded("b.csv", 1, "before")],
        GET_files=listing(described("a.csv", 1, "after"), described("b.csv", 1, "before")),
        GET_content=Answer(body=b"3"),
    )
    assert [(made.file.path, made.content) for made in done.outcome.harvest.files] == [("a.csv", b"3")]


def test_pictures_over_the_limit_are_dropped_as_they_come() -> None:
    image = {"type": "image", "format": "png", "base64_data": base64.b64encode(b"x" * 8).decode()}
    done = chat([CODE, CODE, END], settings={"chat_max_picture_bytes": 10}, POST_executions=ended(result=image))
    assert [made.name for made in done.outcome.harvest.pictures] == ["picture-1.png"]
    assert [step.pictures for step in done.outcome.steps] == [(), ("picture-1.png",), (), ("picture-2.png",), ()]
    assert "not shown" in done.steps[3]
    assert "picture-2.png is left out" in done.outcome.harvest.warnings[0]


FILES = [described(f"{number}.txt") for number in range(8)]


def test_fetching_has_the_time_that_the_chat_has_left() -> None:
    clock = Clock()
    slow = clock.spending(3, Answer(body=b"1"))
    done = chat([CODE, END], deadline=Deadline.after(100, clock), GET_files=listing(*FILES), GET_content=slow)
    assert [made.content for made in done.outcome.harvest.files] == [b"1"] * 8
    assert done.outcome.harvest.warnings == ()


def test_fetching_takes_no_more_than_half_a_minute() -> None:
    clock = Clock()
    slow = clock.spending(8, Answer(body=b"1"))
    done = chat([CODE, END], deadline=Deadline.after(200, clock), GET_files=listing(*FILES), GET_content=slow)
    assert operations(done.pool).count("GET content") == 4
    assert len(done.outcome.harvest.warnings) == 1


def test_after_a_deadline_in_the_first_block_its_files_are_listed() -> None:
    clock = Clock()
    done = chat(
        [CODE, END],
        deadline=Deadline.after(20, clock),
        POST_executions=clock.spending(30, ended("42")),
        GET_files=listing(*FILES),
        GET_content=clock.spending(1, Answer(body=b"1")),
    )
    assert done.outcome.status == "deadline"
    assert [made.file.path for made in done.outcome.harvest.files] == [file["name"] for file in FILES]
    # Four seconds more are what Azure leaves.
    assert [made.content for made in done.outcome.harvest.files][:3] == [b"1"] * 3
    assert operations(done.pool).count("GET content") <= 4


def test_blocks_that_ended_before_the_deadline_are_kept() -> None:
    clock = Clock()
    too_late = clock.spending(30, ended("late"))

    def answer(number: int, request: Received) -> Answer:
        return too_late(number, request) if number else ended("42")

    done = chat([f"{CODE}\n\n{CODE}", END], deadline=Deadline.after(20, clock), POST_executions=answer)
    assert done.outcome.status == "deadline"
    assert done.steps[1].endswith("stdout:\n42")


def test_a_chat_without_time_asks_nobody_for_anything() -> None:
    done = chat([CODE], deadline=Deadline.after(0))
    assert (done.outcome.status, done.outcome.steps, done.pool.received) == ("deadline", (), [])


@pytest.mark.parametrize(
    "entry",
    [
        {"model": "m"},
        {"model": "m", "api_key": "k", "api_type": "anthropic"},
        {"model": "m", "api_key": "k", "api_type": "nobody"},
    ],
)
def test_a_model_that_autogen_cannot_use_is_a_fault_of_its_setting(
    entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    settings = Settings(pool_management_endpoint="http://127.0.0.1:9", oai_config_list=json.dumps([entry]))
    with pytest.raises(errors.SettingError) as caught:
        run_chat(ChatTask("Compute"), settings, Deadline.after(10))
    assert caught.value.name == "OAI_CONFIG_LIST"
    assert "OAI_CONFIG_LIST" in caught.value.detail


def test_trouble_of_the_pool_is_the_callers_and_not_the_models() -> None:
    with pytest.raises(errors.PoolForbidden):
        chat([CODE, END], POST_executions=Answer(403, b""))


def test_trouble_of_the_model_is_typed() -> None:
    refusal = {"status": 400, "body": {"error": {"message": "too long"}}}
    with pytest.raises(errors.ModelRefused):
        chat([refusal])  # type: ignore[list-item]  # the stand-in's scripts know refusals too
