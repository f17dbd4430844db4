"""API versions 2024-10-02-preview and later, as published and as clients read them."""

from __future__ import annotations

from typing import Any

import pytest

from local.session_pool.execution import ExecutionRecord
from local.session_pool.files import FileInfo
from local.session_pool.wire import DIALECTS, NEWEST, Call, Dialect, Operation
from tests.local.session_pool.wire.bodies import BODY, FILES, PICTURE, WRITTEN, read, record, refused

FIRST, MIDDLE, LAST = (DIALECTS[name] for name in ("2024-10-02-preview", "2025-02-02-preview", NEWEST))
ALL = [FIRST, MIDDLE, LAST]


def version(dialect: Dialect) -> str:
    return dialect.version


@pytest.mark.parametrize("dialect", ALL, ids=version)
@pytest.mark.parametrize(
    ("method", "path", "call"),
    [
        ("POST", "/executions", Call(Operation.EXECUTE)),
        ("GET", "/executions/3f5f7f0e-6d2c", Call(Operation.GET_EXECUTION, "3f5f7f0e-6d2c")),
        ("GET", "/files", Call(Operation.LIST_FILES)),
        ("POST", "/files", Call(Operation.UPLOAD)),
        ("GET", "/files/a%20b.csv", Call(Operation.FILE_INFO, "a b.csv")),
        ("GET", "/files/a%20b.csv/content", Call(Operation.DOWNLOAD, "a b.csv")),
        ("DELETE", "/files/%C3%A4.csv", Call(Operation.DELETE_FILE, "ä.csv")),
        ("GET", "/files/content", Call(Operation.FILE_INFO, "content")),
        ("GET", "/files/a%2Fb", Call(Operation.FILE_INFO, "a/b")),
        ("DELETE", "/files/a/content", None),
        ("GET", "/executions", None),
        ("DELETE", "/executions/e1", None),
        ("POST", "/code/execute", None),
        ("GET", "/files/a/b", None),
    ],
)
def test_operations(dialect: Dialect, method: str, path: str, call: Call | None) -> None:
    assert dialect.call(method, path) == call


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("GET", "/session", Operation.GET_SESSION),
        ("DELETE", "/session", Operation.DELETE_SESSION),
        ("GET", "/listSessions", Operation.LIST_SESSIONS),
        ("GET", "/metadata", Operation.METADATA),
    ],
)
def test_sessions_came_with_the_second(method: str, path: str, operation: Operation) -> None:
    assert FIRST.call(method, path) is None
    assert MIDDLE.call(method, path) == LAST.call(method, path) == Call(operation)


def test_status_of_an_execution() -> None:
    ended, running = record(), ExecutionRecord("e1", "abcd", True)
    assert [dialect.execution_status(ended) for dialect in ALL] == [202, 200, 200]
    assert [dialect.execution_status(running) for dialect in ALL] == [202, 202, 202]


@pytest.mark.parametrize("dialect", ALL, ids=version)
def test_wrapped_body(dialect: Dialect) -> None:
    for body in ({"properties": BODY}, {**BODY, "properties": {}}):
        assert refused(dialect, body) == (400, "SessionPropertiesMissing")
    assert read(dialect, {"properties": BODY}, loose=True).code == "1+1"


@pytest.mark.parametrize("dialect", ALL, ids=version)
def test_fields_that_clients_send_besides(dialect: Dialect) -> None:
    body = {**BODY, "identifier": "abcd", "networkStatus": "EgressEnabled", "returnJupyterFormatExecutionResult": True}
    assert read(dialect, body) == read(dialect, BODY)


def test_options_are_read_by_the_newest_only() -> None:
    body = {**BODY, "timeoutInSeconds": 5, "outputStreamsMaxLength": 9, "useEmptyKernel": True}
    request = read(LAST, body)
    assert (request.timeout_seconds, request.told_timeout) == (5, True)
    assert (request.stream_length, request.empty_kernel) == (9, True)
    for older in (FIRST, MIDDLE):
        request = read(older, body)
        assert (request.timeout_seconds, request.stream_length, request.empty_kernel) == (5, 4096, False)
        assert read(older, {**body, "outputStreamsMaxLength": "x"}).stream_length == 4096
    assert not read(LAST, {**body, "useEmptyKernel": "true"}).empty_kernel


@pytest.mark.parametrize("length", [0, -1, 1.5, "9", True, 10_000_001])
def test_stream_length_of_another_form(length: Any) -> None:
    body = {**BODY, "outputStreamsMaxLength": length}
    assert refused(LAST, body) == (400, "SessionRequestValidationFailed")


@pytest.mark.parametrize("dialect", ALL, ids=version)
def test_asynchronous(dialect: Dialect) -> None:
    assert read(dialect, {**BODY, "executionType": "asynchronous"}).asynchronous
    assert dialect.execution(ExecutionRecord("a1", "s-0001", True)) == {
        "id": "a1",
        "identifier": "s-0001",
        "executionType": "Asynchronous",
        "status": "Running",
    }


