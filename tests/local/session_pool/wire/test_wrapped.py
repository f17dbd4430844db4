"""API versions 2024-02-02-preview and 2024-08-02-preview, as clients send and read them."""

from __future__ import annotations

from typing import Any

import pytest

from local.session_pool.wire import DIALECTS, Call, Dialect, Operation
from tests.local.session_pool.wire.bodies import BODY, FILES, PICTURE, WRITTEN, read, record, refused

ALL = [DIALECTS["2024-02-02-preview"], DIALECTS["2024-08-02-preview"]]


def version(dialect: Dialect) -> str:
    return dialect.version


# What holds for one holds for the other.
@pytest.fixture(params=ALL, ids=version)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    found: Dialect = request.param
    return found


@pytest.mark.parametrize(
    ("method", "path", "call"),
    [
        ("POST", "/code/execute", Call(Operation.EXECUTE)),
        ("GET", "/files", Call(Operation.LIST_FILES)),
        ("POST", "/files/upload", Call(Operation.UPLOAD)),
        ("GET", "/files/a%20b.csv", Call(Operation.FILE_INFO, "a b.csv")),
        ("GET", "/files/content/a%20b.csv", Call(Operation.DOWNLOAD, "a b.csv")),
        ("DELETE", "/files/a.csv", Call(Operation.DELETE_FILE, "a.csv")),
        ("GET", "/files/content", Call(Operation.FILE_INFO, "content")),
        ("POST", "/files", None),
        ("POST", "/executions", None),
        ("GET", "/session", None),
        ("DELETE", "/session", None),
        ("GET", "/files/a.csv/content", None),
        ("POST", "/python/execute", None),
    ],
)
def test_operations(dialect: Dialect, method: str, path: str, call: Call | None) -> None:
    assert dialect.call(method, path) == call


def test_body_of_every_client(dialect: Dialect) -> None:
    langchain = {"codeInputType": "inline", "executionType": "synchronous", "code": "6 * 7"}
    semantic_kernel = {**langchain, "timeoutInSeconds": 100}
    assert read(dialect, {"properties": langchain}).code == "6 * 7"
    request = read(dialect, {"properties": semantic_kernel})
    assert (request.timeout_seconds, request.told_timeout, request.stream_length) == (100, True, 4096)
    # autogen-ext begins every session with white space only.
    assert read(dialect, {"properties": {**langchain, "code": "\n\n"}}).code == "\n\n"


def test_flat_body(dialect: Dialect) -> None:
    assert refused(dialect, BODY) == (400, "SessionPropertiesMissing")
    assert read(dialect, BODY, loose=True).code == "1+1"


def test_options_of_later_versions_are_not_read(dialect: Dialect) -> None:
    request = read(dialect, {"properties": {**BODY, "outputStreamsMaxLength": 9, "useEmptyKernel": True}})
    assert (request.stream_length, request.empty_kernel) == (4096, False)


def test_asynchronous_is_not_implemented(dialect: Dialect) -> None:
    body = {"properties": {**BODY, "executionType": "Asynchronous"}}
    assert refused(dialect, body) == (501, "NotImplemented")


def test_shell_is_not_supported(dialect: Dialect) -> None:
    for body in ({"shellCommand": "true"}, {"properties": BODY}, None):
        assert refused(dialect, body, commands=True) == (400, "SessionRequestNotSupported")


@pytest.mark.parametrize(("succeeded", "status"), [(True, "Success"), (False, "Failure")])
def test_execution_reply_has_the_value_under_both_names(dialect: Dialect, succeeded: bool, status: str) -> None:
    assert dialect.execution(record("", "", succeeded=succeeded)) == {
        "$id": "1",
        "properties": {
            "$id": "2",
            "status": status,
            "stdout": "out",
            "stderr": "err",
            "result": "",
            "executionResult": "",
            "executionTimeInMilliseconds": 9,
        },
    }
    assert dialect.execution_status(record()) == 200


@pytest.mark.parametrize(
    ("result", "text", "shown"),
    [
        (2, "2", 2),
        ("", "", ""),
        # No value is never null: clients would show it.
        (None, "", ""),
        ("text", "'text'", "'text'"),
        ([1, 2], "[1, 2]", [1, 2]),
        # autogen-ext splits its package list out of what IPython prints.
        (["numpy", "pandas"], "['numpy',\n 'pandas']", "['numpy',\n 'pandas']"),
        ("nan", "nan", "nan"),
        (True, "True", "True"),
        ("x", "NaN", "NaN"),
        ("x", "-Infinity", "-Infinity"),
        ("x", "1e999", "1e999"),
        ("x", "[" * 5000 + "]" * 5000, "[" * 5000 + "]" * 5000),
        ({"a": 1}, '{"a": 1}', {"a": 1}),
    ],
)
def test_value_is_what_the_kernel_prints(dialect: Dialect, result: Any, text: str, shown: Any) -> None:
    properties = dialect.execution(record(result, text))["properties"]
    assert properties["result"] == properties["executionResult"] == shown


def test_picture_is_under_one_name(dialect: Dialect) -> None:
    properties = dialect.execution(record(PICTURE, ""))["properties"]
    assert properties["result"] == PICTURE
    # LlamaIndex passes all the rest to the model.
    assert "executionResult" not in properties


def test_file_list_leaves_directories_out(dialect: Dialect) -> None:
    assert dialect.file_list(FILES) == {
        "$id": "1",
        "value": [
            {"$id": "2", "properties": {"$id": "3", "filename": "x.csv", "size": 3, "lastModifiedTime": WRITTEN}},
            {
                "$id": "4",
                "properties": {
                    "$id": "5",
                    "filename": "y.txt",
                    "size": 4,
                    "lastModifiedTime": "1970-01-01T00:00:01.000000Z",
                },
            },
        ],
    }
    assert dialect.file_list([]) == {"$id": "1", "value": []}


def test_one_file_is_a_list_of_one(dialect: Dialect) -> None:
    assert dialect.uploaded(FILES[1]) == dialect.file(FILES[1]) == dialect.file_list([FILES[1]])
    assert not dialect.lists_recursively
