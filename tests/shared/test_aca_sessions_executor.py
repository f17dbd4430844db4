"""The executor against a scripted pool: each defect of the tutorial's class, and lost sessions.

With real sessions: tests/integration.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from autogen.coding import CodeBlock, CodeExecutor
from azure.core.credentials import AccessToken
from hypothesis import given
from hypothesis import strategies as st

from shared import errors
from shared.aca_sessions_executor import ACASessionsExecutor, check_file_name, session_identifier
from tests.scripted_server import Answer, Received, ScriptedServer, scripted_server


class Credential:
    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        assert scopes == ("https://dynamicsessions.io/.default",)
        return AccessToken("token", 9_999_999_999)


def ended(stdout: str = "", stderr: str = "", status: str = "Succeeded", **headers: str) -> Answer:
    body = {"id": "e", "status": status, "result": {"stdout": stdout, "stderr": stderr, "executionResult": ""}}
    return Answer(
        body=json.dumps(body).encode(), headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


@contextmanager
def executor(*answers: Answer, **options: Any) -> Iterator[tuple[ACASessionsExecutor, ScriptedServer]]:
    def answer(number: int, request: Received) -> Answer:
        return answers[min(number, len(answers) - 1)]

    with scripted_server(answer) as server:
        yield ACASessionsExecutor(server.url + "/pool/", credential=Credential(), **options), server


def blocks(*codes: str, language: str = "python") -> list[CodeBlock]:
    return [CodeBlock(code=code, language=language) for code in codes]


def identifiers(server: ScriptedServer) -> list[str]:
    return [parse_qs(urlsplit(request.path).query)["identifier"][0] for request in server.received]


def test_it_is_autogens_protocol_and_takes_one_argument() -> None:
    parameters = list(inspect.signature(ACASessionsExecutor).parameters.values())
    assert parameters[0].name == "pool_management_endpoint"
    assert all(parameter.default is not inspect.Parameter.empty for parameter in parameters[1:])
    with executor(ended()) as (own, _):
        assert isinstance(own, CodeExecutor)


def test_it_calls_the_current_api_with_the_code_and_no_double_slash() -> None:
    with executor(ended("hi\n")) as (own, server):
        result = own.execute_code_blocks(blocks("print('hi')"))
    request = server.received[0]
    assert urlsplit(request.path).path == "/pool/executions"
    assert json.loads(request.body)["code"] == "print('hi')"
    assert (result.exit_code, result.output) == (0, "stdout:\nhi")


def test_each_executor_has_a_session_of_its_own() -> None:
    with executor(ended()) as (first, server):
        second = ACASessionsExecutor(server.url + "/pool", credential=Credential())
        first.run("1")
        second.run("1")
        assert len(set(identifiers(server))) == 2
    assert all(re.fullmatch("[0-9a-f]{64}", name) for name in identifiers(server))


def test_failed_code_is_a_failure_with_its_traceback() -> None:
    with executor(ended("before\n", "Traceback\nKeyError: 'a'", "Failed")) as (own, _):
        result = own.execute_code_blocks(blocks("x"))
    assert result.exit_code == 1
    assert result.output == "stdout:\nbefore\n\nstderr:\nTraceback\nKeyError: 'a'"


def test_after_a_failed_block_the_rest_is_not_run() -> None:
    with executor(ended(status="Failed", stderr="no"), ended("second")) as (own, server):
        result = own.execute_code_blocks(blocks("1", "2", "3"))
    assert len(server.received) == 1
    assert "remaining 2 of 3 blocks were not run" in result.output


def test_shell_blocks_run_through_the_cell_magic() -> None:
    with executor(ended("a.txt\n")) as (own, server):
        own.execute_code_blocks(blocks("ls", language="bash"))
    assert json.loads(server.received[0].body)["code"] == "%%bash\nls"


def test_other_languages_do_not_reach_the_session() -> None:
    with executor(ended()) as (own, server):
        result = own.execute_code_blocks(blocks("let x", language="js"))
    assert server.received == []
    assert (result.exit_code, "```python" in result.output) == (1, True)


def test_trouble_of_the_pool_ends_the_chat_and_names_no_address() -> None:
    with executor(Answer(403, b"")) as (own, server), pytest.raises(errors.PoolForbidden) as caught:
        own.execute_code_blocks(blocks("1"))
    text = f"{caught.value} {caught.value.detail} {caught.value.remedy}"
    assert server.url not in text
    assert identifiers(server)[0] not in text


@pytest.mark.parametrize("second", [{"x_ms_new_allocation": "true"}, {"x_ms_session_guid": "other"}])
def test_a_session_lost_in_between_is_told_to_the_model(second: dict[str, str]) -> None:
    with executor(ended(x_ms_session_guid="one"), ended("2", **second)) as (own, _):
        own.execute_code_blocks(blocks("x = 1"))
        result = own.execute_code_blocks(blocks("print(2)"))
    assert "the session was lost" in result.output
    assert result.output.endswith("stdout:\n2")


def test_provided_files_are_put_again_into_the_next_session() -> None:
    uploaded = Answer(body=b'{"name": "a.csv", "type": "file"}')
    lost = ended("2", x_ms_new_allocation="true")
    empty = Answer(body=b'{"value": []}')
    with executor(uploaded, ended("1"), lost, empty, uploaded) as (own, server):
        own.provide_files({"a.csv": b"data"})
        own.execute_code_blocks(blocks("1"))
        result = own.execute_code_blocks(blocks("2"))
    assert [request.method + urlsplit(request.path).path for request in server.received] == [
        "POST/pool/files",
        "POST/pool/executions",
        "POST/pool/executions",
        "GET/pool/files",
        "POST/pool/files",
    ]
    assert "are there again: a.csv" in result.output


def test_restart_ends_the_session() -> None:
    with executor(Answer(204, b"")) as (own, server):
        own.restart()
    assert (server.received[0].method, urlsplit(server.received[0].path).path) == ("DELETE", "/pool/session")


def test_the_context_manager_deletes_the_session() -> None:
    with executor(ended("1"), Answer(204, b"")) as (own, server), own:
        own.run("1")
    assert [request.method for request in server.received] == ["POST", "DELETE"]


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_two_callers_never_have_one_identifier(caller: str, session: str, other: str, other_session: str) -> None:
    same = (caller, session) == (other, other_session)
    one = session_identifier(caller, session)
    assert (one == session_identifier(other, other_session)) is same
    assert re.fullmatch("[0-9a-f]{64}", one)


@pytest.mark.parametrize("name", ["", "a/b", "../a", "..", "a:b", "a\nb", "x" * 256])
def test_names_with_a_path_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="without a path"):
        check_file_name(name)
