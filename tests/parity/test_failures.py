"""Failures, timeouts and limits of executions."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.parity.pool import Pool, error_code

TIMED_OUT = "Request timed out waiting for code execution to complete"


@pytest.mark.parity("FAIL-01")
@pytest.mark.parametrize(
    ("code", "said"),
    [("1 / 0", "ZeroDivisionError: division by zero"), ("a b", "SyntaxError"), ("raise SystemExit(3)", "")],
)
def test_code_that_fails_is_answered_with_200(pool: Pool, session: str, code: str, said: str) -> None:
    found = pool.run(f"print('before')\nexec({code!r})", session)
    assert found["status"] == "Failed"
    assert found["result"]["stdout"] == "before\n"
    assert said in found["result"]["stderr"]
    assert found["result"]["executionResult"] == ""


@pytest.mark.parity("FAIL-01")
def test_a_traceback_has_no_colours(pool: Pool, session: str) -> None:
    stderr = pool.run("{}['sales']", session)["result"]["stderr"]
    assert "Traceback" in stderr
    assert stderr.rstrip().endswith("KeyError: 'sales'")
    assert "\x1b" not in stderr


@pytest.mark.parity("FAIL-02", "FAIL-08")
def test_an_execution_ends_at_its_timeout_and_the_session_lives_on(pool: Pool, session: str) -> None:
    found = pool.run("kept = 5\nprint('begun')\nimport time; time.sleep(30)", session, timeoutInSeconds=1)
    assert (found["status"], found["result"]["stdout"]) == ("Failed", "begun\n")
    assert found["result"]["stderr"].startswith(f"{TIMED_OUT} after 1 seconds")
    assert 900 < found["result"]["executionTimeInMilliseconds"] < 10_000
    assert pool.result("kept", session)["executionResult"] == 5


@pytest.mark.parity("FAIL-03")
def test_220_seconds_can_be_asked_for(pool: Pool, session: str) -> None:
    assert pool.result("1", session, timeoutInSeconds=220)["executionResult"] == 1


@pytest.mark.parity("FAIL-03", "ASYNC-06")
@pytest.mark.parametrize("kind", ["Synchronous", "Asynchronous"])
@pytest.mark.parametrize("seconds", [221, 0, -1, 1.5, "10", True])
def test_other_timeouts_are_invalid(pool: Pool, session: str, kind: str, seconds: object) -> None:
    reply = pool.execute("1", session, timeoutInSeconds=seconds, executionType=kind)
    assert (reply.status_code, error_code(reply)) == (400, "SessionRequestValidationFailed")


@pytest.mark.parity("FAIL-04")
@pytest.mark.usefixtures("_sandboxed")
def test_code_that_takes_all_memory_fails(pool: Pool, fresh: str) -> None:
    code = "taken = []\nwhile True: taken.append(bytearray(64 << 20))"
    found = pool.run(code, fresh, timeoutInSeconds=60)
    assert found["status"] == "Failed"
    assert re.search(r"\AExecution aborted|\AKernel restarted|MemoryError", found["result"]["stderr"])
    assert pool.result("6 * 7", fresh)["executionResult"] == 42


@pytest.mark.parity("FAIL-04")
def test_memory_that_does_not_exist_is_a_plain_error(pool: Pool, session: str) -> None:
    found = pool.run("x = bytearray(1 << 60)", session)
    assert (found["status"], found["result"]["stderr"].split()[-1]) == ("Failed", "MemoryError:")


@pytest.mark.parity("FAIL-05")
def test_a_kernel_that_dies_is_replaced_and_files_are_kept(pool: Pool, fresh: str) -> None:
    pool.result("gone = 1; open('/mnt/data/kept.txt', 'w').close()", fresh)
    found = pool.run("import os; os._exit(1)", fresh)
    assert found["status"] == "Failed"
    assert re.match(r"Execution aborted|Kernel restarted", found["result"]["stderr"])
    result = pool.result("import os; 'gone' in globals(), os.listdir('/mnt/data')", fresh)
    assert result["executionResult"] == [False, ["kept.txt"]]


@pytest.mark.parity("FAIL-06")
def test_what_waits_behind_a_timeout_is_aborted(pool: Pool, fresh: str) -> None:
    pool.result("1", fresh)
    started = pool.execute("import time; time.sleep(30)", fresh, executionType="Asynchronous", timeoutInSeconds=2)
    assert started.status_code == 202
    with ThreadPoolExecutor(2) as threads:
        waiting = list(threads.map(lambda _: pool.run("print('ran')", fresh), range(2)))
    assert [found["status"] for found in waiting] == ["Failed", "Failed"]
    assert {found["result"]["stderr"] for found in waiting} == {"Execution aborted"}
    assert pool.result("6 * 7", fresh)["executionResult"] == 42


@pytest.mark.parity("FAIL-07")
@pytest.mark.parametrize(("fields", "length"), [({}, 4096), ({"outputStreamsMaxLength": 10}, 10)])
def test_streams_are_cut_without_a_word(pool: Pool, session: str, fields: dict[str, int], length: int) -> None:
    code = "import sys; print('o' * 9000); print('e' * 9000, file=sys.stderr)"
    result = pool.result(code, session, **fields)
    assert (result["stdout"], result["stderr"]) == ("o" * length, "e" * length)


@pytest.mark.parity("FAIL-07")
def test_longer_streams_can_be_asked_for(pool: Pool, session: str) -> None:
    assert len(pool.result("print('o' * 9000)", session, outputStreamsMaxLength=20_000)["stdout"]) == 9001


@pytest.mark.parity("FAIL-07")
@pytest.mark.local_only("older versions may be retired")
def test_older_versions_cut_at_the_default(pool: Pool, session: str) -> None:
    reply = pool.execute("print('o' * 9000)", session, version="2025-02-02-preview", outputStreamsMaxLength=20_000)
    assert reply.json()["result"]["stdout"] == "o" * 4096
