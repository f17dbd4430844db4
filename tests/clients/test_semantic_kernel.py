"""Semantic Kernel's SessionsPythonTool, unmodified, on the emulator over TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.identity import DefaultAzureCredential
from httpx import AsyncClient
from semantic_kernel import Kernel
from semantic_kernel.core_plugins import SessionsPythonTool
from semantic_kernel.core_plugins.sessions_python_tool.sessions_python_settings import SessionsPythonSettings
from semantic_kernel.exceptions import FunctionExecutionException, FunctionInitializationError

# The client asks for the service's former audience unless it is told otherwise.
SCOPE = "https://dynamicsessions.io/.default"
NewTool = Callable[..., SessionsPythonTool]

pytestmark = pytest.mark.parametrize("pool", [pytest.param(("--tls",), id="tls")], indirect=True)


@pytest.fixture
def new_tool(pool: str, tmp_path: Path) -> Iterator[NewTool]:
    with DefaultAzureCredential() as credential:

        def new(**options: Any) -> SessionsPythonTool:
            return SessionsPythonTool(
                pool_management_endpoint=pool,
                credential=credential,
                token_endpoint=SCOPE,
                enable_dangerous_file_uploads=True,
                allowed_upload_directories=[str(tmp_path)],
                **options,
            )

        yield new


def run(tool: SessionsPythonTool, *codes: str) -> list[str]:
    """What the model is told of each execution."""

    async def each() -> list[str]:
        return [await tool.execute_code(code) for code in codes]

    return asyncio.run(each())


def test_the_value_of_the_last_line_is_told(new_tool: NewTool) -> None:
    assert run(new_tool(), "6 * 7") == ["Status:\nSuccess\nResult:\n42\nStdout:\n\nStderr:\n"]


def test_printed_text_is_told(new_tool: NewTool) -> None:
    assert run(new_tool(), "print('hello')") == ["Status:\nSuccess\nResult:\n\nStdout:\nhello\n\nStderr:\n"]


def test_a_later_call_sees_the_variables(new_tool: NewTool) -> None:
    assert "Result:\n42\n" in run(new_tool(), "seen = 41", "seen + 1")[1]


def test_failing_code_is_told_in_the_status_and_on_stderr(new_tool: NewTool) -> None:
    [told] = run(new_tool(), "1 / 0")
    assert told.startswith("Status:\nFailure\n")
    assert "ZeroDivisionError" in told


def test_a_picture_is_told_with_all_its_data(new_tool: NewTool) -> None:
    # The client's doing: execute_code puts the result into the text whatever it is. Its own 5 s are
    # too few for the first import of matplotlib on a busy machine.
    tool = new_tool(http_client=AsyncClient(timeout=60))
    [told] = run(tool, "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()")
    assert "'type': 'image', 'format': 'png', 'base64_data': 'iVBOR" in told


def test_a_kernel_invokes_it_as_a_plugin(new_tool: NewTool) -> None:
    kernel = Kernel()
    kernel.add_plugin(new_tool(), "sessions")
    result = asyncio.run(kernel.invoke(plugin_name="sessions", function_name="execute_code", code="6 * 7"))
    assert "Result:\n42\n" in str(result)


def test_code_reads_an_uploaded_file(new_tool: NewTool, tmp_path: Path) -> None:
    # The client sends "/mnt/data/in.csv" as the name of the file, and looks for it in the list afterwards.
    (tmp_path / "in.csv").write_text("a;b\n", "utf-8")
    tool = new_tool()

    async def upload_then_read() -> str:
        uploaded = await tool.upload_file(local_file_path=str(tmp_path / "in.csv"))
        assert (uploaded.full_path, uploaded.size_in_bytes) == ("/mnt/data/in.csv", 4)
        return str(await tool.execute_code("print(open('/mnt/data/in.csv').read())"))

    assert "Stdout:\na;b\n" in asyncio.run(upload_then_read())


def test_a_file_that_code_has_written_is_listed_and_downloaded(new_tool: NewTool) -> None:
    tool = new_tool()

    async def write_then_download() -> bytes:
        await tool.execute_code("with open('/mnt/data/a b.txt', 'w') as file:\n    _ = file.write('made')")
        assert [(file.full_path, file.size_in_bytes) for file in await tool.list_files()] == [("/mnt/data/a b.txt", 4)]
        content = await tool.download_file(remote_file_name="a b.txt")
        assert content is not None
        return bytes(content.read())

    assert asyncio.run(write_then_download()) == b"made"


def test_an_upload_after_an_execution_is_labelled_json_and_refused(new_tool: NewTool, tmp_path: Path) -> None:
    # The client's doing: execute_code puts "Content-Type: application/json" on the shared httpx client,
    # and upload_file sends its multipart body with that header.
    (tmp_path / "in.csv").write_text("a;b\n", "utf-8")
    tool = new_tool()

    async def execute_then_upload() -> None:
        await tool.execute_code("1")
        await tool.upload_file(local_file_path=str(tmp_path / "in.csv"))

    with pytest.raises(FunctionExecutionException, match="Upload failed with status code 4"):
        asyncio.run(execute_then_upload())


def test_a_second_tool_of_the_same_session_uploads_after_an_execution(new_tool: NewTool, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a;b\n", "utf-8")
    session = SessionsPythonSettings(identifier="two-tools-one-session")
    executing, uploading = new_tool(settings=session), new_tool(settings=session)

    async def execute_then_upload() -> str:
        await executing.execute_code("1")
        await uploading.upload_file(local_file_path=str(tmp_path / "in.csv"))
        return str(await executing.execute_code("print(open('/mnt/data/in.csv').read())"))

    assert "Stdout:\na;b\n" in asyncio.run(execute_then_upload())


def test_a_file_that_is_not_there_is_an_error(new_tool: NewTool) -> None:
    with pytest.raises(FunctionExecutionException, match="404"):
        asyncio.run(new_tool().download_file(remote_file_name="missing.txt"))


def test_a_token_can_come_from_a_callback(pool: str) -> None:
    async def token() -> str:
        with DefaultAzureCredential() as credential:
            return credential.get_token(SCOPE).token

    tool = SessionsPythonTool(pool_management_endpoint=pool, auth_callback=token)
    assert "Result:\n42\n" in run(tool, "6 * 7")[0]


def test_a_forged_token_is_refused(pool: str) -> None:
    tool = SessionsPythonTool(pool_management_endpoint=pool, auth_callback=lambda: "forged")
    with pytest.raises(FunctionExecutionException, match="401"):
        run(tool, "1")


def test_the_client_asks_for_the_former_audience_by_default(pool: str) -> None:
    # ACASessionsSettings.token_endpoint in sessions_python_settings.py.
    asked: list[str] = []

    class Recording:
        def get_token(self, *scopes: str, **_: Any) -> AccessToken:
            asked.extend(scopes)
            return AccessToken("token", 4_000_000_000)

    SessionsPythonTool(pool_management_endpoint=pool, credential=Recording())
    assert asked == ["https://acasessions.io/.default"]


def test_the_client_takes_no_endpoint_without_tls(pool: str) -> None:
    # HttpsUrl in sessions_python_settings.py.
    with pytest.raises(FunctionInitializationError, match="https"):
        SessionsPythonTool(pool_management_endpoint=pool.replace("https", "http"), auth_callback=lambda: "token")


def test_the_readmes_example_prints_the_answer(readme_prints: Callable[[str], str]) -> None:
    assert "42" in readme_prints("SessionsPythonTool")
