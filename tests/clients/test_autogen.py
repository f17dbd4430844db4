"""autogen-ext's ACADynamicSessionsCodeExecutor, unmodified, on the emulator."""

from __future__ import annotations

import ast
import asyncio
import base64
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from autogen_core import CancellationToken
from autogen_core.code_executor import CodeBlock, CodeResult
from autogen_ext.code_executors.azure import ACADynamicSessionsCodeExecutor
from azure.core.credentials import AccessToken
from azure.identity import DefaultAzureCredential

NewExecutor = Callable[..., ACADynamicSessionsCodeExecutor]


def add_numbers(left: int, right: int) -> int:
    """Adds; the executor sends this function's source to the session."""
    return left + right


def run(executor: ACADynamicSessionsCodeExecutor, *blocks: str) -> CodeResult:
    """Executes blocks of Python."""
    code_blocks = [CodeBlock(code=block, language="python") for block in blocks]
    return asyncio.run(executor.execute_code_blocks(code_blocks, CancellationToken()))


@pytest.fixture
def new_executor(pool: str, tmp_path: Path) -> Iterator[NewExecutor]:
    with DefaultAzureCredential() as credential:

        def new(**options: Any) -> ACADynamicSessionsCodeExecutor:
            return ACADynamicSessionsCodeExecutor(pool, credential, work_dir=tmp_path, **options)

        yield new


@pytest.fixture
def executor(new_executor: NewExecutor) -> ACADynamicSessionsCodeExecutor:
    return new_executor()


def test_printed_text_is_all_of_the_output(executor: ACADynamicSessionsCodeExecutor) -> None:
    assert run(executor, "print('hello')") == CodeResult(exit_code=0, output="hello\n")


def test_the_value_of_the_last_line_follows_the_printed_text(executor: ACADynamicSessionsCodeExecutor) -> None:
    assert run(executor, "print('a')\n6 * 7") == CodeResult(exit_code=0, output="a\n42")


def test_a_later_block_sees_the_variables(executor: ACADynamicSessionsCodeExecutor) -> None:
    assert run(executor, "seen = 41", "print(seen + 1)").output == "42\n"
    assert run(executor, "print(seen)").output == "41\n"


def test_failing_code_has_exit_code_one_and_its_traceback(executor: ACADynamicSessionsCodeExecutor) -> None:
    result = run(executor, "print('before')\n1 / 0")
    assert result.exit_code == 1
    assert "before" in result.output
    assert "ZeroDivisionError" in result.output


def test_blocks_after_a_failing_one_still_run(executor: ACADynamicSessionsCodeExecutor) -> None:
    # The client's doing: _execute_code_dont_check_setup does not leave its loop when a status is Failure.
    result = run(executor, "1 / 0", "print('still run')")
    assert result.exit_code == 1
    assert result.output.endswith("still run\n")


def test_a_picture_is_in_the_output_as_text(executor: ACADynamicSessionsCodeExecutor) -> None:
    result = run(executor, "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()")
    picture = ast.literal_eval(result.output[result.output.index("{") :])
    assert (picture["type"], picture["format"]) == ("image", "png")
    assert base64.b64decode(picture["base64_data"]).startswith(b"\x89PNG")


def test_code_reads_an_uploaded_file_by_its_name(executor: ACADynamicSessionsCodeExecutor, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a;b\n", "utf-8")
    asyncio.run(executor.upload_files(["in.csv"], CancellationToken()))
    assert run(executor, "print(open('in.csv').read(), end='')").output == "a;b\n"


def test_a_file_that_code_has_written_is_listed_and_downloaded(
    executor: ACADynamicSessionsCodeExecutor, tmp_path: Path
) -> None:
    assert run(executor, "with open('/mnt/data/out.txt', 'w') as file:\n    _ = file.write('made')").exit_code == 0
    assert asyncio.run(executor.get_file_list(CancellationToken())) == ["out.txt"]
    paths = asyncio.run(executor.download_files(["out.txt"], CancellationToken()))
    assert paths == [str(tmp_path / "out.txt")]
    assert (tmp_path / "out.txt").read_text("utf-8") == "made"


def test_a_file_that_is_not_there_cannot_be_downloaded(executor: ACADynamicSessionsCodeExecutor) -> None:
    with pytest.raises(FileNotFoundError):
        asyncio.run(executor.download_files(["missing.txt"], CancellationToken()))


def test_a_name_with_a_space_arrives_percent_encoded(executor: ACADynamicSessionsCodeExecutor, tmp_path: Path) -> None:
    # The client's doing: upload_files leaves aiohttp.FormData at quote_fields=True, which encodes file names.
    (tmp_path / "a b.csv").write_text("x", "utf-8")
    asyncio.run(executor.upload_files(["a b.csv"], CancellationToken()))
    assert asyncio.run(executor.get_file_list(CancellationToken())) == ["a%20b.csv"]


def test_restart_gives_an_empty_session(executor: ACADynamicSessionsCodeExecutor) -> None:
    run(executor, "seen = 41")
    asyncio.run(executor.restart())
    # Without functions, the setup after a restart also sends code that is nothing but line ends.
    result = run(executor, "print('seen' in globals())")
    assert result == CodeResult(exit_code=0, output="False\n")


def test_executors_with_the_same_session_id_share_the_session(new_executor: NewExecutor) -> None:
    session = uuid.uuid4().hex
    run(new_executor(session_id=session), "seen = 41")
    assert run(new_executor(session_id=session), "print(seen)").output == "41\n"


def test_functions_given_to_the_executor_can_be_called(new_executor: NewExecutor) -> None:
    assert run(new_executor(functions=[add_numbers]), "print(add_numbers(20, 22))").output == "42\n"


def test_the_list_of_packages_is_understood(executor: ACADynamicSessionsCodeExecutor) -> None:
    # The session has to have pkg_resources, and the result has to be the text that IPython shows, not a JSON array.
    run(executor, "1")
    assert "ipykernel" in asyncio.run(executor.get_available_packages(CancellationToken()))


def test_a_token_that_is_refused_is_a_connection_error(pool: str, tmp_path: Path) -> None:
    class Forged:
        def get_token(self, *scopes: str, **_: Any) -> AccessToken:
            return AccessToken("forged", 4_000_000_000)

    executor = ACADynamicSessionsCodeExecutor(pool, Forged(), work_dir=tmp_path)
    with pytest.raises(ConnectionError):
        run(executor, "1")


def test_the_readmes_example_prints_the_answer(readme_prints: Callable[[str], str]) -> None:
    assert "42" in readme_prints("ACADynamicSessionsCodeExecutor")
