"""The paths of the time before versions, as the tutorial's sample and the first clients send and read them."""

from __future__ import annotations

from typing import Any

import pytest

from local.session_pool.wire import DIALECTS, OLDEST, Call, Operation
from tests.local.session_pool.wire.bodies import BODY, FILES, PICTURE, WRITTEN, read, record, refused

TUTORIAL = {
    "identifier": "adslfjlad",
    "codeInputType": "inline",
    "executionType": "synchronous",
    "pythonCode": "6 * 7",
    "timeoutInSeconds": 100,
}


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("POST", "/python/execute", Operation.EXECUTE),
        ("GET", "/python/files", Operation.LIST_FILES),
        ("POST", "/python/uploadFile", Operation.UPLOAD),
        ("GET", "/python/downloadFile", Operation.DOWNLOAD),
        ("GET", "/python/execute", None),
        ("POST", "/code/execute", None),
        ("POST", "/executions", None),
        ("GET", "/files", None),
        ("DELETE", "/python/files", None),
    ],
)
def test_operations(method: str, path: str, operation: Operation | None) -> None:
    assert OLDEST.call(method, path) == (Call(operation) if operation else None)


def test_body_of_the_tutorial() -> None:
    request = read(OLDEST, {"properties": TUTORIAL})
    assert (request.code, request.timeout_seconds, request.told_timeout) == ("6 * 7", 100, True)
    without = {name: value for name, value in TUTORIAL.items() if name != "timeoutInSeconds"}
    assert read(OLDEST, {"properties": without}).timeout_seconds == 220


def test_code_has_its_own_name() -> None:
    assert refused(OLDEST, {"properties": BODY}) == (400, "SessionPropertiesMissing")


def test_shell_and_asynchronous_are_not_there() -> None:
    assert refused(OLDEST, {"shellCommand": "true"}, commands=True) == (400, "SessionRequestNotSupported")
    body = {"properties": {**TUTORIAL, "executionType": "Asynchronous"}}
    assert refused(OLDEST, body) == (501, "NotImplemented")


@pytest.mark.parametrize(
    ("query", "body", "identifier"),
    [
        ({}, {"properties": TUTORIAL}, "adslfjlad"),
        ({"identifier": "in-query"}, {"properties": {"pythonCode": "1"}}, "in-query"),
        ({"identifier": "in-query"}, {"properties": TUTORIAL}, "in-query"),
        ({"identifier": ""}, {"properties": TUTORIAL}, "adslfjlad"),
        ({"identifier": "in-query"}, None, "in-query"),
        ({}, {"properties": {"identifier": 5}}, ""),
        ({}, {"properties": []}, ""),
        ({}, TUTORIAL, ""),
        ({}, None, ""),
    ],
)
def test_identifier_is_in_the_query_or_in_the_body(query: dict[str, str], body: Any, identifier: str) -> None:
    assert OLDEST.identifier(query, body) == identifier


def test_only_these_paths_read_the_body_for_an_identifier() -> None:
    body = {"identifier": "in-body", "properties": {"identifier": "in-body"}}
    assert {dialect.identifier({}, body) for dialect in DIALECTS.values()} == {""}


@pytest.mark.parametrize(("succeeded", "status"), [(True, "Success"), (False, "Failure")])
def test_execution_reply_is_all_at_the_top(succeeded: bool, status: str) -> None:
    reply = OLDEST.execution(record("", "", succeeded=succeeded))
    assert reply == {
        "$id": "1",
        "status": status,
        "stdout": "out",
        "stderr": "err",
        "result": "",
        "executionResult": "",
        "executionTimeInMilliseconds": 9,
    }
    # For the tutorial's executor the mere presence of this key is a failure, and null a TypeError.
    assert "error" not in reply


def test_values() -> None:
    assert OLDEST.execution(record(None, ""))["result"] == ""
    assert OLDEST.execution(record(42, "42"))["result"] == 42
    picture = OLDEST.execution(record(PICTURE, ""))
    assert picture["result"] == PICTURE
    assert "executionResult" not in picture


def test_file_list_has_the_size_under_both_names() -> None:
    assert OLDEST.file_list(FILES[:2]) == {
        "$id": "1",
        "$values": [{"$id": "2", "filename": "x.csv", "size": 3, "bytes": 3, "last_modified_time": WRITTEN}],
    }
    assert [row["$id"] for row in OLDEST.file_list(FILES)["$values"]] == ["2", "3"]


def test_upload_reply_serves_both_kinds_of_reader() -> None:
    reply = OLDEST.uploaded(FILES[1])
    assert reply["$values"][0]["filename"] == reply["filename"] == "x.csv"
    assert reply["$values"][0]["size"] == reply["bytes"] == 3
