"""langchain-azure-dynamic-sessions' SessionsPythonREPLTool, unmodified, on the emulator."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from langchain_azure_dynamic_sessions import SessionsPythonREPLTool

JOIN_SECONDS = 30


def invoke(tool: SessionsPythonREPLTool, code: str) -> dict[str, Any]:
    """What the model is told."""
    told: dict[str, Any] = json.loads(tool.invoke(code))
    return told


def artifact(tool: SessionsPythonREPLTool, code: str) -> dict[str, Any]:
    """What the program gets besides: the reply's properties."""
    call = {"name": tool.name, "args": {"python_code": code}, "id": "1", "type": "tool_call"}
    properties: dict[str, Any] = tool.invoke(call).artifact
    return properties


def session_status(tool: SessionsPythonREPLTool, session: str) -> int:
    """The status of GET /session."""
    return requests.get(
        f"{tool.pool_management_endpoint}/session",
        params={"api-version": "2025-10-02-preview", "identifier": session},
        headers={"Authorization": f"Bearer {tool.access_token_provider()}"},
        timeout=30,
    ).status_code


@contextmanager
def deletions_awaited() -> Iterator[None]:
    """Waits for the threads in which the client deletes sessions."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(JOIN_SECONDS)


@pytest.fixture
def tool(pool: str) -> SessionsPythonREPLTool:
    return SessionsPythonREPLTool(pool_management_endpoint=pool)


def test_the_value_of_the_last_line_comes_back_as_a_number(tool: SessionsPythonREPLTool) -> None:
    assert invoke(tool, "6 * 7") == {"result": 42, "stdout": "", "stderr": ""}


def test_printed_text_comes_back(tool: SessionsPythonREPLTool) -> None:
    assert invoke(tool, "print('hello')") == {"result": "", "stdout": "hello\n", "stderr": ""}


def test_a_fenced_block_runs(tool: SessionsPythonREPLTool) -> None:
    assert invoke(tool, "```python\nprint('hello')\n```")["stdout"] == "hello\n"


def test_a_later_call_sees_the_variables(tool: SessionsPythonREPLTool) -> None:
    invoke(tool, "seen = 41")
    assert invoke(tool, "seen + 1")["result"] == 42


def test_failing_code_is_told_on_stderr_alone(tool: SessionsPythonREPLTool) -> None:
    # The client's doing: SessionsPythonREPLTool._run leaves the status out of what the model is told.
    told = invoke(tool, "print('before')\n1 / 0")
    assert (set(told), told["stdout"]) == ({"result", "stdout", "stderr"}, "before\n")
    assert "ZeroDivisionError" in told["stderr"]
    assert artifact(tool, "1 / 0")["status"] == "Failure"


def test_a_picture_is_in_the_artifact_and_not_in_the_text(tool: SessionsPythonREPLTool) -> None:
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"
    assert invoke(tool, code)["result"] == {"type": "image", "format": "png"}
    picture = artifact(tool, code)["result"]["base64_data"]
    assert base64.b64decode(picture).startswith(b"\x89PNG")


def test_code_reads_an_uploaded_file(tool: SessionsPythonREPLTool, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a;b\n", "utf-8")
    uploaded = tool.upload_file(local_file_path=str(tmp_path / "in.csv"))
    assert (uploaded.filename, uploaded.size_in_bytes, uploaded.full_path) == ("in.csv", 4, "/mnt/data/in.csv")
    assert invoke(tool, "print(open('/mnt/data/in.csv').read(), end='')")["stdout"] == "a;b\n"


def test_uploaded_files_are_listed_and_downloaded(tool: SessionsPythonREPLTool, tmp_path: Path) -> None:
    tool.upload_file(data=io.BytesIO(b"abc"), remote_file_path="a b.txt")
    assert [(file.filename, file.size_in_bytes) for file in tool.list_files()] == [("a b.txt", 3)]
    content = tool.download_file(remote_file_path="a b.txt", local_file_path=str(tmp_path / "copy.txt")).read()
    assert content == (tmp_path / "copy.txt").read_bytes() == b"abc"


def test_a_new_session_has_no_files(tool: SessionsPythonREPLTool) -> None:
    assert tool.list_files() == []


def test_a_file_that_is_not_there_is_an_http_error(tool: SessionsPythonREPLTool) -> None:
    with pytest.raises(requests.HTTPError, match="404"):
        tool.download_file(remote_file_path="missing.txt")


def test_a_deleted_session_is_gone_and_the_next_call_has_a_new_one(tool: SessionsPythonREPLTool) -> None:
    session = tool.session_id
    invoke(tool, "seen = 41")
    assert session_status(tool, session) == 200
    with deletions_awaited():
        tool.delete_session()
    assert session_status(tool, session) == 404
    assert tool.session_id != session
    assert invoke(tool, "print('seen' in globals())")["stdout"] == "False\n"


def test_leaving_the_context_deletes_the_session(pool: str) -> None:
    with deletions_awaited(), SessionsPythonREPLTool(pool_management_endpoint=pool) as tool:
        session = tool.session_id
        invoke(tool, "1")
    assert session_status(tool, session) == 404


def test_a_session_can_last_for_one_call_only(pool: str) -> None:
    tool = SessionsPythonREPLTool(pool_management_endpoint=pool, delete_session_after_invocation=True)
    session = tool.session_id
    with deletions_awaited():
        invoke(tool, "1")
    assert session_status(tool, session) == 404


def test_code_that_begins_with_the_word_python_loses_it(tool: SessionsPythonREPLTool) -> None:
    # The client's doing: _sanitize_input takes "python" off, even from the name of a variable.
    invoke(tool, "python_version = 3")
    assert invoke(tool, "_version")["result"] == 3


def test_a_forged_token_is_refused(pool: str) -> None:
    tool = SessionsPythonREPLTool(pool_management_endpoint=pool, access_token_provider=lambda: "forged")
    with pytest.raises(requests.HTTPError, match="401"):
        tool.invoke("1")


def test_the_readmes_example_prints_the_answer(readme_prints: Callable[[str], str]) -> None:
    assert "42" in readme_prints("SessionsPythonREPLTool")
