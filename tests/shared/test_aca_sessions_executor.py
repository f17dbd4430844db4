"""The executor against a scripted pool: each defect of the tutorial's class, and what the model reads of blocks.

With real sessions: tests/integration. What is true of any session: test_session.py.
"""

from __future__ import annotations

import base64
import inspect
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from autogen.coding import CodeBlock, CodeExecutor

from shared import errors
from shared.aca_sessions_executor import ACASessionsExecutor
from shared.deadline import Deadline
from shared.pictures import PictureRoom
from shared.session import session_identifier
from tests.scripted_pool import Credential, ended, listing, operations, scripted_pool, uploaded
from tests.scripted_server import Answer, ScriptedServer


def executor(server: ScriptedServer, **options: Any) -> ACASessionsExecutor:
    return ACASessionsExecutor(server.url + "/pool/", credential=Credential(), **options)


def blocks(*codes: str, language: str = "python") -> list[CodeBlock]:
    return [CodeBlock(code=code, language=language) for code in codes]


def image(size: int) -> dict[str, str]:
    return {"type": "image", "format": "png", "base64_data": base64.b64encode(b"x" * size).decode()}


def test_it_is_autogens_protocol_and_takes_one_argument() -> None:
    parameters = list(inspect.signature(ACASessionsExecutor).parameters.values())
    assert parameters[0].name == "pool_management_endpoint"
    assert all(parameter.default is not inspect.Parameter.empty for parameter in parameters[1:])
    with scripted_pool() as server:
        assert isinstance(executor(server), CodeExecutor)


def test_it_calls_the_current_api_with_the_code_and_no_double_slash() -> None:
    with scripted_pool(POST_executions=ended("hi\n")) as server:
        result = executor(server).execute_code_blocks(blocks("print('hi')"))
    request = server.received[0]
    assert urlsplit(request.path).path == "/pool/executions"
    assert json.loads(request.body)["code"] == "print('hi')"
    assert (result.exit_code, result.output) == (0, "stdout:\nhi")


def test_failed_code_is_a_failure_with_its_traceback() -> None:
    with scripted_pool(POST_executions=ended("before\n", "Traceback\nKeyError: 'a'", "Failed")) as server:
        result = executor(server).execute_code_blocks(blocks("x"))
    assert result.exit_code == 1
    assert result.output == "stdout:\nbefore\n\nstderr:\nTraceback\nKeyError: 'a'"


def test_after_a_failed_block_the_rest_is_not_run() -> None:
    with scripted_pool(POST_executions=[ended(status="Failed", stderr="no"), ended("second")]) as server:
        result = executor(server).execute_code_blocks(blocks("1", "2", "3"))
    assert len(server.received) == 1
    assert "remaining 2 of 3 blocks were not run" in result.output


def test_shell_blocks_run_through_the_cell_magic() -> None:
    with scripted_pool(POST_executions=ended("a.txt\n")) as server:
        executor(server).execute_code_blocks(blocks("ls", language="bash"))
    assert json.loads(server.received[0].body)["code"] == "%%bash\nls"


def test_other_languages_do_not_reach_the_session() -> None:
    with scripted_pool(POST_executions=ended()) as server:
        result = executor(server).execute_code_blocks(blocks("let x", language="js"))
    assert server.received == []
    assert (result.exit_code, "```python" in result.output) == (1, True)


def test_trouble_of_the_pool_ends_the_chat_and_names_no_address() -> None:
    with scripted_pool(POST_executions=Answer(403, b"")) as server:
        own = executor(server)
        with pytest.raises(errors.PoolForbidden) as caught:
            own.execute_code_blocks(blocks("1"))
    text = f"{caught.value} {caught.value.detail} {caught.value.remedy}"
    assert server.url not in text
    assert session_identifier("", own.session_id) not in text


def test_a_session_lost_in_between_is_told_to_the_model_with_the_result() -> None:
    with scripted_pool(POST_executions=[ended(), ended("2", x_ms_new_allocation="true")]) as server:
        own = executor(server)
        own.execute_code_blocks(blocks("x = 1"))
        result = own.execute_code_blocks(blocks("print(2)"))
    assert result.output.startswith("note: the session was lost")
    assert result.output.endswith("\nstdout:\n2")


def test_provided_files_are_put_again_into_the_next_session() -> None:
    lost = ended("2", x_ms_new_allocation="true")
    with scripted_pool(POST_files=uploaded("a.csv"), POST_executions=[ended("1"), lost], GET_files=listing()) as server:
        own = executor(server)
        own.provide_files({"a.csv": b"data"})
        own.execute_code_blocks(blocks("1"))
        result = own.execute_code_blocks(blocks("2"))
    assert operations(server) == ["POST files", "POST executions", "POST executions", "GET files", "POST files"]
    assert "They are there now: a.csv" in result.output
    assert result.output.endswith("\nstdout:\n2")