@pytest.mark.parametrize("dialect", ALL, ids=version)
@pytest.mark.parametrize(("succeeded", "status"), [(True, "Succeeded"), (False, "Failed")])
@pytest.mark.parametrize("result", ["", None, 2, "nan", [1, {"a": None}], PICTURE])
def test_execution_reply(dialect: Dialect, succeeded: bool, status: str, result: Any) -> None:
    assert dialect.execution(record(result, succeeded=succeeded)) == {
        "id": "e1",
        "identifier": "abcd",
        "executionType": "Synchronous",
        "status": status,
        "result": {"stdout": "out", "stderr": "err", "executionResult": result, "executionTimeInMilliseconds": 9},
    }


@pytest.mark.parametrize(
    ("info", "row"),
    [
        (FILES[0], {"name": "out", "type": "directory", "sizeInBytes": 0}),
        (FILES[1], {"name": "x.csv", "type": "file", "sizeInBytes": 3}),
    ],
)
def test_file_reply(info: FileInfo, row: dict[str, Any]) -> None:
    shown = LAST.file(info)
    assert shown.pop("directory") == "."
    assert {name: shown[name] for name in row} == row
    assert shown["lastModifiedAt"] == WRITTEN
    assert shown["contentType"].partition(";")[0] == (
        "text/csv" if info.name == "x.csv" else "application/octet-stream"
    )
    # The directory came with the newest version; the rest is the same, and an upload is answered with it.
    assert MIDDLE.file(info) == FIRST.file(info) == FIRST.uploaded(info) == shown


def test_file_list() -> None:
    listed = LAST.file_list(FILES)
    assert listed == {"value": [LAST.file(info) for info in FILES], "nextLink": None}
    assert [row["directory"] for row in listed["value"]] == [".", ".", "out"]
    assert LAST.file_list([]) == {"value": [], "nextLink": None}


def test_only_the_newest_lists_recursively() -> None:
    assert [dialect.lists_recursively for dialect in ALL] == [False, False, True]


COMMAND = {"shellCommand": "echo hello"}


@pytest.mark.parametrize("dialect", [MIDDLE, LAST], ids=version)
def test_shell_command(dialect: Dialect) -> None:
    request = read(dialect, COMMAND, commands=True)
    assert (request.code, request.timeout_seconds, request.told_timeout) == ("echo hello", 220, False)
    assert not request.asynchronous
    assert read(dialect, {**COMMAND, "timeoutInSeconds": 60}, commands=True).timeout_seconds == 60


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"code": "1+1"}, (400, "SessionPropertiesMissing")),
        ({"shellCommand": None}, (400, "SessionPropertiesMissing")),
        ({"shellCommand": ["echo"]}, (400, "SessionPropertiesMissing")),
        ({"codeInputType": "Inline"}, (400, "SessionRequestValidationFailed")),
        ({"executionType": "Synchronous"}, (400, "SessionRequestValidationFailed")),
        ({"timeoutInSeconds": 600}, (400, "SessionRequestValidationFailed")),
        ({"shellCommand": "a\0b"}, (400, "SessionRequestValidationFailed")),
        ({"shellCommand": "\ud800"}, (400, "SessionRequestValidationFailed")),
        ({"shellCommand": "x" * 100_001}, (400, "SessionRequestValidationFailed")),
        ({"shellCommand": "é" * 50_001}, (400, "SessionRequestValidationFailed")),
        ({"execCommandAndArgs": ["echo"]}, (501, "NotImplemented")),
        ({"stdin": "x"}, (501, "NotImplemented")),
    ],
)
def test_shell_body_of_another_form(change: dict[str, Any], refusal: tuple[int, str]) -> None:
    assert refused(LAST, {**COMMAND, **change}, commands=True) == refusal


def test_shell_body_of_the_tutorial_page_is_forgiven_by_a_loose_pool() -> None:
    body = {**COMMAND, "codeInputType": "Inline", "executionType": "Synchronous", "timeoutInSeconds": 600}
    assert read(LAST, body, commands=True, loose=True).timeout_seconds == 220


def test_shell_on_another_version_or_kind_of_pool() -> None:
    assert refused(FIRST, COMMAND, commands=True) == (400, "SessionRequestNotSupported")
    assert refused(LAST, BODY, commands=True) == (400, "SessionPropertiesMissing")
    assert refused(LAST, COMMAND) == (400, "SessionPropertiesMissing")


@pytest.mark.parametrize("code", [0, 1, 127, -1])
def test_shell_reply_has_the_exit_code_as_its_status(code: int) -> None:
    reply = LAST.execution(record("", "", succeeded=code == 0, exit_code=code))
    assert reply["status"] == str(code)
    assert reply["identifier"] == "abcd"
    assert reply["result"] == {"stdout": "out", "stderr": "err", "executionTimeInMilliseconds": 9}
