"""LlamaIndex's AzureCodeInterpreterToolSpec, unmodified, on the emulator."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import requests
from llama_index.tools.azure_code_interpreter import AzureCodeInterpreterToolSpec

PICTURE = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"


def run(interpreter: AzureCodeInterpreterToolSpec, code: str) -> dict[str, Any]:
    """The properties of the reply, as the client leaves them."""
    properties: dict[str, Any] = interpreter.code_interpreter(code)["properties"]
    return properties


@pytest.fixture
def interpreter(pool: str) -> AzureCodeInterpreterToolSpec:
    return AzureCodeInterpreterToolSpec(pool_management_endpoint=pool)


def test_the_value_of_the_last_line_comes_back_as_a_number(interpreter: AzureCodeInterpreterToolSpec) -> None:
    properties = run(interpreter, "print('a')\n6 * 7")
    assert (properties["status"], properties["result"]) == ("Success", 42)
    assert (properties["stdout"], properties["stderr"]) == ("a\n", "")


def test_a_later_call_sees_the_variables(interpreter: AzureCodeInterpreterToolSpec) -> None:
    run(interpreter, "seen = 41")
    assert run(interpreter, "seen + 1")["result"] == 42


def test_failing_code_is_told_in_the_status_and_on_stderr(interpreter: AzureCodeInterpreterToolSpec) -> None:
    properties = run(interpreter, "1 / 0")
    assert properties["status"] == "Failure"
    assert "ZeroDivisionError" in properties["stderr"]


def test_a_picture_is_saved_where_the_caller_wants_it(pool: str, tmp_path: Path) -> None:
    interpreter = AzureCodeInterpreterToolSpec(pool_management_endpoint=pool, local_save_path=str(tmp_path))
    assert run(interpreter, PICTURE)["result"] == {"type": "image", "format": "png", "saved_to_local_path": True}
    [picture] = tmp_path.glob("*.png")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_picture_is_dropped_without_a_place_to_save_it(interpreter: AzureCodeInterpreterToolSpec) -> None:
    # The client's doing: code_interpreter blanks base64_data if local_save_path is not set.
    assert run(interpreter, PICTURE)["result"] == {"type": "image", "format": "png", "base64_data": ""}


def test_no_picture_data_reaches_the_model(interpreter: AzureCodeInterpreterToolSpec) -> None:
    # The client only knows properties.result; a second copy in the reply would go to the model.
    assert "iVBOR" not in str(interpreter.code_interpreter(PICTURE))


def test_the_tool_that_an_agent_gets_runs_code(interpreter: AzureCodeInterpreterToolSpec) -> None:
    tools = {tool.metadata.name: tool for tool in interpreter.to_tool_list()}
    assert tools["code_interpreter"].call(python_code="6 * 7").raw_output["properties"]["result"] == 42
    assert tools["list_files"].call().raw_output == []


def test_code_reads_an_uploaded_file(interpreter: AzureCodeInterpreterToolSpec, tmp_path: Path) -> None:
    # The client sends "/mnt/data/in.csv" as the name of the file.
    (tmp_path / "in.csv").write_text("a;b\n", "utf-8")
    [uploaded] = interpreter.upload_file(local_file_path=str(tmp_path / "in.csv"))
    assert (uploaded.size_in_bytes, uploaded.file_full_path) == (4, "/mnt/data/in.csv")
    assert run(interpreter, "print(open('/mnt/data/in.csv').read(), end='')")["stdout"] == "a;b\n"


def test_a_file_that_code_has_written_is_listed_and_downloaded(
    interpreter: AzureCodeInterpreterToolSpec, tmp_path: Path
) -> None:
    run(interpreter, "with open('/mnt/data/a b.txt', 'w') as file:\n    _ = file.write('made')")
    assert [(file.file_full_path, file.size_in_bytes) for file in interpreter.list_files()] == [
        ("/mnt/data/a b.txt", 4)
    ]
    content = interpreter.download_file_to_local("/mnt/data/a b.txt")
    assert content is not None
    assert content.read() == b"made"
    interpreter.download_file_to_local("a b.txt", str(tmp_path / "copy.txt"))
    assert (tmp_path / "copy.txt").read_text("utf-8") == "made"


def test_a_file_that_is_not_there_is_an_http_error(interpreter: AzureCodeInterpreterToolSpec) -> None:
    with pytest.raises(requests.HTTPError, match="404"):
        interpreter.download_file_to_local("missing.txt")


def test_data_without_a_local_file_cannot_be_uploaded(interpreter: AzureCodeInterpreterToolSpec) -> None:
    # The client's doing: upload_file sets remote_file_path only where a local file is given.
    with pytest.raises(UnboundLocalError):
        interpreter.upload_file(data=io.BytesIO(b"abc"))


def test_the_endpoint_can_come_from_the_environment(pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_POOL_MANAGEMENT_ENDPOINT", pool)
    assert run(AzureCodeInterpreterToolSpec(), "6 * 7")["result"] == 42


def test_a_forged_token_is_refused(interpreter: AzureCodeInterpreterToolSpec) -> None:
    interpreter.access_token_provider = lambda: "forged"
    with pytest.raises(requests.HTTPError, match="401"):
        interpreter.code_interpreter("1")