def test_a_timeout_names_the_seconds_that_the_code_was_given() -> None:
    words = "Request timed out waiting for code execution to complete"
    with scripted_pool(POST_executions=ended(stderr=words, status="Failed")) as server:
        result = executor(server, deadline=Deadline.after(20)).execute_code_blocks(blocks("1"))
    given = json.loads(server.received[0].body)["timeoutInSeconds"]
    assert given < 20
    assert f"within {given} seconds" in result.output


@pytest.mark.parametrize("count", [1, 2, 20])
def test_the_limit_holds_for_all_blocks_of_a_message_together(count: int) -> None:
    with scripted_pool(POST_executions=ended("x" * 9_000)) as server:
        result = executor(server, output_limit=4_000).execute_code_blocks(blocks(*["1"] * count))
    assert 3_900 < len(result.output) < 4_000 + 100 * count
    assert result.output.count("stdout:\n") == count


def test_what_a_block_does_not_need_goes_to_the_next() -> None:
    with scripted_pool(POST_executions=[ended("short"), ended("x" * 3_900)]) as server:
        result = executor(server, output_limit=4_000).execute_code_blocks(blocks("1", "2"))
    assert "x" * 3_900 in result.output


def test_pictures_come_with_their_names() -> None:
    with scripted_pool(POST_executions=ended(result=image(3))) as server:
        own = executor(server)
        output = own.execute_code_blocks(blocks("1", "2")).output
        result = own.take_result()
    assert result is not None
    assert [(shown.name, shown.picture and shown.picture.data) for shown in result.pictures] == [
        ("picture-1.png", b"xxx"),
        ("picture-2.png", b"xxx"),
    ]
    assert "[picture-2.png: shown to the user]" in output
    assert own.take_result() is None


def test_pictures_over_the_room_are_dropped_at_once_and_said_not_to_be_shown() -> None:
    with scripted_pool(POST_executions=[ended(result=image(size)) for size in (6, 20, 4)]) as server:
        own = executor(server, picture_room=PictureRoom(8, 10))
        output = own.execute_code_blocks(blocks("1", "2", "3")).output
        result = own.take_result()
    assert result is not None
    assert [shown.picture is not None for shown in result.pictures] == [True, False, True]
    assert "picture-2.png: not shown" in output
    assert "[picture-3.png: shown to the user]" in output


def test_blocks_before_an_error_of_the_pool_keep_their_result() -> None:
    with scripted_pool(POST_executions=[ended("42"), Answer(403, b"")]) as server:
        own = executor(server)
        with pytest.raises(errors.PoolForbidden):
            own.execute_code_blocks(blocks("1", "2"))
        result = own.take_result()
    assert result is not None
    assert "42" in result.output


def ids(server: ScriptedServer) -> list[str]:
    return [request.headers["operation-id"] for request in server.received if request.method == "POST"]


def test_blocks_run_under_the_names_that_they_are_given() -> None:
    with scripted_pool(POST_executions=ended()) as server:
        named = executor(server)
        named.name_executions(lambda number: f"step-{number}")
        named.execute_code_blocks(blocks("1", "2"))
    assert ids(server) == ["step-1", "step-2"]
    assert operations(server) == ["POST executions"] * 2


def test_blocks_that_were_begun_before_are_asked_for_and_run_only_where_they_are_unknown() -> None:
    with scripted_pool(GET_executions=[ended("first"), Answer(404, b"")], POST_executions=ended("second")) as server:
        named = executor(server)
        named.name_executions(lambda number: f"step-{number}", begun=True)
        result = named.execute_code_blocks(blocks("1", "2"))
    assert ids(server) == ["step-2"]
    assert result.output == "block 1 of 2\nstdout:\nfirst\n\nblock 2 of 2\nstdout:\nsecond"


def test_a_block_that_failed_before_is_the_last_one_again() -> None:
    with scripted_pool(GET_executions=ended("", "no", "Failed")) as server:
        named = executor(server)
        named.name_executions(lambda number: f"step-{number}", begun=True)
        result = named.execute_code_blocks(blocks("1", "2"))
    assert (result.exit_code, ids(server)) == (1, [])


def test_pictures_of_an_earlier_message_are_shown_again_or_not_at_all() -> None:
    picture, none = ended(result=image(3)), Answer(404, b"")
    with scripted_pool(GET_executions=[picture, ended("text"), picture, none]) as server:
        named = executor(server)
        again = named.show_again(["picture-1.png"], ["a", "b"])
        lost = named.show_again(["picture-2.png", "picture-3.png"], ["c", "d"])
    assert [(shown.name, shown.picture and shown.picture.data) for shown in again] == [("picture-1.png", b"xxx")]
    assert lost == []


def test_pictures_after_those_of_before_have_names_of_their_own() -> None:
    with scripted_pool(POST_executions=ended(result=image(3))) as server:
        named = executor(server)
        named.show_again(["picture-1.png", "picture-2.png"], [])
        named.execute_code_blocks(blocks("plot()"))
        result = named.take_result()
    assert result is not None
    assert [shown.name for shown in result.pictures] == ["picture-3.png"]
