"""The wire format, by the documented contract."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import errors
from shared.session_wire import (
    Execution,
    SessionFile,
    check_api_version,
    decode_error,
    decode_execution,
    decode_file_list,
    error_code,
    execution_body,
    json_object,
    pending_execution,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def execution(result: dict[str, Any], status: str = "Succeeded", headers: dict[str, str] | None = None) -> Execution:
    body = json.dumps({"id": "e", "identifier": "i", "status": status, "result": result})
    return decode_execution(json_object(body.encode()), headers or {})


def test_the_body_is_flat_and_carries_what_its_version_knows() -> None:
    new = execution_body("2025-10-02-preview", "1", timeout_seconds=60, stream_limit=500)
    old = execution_body("2024-10-02-preview", "1", timeout_seconds=60, stream_limit=500)
    assert new == {
        "codeInputType": "Inline",
        "executionType": "Synchronous",
        "code": "1",
        "timeoutInSeconds": 60,
        "outputStreamsMaxLength": 500,
    }
    assert "outputStreamsMaxLength" not in old


@pytest.mark.parametrize("version", ["2024-02-02-preview", "latest", "", "2025-10-02-beta"])
def test_versions_of_another_shape_are_refused(version: str) -> None:
    with pytest.raises(errors.SettingError, match="SESSION_POOL_API_VERSION"):
        check_api_version(version)


@pytest.mark.parametrize(
    ("status", "succeeded"), [("Succeeded", True), ("Success", True), ("Failed", False), ("Failure", False)]
)
def test_the_status_decides_not_standard_error(status: str, succeeded: bool) -> None:
    assert execution({"stderr": "a warning"}, status).succeeded is succeeded


@pytest.mark.parametrize(
    ("value", "expected"),
    [("", None), (None, None), (2, 2), ("nan", "nan"), ([1, {}], [1, {}]), (0, 0), (False, False)],
)
def test_results_of_every_json_type(value: object, expected: object) -> None:
    assert execution({"executionResult": value}).result == expected


def test_a_picture_is_decoded() -> None:
    image = {"type": "image", "format": "png", "base64_data": base64.b64encode(b"png").decode()}
    decoded = execution({"executionResult": image})
    assert decoded.picture is not None
    assert decoded.picture.content_type == "image/png"
    assert decoded.picture.data == b"png"
    assert decoded.result is None


def test_a_dictionary_that_only_looks_like_a_picture_stays_a_result() -> None:
    value = {"type": "image", "format": "../x", "base64_data": "!"}
    assert execution({"executionResult": value}).result == value


@pytest.mark.parametrize("status", ["Running", "NotStarted", "running"])
def test_an_execution_that_has_not_ended_is_asked_for_by_its_id(status: str) -> None:
    assert pending_execution({"id": "e", "status": status}) == "e"
    with pytest.raises(errors.PoolOutcomeUnknown):
        pending_execution({"status": status})


@pytest.mark.parametrize("status", ["Succeeded", "Success", "Failed", "Failure", "Canceled", "", None])
def test_any_other_has_ended(status: object) -> None:
    assert pending_execution({"id": "e", "status": status}) is None


@pytest.mark.parametrize("stderr", ["", "Traceback"])
def test_a_canceled_execution_is_a_failure_that_says_so(stderr: str) -> None:
    decoded = execution({"stderr": stderr}, "Canceled")
    assert not decoded.succeeded
    assert decoded.stderr.startswith(stderr)
    assert "canceled" in decoded.stderr


@pytest.mark.parametrize("lone", ["\\udcff", "\\uDCFF", "\\ud83d!"])
def test_what_has_no_utf8_form_is_replaced(lone: str) -> None:
    text = json.dumps({"result": {"stdout": "a@", "stderr": "b@", "executionResult": {"c@": ["d@", "\U0001f600"]}}})
    rest = lone[6:]
    decoded = decode_execution(json_object(b'{"status": "Failed", ' + text[1:].replace("@", lone).encode()), {})
    assert (decoded.stdout, decoded.stderr) == (f"a\ufffd{rest}", f"b\ufffd{rest}")
    assert decoded.result == {f"c\ufffd{rest}": [f"d\ufffd{rest}", "\U0001f600"]}


@pytest.mark.parametrize("name", [b"\\udcff.txt", b"\xed\xb3\xbf.txt", b"\xff.txt"])
def test_in_file_names_too(name: bytes) -> None:
    files, _ = decode_file_list(b'{"value": [{"name": "' + name + b'", "type": "file"}]}')
    assert files[0].path.strip("\ufffd") == ".txt"
    assert files[0].path.encode()


def test_a_byte_order_mark_is_no_part_of_json() -> None:
    assert json_object(b'\xef\xbb\xbf{"a": "\\u00e9"}') == {"a": "\u00e9"}


def test_headers_tell_of_a_new_session() -> None:
    decoded = execution({}, headers={"x-ms-new-allocation": "True", "x-ms-session-guid": "g"})
    assert decoded.new_allocation
    assert decoded.session_guid == "g"


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_reply_is_an_execution_or_a_typed_error(body: bytes) -> None:
    try:
        decoded = decode_execution(json_object(body), {})
    except errors.PoolRefused:
        return
    assert isinstance(decoded.stdout, str)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_list_is_files_or_a_typed_error(body: bytes) -> None:
    try:
        files, _ = decode_file_list(body)
    except errors.PoolRefused:
        return
    assert all(isinstance(file, SessionFile) for file in files)


def test_files_are_named_by_their_path_and_directories_left_out() -> None:
    rows = [
        {"name": "a.csv", "type": "File", "directory": ".", "sizeInBytes": 3, "contentType": "text/csv"},
        {"name": "b.png", "type": "file", "directory": "out", "sizeInBytes": 4},
        {"name": "c.txt", "type": "file", "directory": "/mnt/data/deep/er"},
        {"name": "out", "type": "Directory"},
    ]
    files, link = decode_file_list(json.dumps({"value": rows, "nextLink": None}).encode())
    assert [file.path for file in files] == ["a.csv", "out/b.png", "deep/er/c.txt"]
    assert [file.size_bytes for file in files] == [3, 4, 0]
    assert link is None


SECRET = "https://pool.example/subscriptions/s-1 token eyJ identifier abc"
ERRORS: list[tuple[int, dict[str, str], Any, type[errors.PoolError], str]] = [
    (400, {}, {"error": {"code": "SessionPropertiesMissing", "message": SECRET}}, errors.PoolRefused, "Properties"),
    (400, {}, {"type": "x", "title": "One or more validation errors occurred."}, errors.PoolRefused, "400"),
    (400, {}, "Shell execution is not supported", errors.PoolRefused, "400"),
    (401, {}, "", errors.PoolUnauthorized, "401"),
    (403, {}, "", errors.PoolForbidden, "403"),
    (404, {}, "", errors.PoolNotFound, "404"),
    (404, {}, {"error": {"code": "FileNotFound"}}, errors.SessionFileNotFound, "file"),
    (413, {}, "", errors.PoolLimitExceeded, "413"),
    (429, {}, {"code": "SessionsCountExceedsLimit", "message": SECRET}, errors.PoolFull, "SessionsCountExceedsLimit"),
    (404, {}, {"code": "SessionsCountExceedsLimit"}, errors.PoolFull, "no free session"),
    (500, {"x-ms-error-code": "Boom"}, "", errors.PoolUnavailable, "Boom"),
    (503, {}, "<html>", errors.PoolUnavailable, "503"),
]


@pytest.mark.parametrize(("status", "headers", "body", "kind", "word"), ERRORS)
def test_every_documented_error_becomes_its_type(
    status: int, headers: dict[str, str], body: Any, kind: type[errors.PoolError], word: str
) -> None:
    raw = body if isinstance(body, str) else json.dumps(body)
    error = decode_error(status, headers, raw.encode())
    assert type(error) is kind
    assert word in error.detail
    assert error.remedy
    assert "example" not in f"{error} {error.detail}"


def test_retry_after_reaches_the_error() -> None:
    assert decode_error(429, {"retry-after": "7"}, b"").retry_after_seconds == 7


@given(JSON, st.text())
def test_codes_are_plain_words_or_nothing(body: object, header: str) -> None:
    code = error_code({"x-ms-error-code": header}, json.dumps(body).encode())
    assert code == "" or code.replace("_", "").isalnum()
