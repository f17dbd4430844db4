"""Executions: what is asked for, and how the sessions' code runs."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from tests.parity.pool import Emulator, Pool, body, error_code


@pytest.mark.parity("EXEC-01")
def test_an_execution_and_its_reply(pool: Pool, session: str) -> None:
    found = pool.run("print(6 * 7)\n1 + 1", session)
    assert uuid.UUID(found["id"])
    milliseconds = found["result"].pop("executionTimeInMilliseconds")
    assert isinstance(milliseconds, int)
    assert {name: value for name, value in found.items() if name != "id"} == {
        "identifier": session,
        "executionType": "Synchronous",
        "status": "Succeeded",
        "result": {"stdout": "42\n", "stderr": "", "executionResult": 2},
    }


@pytest.mark.parity("EXEC-02")
@pytest.mark.parametrize("change", [str.lower, str.upper])
def test_the_case_of_types_makes_no_difference(pool: Pool, session: str, change: Callable[[str], str]) -> None:
    fields = {"codeInputType": change("Inline"), "executionType": change("Synchronous")}
    assert pool.result("6 * 7", session, **fields)["executionResult"] == 42


@pytest.mark.parity("EXEC-03")
def test_code_in_base64(pool: Pool, session: str) -> None:
    code = base64.b64encode("print('ä')".encode()).decode()
    assert pool.result(code, session, codeInputType="InlineBase64")["stdout"] == "ä\n"


@pytest.mark.parity("EXEC-04")
def test_code_as_text(pool: Pool, session: str) -> None:
    assert pool.result("6 * 7", session, codeInputType="InlineText")["executionResult"] == 42


@pytest.mark.parity("EXEC-05")
@pytest.mark.parametrize("code", [None, 1, ["print()"]])
def test_a_body_without_code_misses_properties(pool: Pool, session: str, code: object) -> None:
    reply = pool.request("POST", "/executions", session, json={**body(""), "code": code})
    assert (reply.status_code, error_code(reply)) == (400, "SessionPropertiesMissing")


@pytest.mark.parity("EXEC-06")
def test_a_wrapped_body_misses_properties(pool: Pool, session: str) -> None:
    reply = pool.request("POST", "/executions", session, json={"properties": body("1")})
    assert (reply.status_code, error_code(reply)) == (400, "SessionPropertiesMissing")


@pytest.mark.parity("EXEC-06")
@pytest.mark.local_only("an option of the emulator")
def test_a_lenient_pool_takes_a_wrapped_body(lenient: Emulator) -> None:
    pool = lenient.pool()
    reply = pool.request("POST", "/executions", pool.new_identifier(), json={"properties": body("6 * 7")})
    assert reply.json()["result"]["executionResult"] == 42


@pytest.mark.parity("EXEC-07")
@pytest.mark.parametrize("name", ["codeInputType", "executionType"])
@pytest.mark.parametrize("value", [None, "Other", 1])
def test_types_have_to_be_given(pool: Pool, session: str, name: str, value: object) -> None:
    reply = pool.request("POST", "/executions", session, json=body("1", **{name: value}))
    assert (reply.status_code, error_code(reply)) == (400, "SessionRequestValidationFailed")


@pytest.mark.parity("EXEC-08")
def test_fields_that_nobody_knows_are_ignored(pool: Pool, session: str) -> None:
    assert pool.result("6 * 7", session, networkStatus="Enabled", other={"a": []})["executionResult"] == 42


@pytest.mark.parity("EXEC-08", "FAIL-03")
def test_the_timeout_may_be_left_out(pool: Pool, session: str) -> None:
    assert pool.result("6 * 7", session, timeoutInSeconds=None)["executionResult"] == 42


@pytest.mark.parity("EXEC-09")
@pytest.mark.local_only("older versions may be retired")
@pytest.mark.parametrize(("version", "status"), [("2024-10-02-preview", 202), ("2025-02-02-preview", 200)])
def test_a_finished_execution_was_once_accepted_only(pool: Pool, session: str, version: str, status: int) -> None:
    reply = pool.execute("6 * 7", session, version=version)
    assert (reply.status_code, reply.json()["status"]) == (status, "Succeeded")
    assert reply.json()["result"]["executionResult"] == 42


@pytest.mark.parity("EXEC-10")
def test_a_session_keeps_its_variables_and_imports(pool: Pool, session: str) -> None:
    pool.result("import math; kept = [1]", session)
    pool.result("kept.append(math.floor(2.5))", session)
    assert pool.result("kept", session)["executionResult"] == [1, 2]


@pytest.mark.parity("EXEC-11")
def test_executions_of_a_session_wait_for_each_other(pool: Pool, session: str) -> None:
    code = "import time; began = time.monotonic(); time.sleep(0.2); print(began, time.monotonic())"
    with ThreadPoolExecutor(3) as threads:
        results = list(threads.map(lambda _: pool.result(code, session), range(3)))
    spans = sorted(tuple(map(float, result["stdout"].split())) for result in results)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))


@pytest.mark.parity("EXEC-12")
def test_sessions_do_not_wait_for_each_other(pool: Pool, session: str, fresh: str) -> None:
    pool.result("1", fresh)
    pool.result("1", session)
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(pool.result, "import time; time.sleep(2); time.time()", fresh)
        quick = pool.result("import time; time.time()", session)
        assert not slow.done()
        assert slow.result()["executionResult"] > quick["executionResult"]


@pytest.mark.parity("EXEC-13")
@pytest.mark.parametrize(
    ("code", "stdout"),
    [
        ("import asyncio\nprint(await asyncio.sleep(0, 'awaited'))", "awaited"),
        ("!echo from a shell", "from a shell"),
        ("%%bash\necho from bash", "from bash"),
        ("import subprocess; print(subprocess.check_output(['echo', 'x'], text=True))", "x"),
    ],
)
def test_code_is_what_ipython_takes(pool: Pool, session: str, code: str, stdout: str) -> None:
    assert pool.result(code, session)["stdout"].split() == stdout.split()


@pytest.mark.parity("EXEC-14")
def test_the_working_directory_is_another_one_than_that_of_the_files(pool: Pool, session: str) -> None:
    code = "import os; assert os.path.isdir('/mnt/data'); os.getcwd()"
    assert pool.result(code, session)["executionResult"] != "/mnt/data"


@pytest.mark.parity("EXEC-15")
def test_an_empty_kernel_has_no_variables_and_leaves_none(pool: Pool, session: str) -> None:
    pool.result("mine = 1", session)
    assert pool.result("other = 2; 'mine' in globals()", session, useEmptyKernel=True)["executionResult"] is False
    assert pool.result("mine, 'other' in globals()", session)["executionResult"] == [1, False]


@pytest.mark.parity("EXEC-16")
@pytest.mark.parametrize("code", ["", "\n\n", "# nothing"])
def test_code_that_does_nothing_succeeds(pool: Pool, session: str, code: str) -> None:
    assert pool.result(code, session)["executionResult"] == ""
