"""langchain-azure-dynamic-sessions' SessionsBashTool, unmodified, on the emulator of a Shell pool."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import requests
from langchain_azure_dynamic_sessions import SessionsBashTool

JOIN_SECONDS = 30

pytestmark = pytest.mark.parametrize("pool", [pytest.param(("--kind", "Shell"), id="shell")], indirect=True)


def invoke(tool: SessionsBashTool, command: str) -> dict[str, Any]:
    """What the model is told."""
    told: dict[str, Any] = json.loads(tool.invoke(command))
    return told


@pytest.fixture
def tool(pool: str) -> SessionsBashTool:
    return SessionsBashTool(pool_management_endpoint=pool)


def test_a_command_gives_its_output_and_exit_code_zero(tool: SessionsBashTool) -> None:
    assert invoke(tool, "echo hello") == {"stdout": "hello\n", "stderr": "", "exitCode": 0}


def test_a_failing_command_gives_its_exit_code(tool: SessionsBashTool) -> None:
    assert invoke(tool, "echo before; echo trouble >&2; exit 3") == {
        "stdout": "before\n",
        "stderr": "trouble\n",
        "exitCode": 3,
    }


def test_a_later_command_sees_the_files(tool: SessionsBashTool) -> None:
    assert invoke(tool, "echo made > /mnt/data/out.txt")["exitCode"] == 0
    assert invoke(tool, "cat /mnt/data/out.txt")["stdout"] == "made\n"


def test_the_reply_itself_is_the_artifact(tool: SessionsBashTool) -> None:
    call = {"name": tool.name, "args": {"bash_command": "exit 3"}, "id": "1", "type": "tool_call"}
    assert tool.invoke(call).artifact["status"] == "3"


def test_a_command_reads_an_uploaded_file(tool: SessionsBashTool, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a;b\n", "utf-8")
    uploaded = tool.upload_file(local_file_path=str(tmp_path / "in.csv"))
    assert (uploaded.filename, uploaded.size_in_bytes) == ("in.csv", 4)
    assert invoke(tool, "cat /mnt/data/in.csv")["stdout"] == "a;b\n"


def test_uploaded_files_are_listed_and_downloaded(tool: SessionsBashTool) -> None:
    tool.upload_file(data=io.BytesIO(b"abc"), remote_file_path="a b.txt")
    assert [(file.filename, file.size_in_bytes) for file in tool.list_files()] == [("a b.txt", 3)]
    assert tool.download_file(remote_file_path="a b.txt").read() == b"abc"


def test_a_deleted_session_leaves_no_files_to_the_next(tool: SessionsBashTool) -> None:
    session = tool.session_id
    tool.upload_file(data=io.BytesIO(b"abc"), remote_file_path="in.txt")
    before = set(threading.enumerate())
    tool.delete_session()
    for thread in set(threading.enumerate()) - before:
        thread.join(JOIN_SECONDS)
    assert tool.session_id != session
    tool.session_id = session
    assert tool.list_files() == []


def test_a_command_that_begins_with_the_letters_sh_loses_them(tool: SessionsBashTool) -> None:
    # The client's doing: _sanitize_bash_input takes "sh" off, even from the name of a program.
    told = invoke(tool, "sha256sum /dev/null")
    assert told["exitCode"] == 127
    assert "a256sum" in told["stderr"]


def test_a_forged_token_is_refused(pool: str) -> None:
    tool = SessionsBashTool(pool_management_endpoint=pool, access_token_provider=lambda: "forged")
    with pytest.raises(requests.HTTPError, match="401"):
        tool.invoke("true")
