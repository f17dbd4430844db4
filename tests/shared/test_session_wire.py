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
    SessionFile,
    check_api_version,
    decode_error,
    decode_execution,
    decode_file_list,
    error_code,
    execution_body,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def execution(result: dict[str, Any], status: str = "Succeeded", headers: dict[str, str] | None = None) -> Any:
    body = json.dumps({"id": "e", "identifier": "i", "status": status, "result": result})
    return decode_execution(body.encode(), headers or {})


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
    assert decoded.picture.content_type == "image/png"
    assert decoded.picture.data == b"png"
    assert decoded.result is None


def test_a_dictionary_that_only_looks_like_a_picture_stays_a_result() -> None:
    value = {"type": "image", "format": "../x", "base64_data": "!"}
    assert execution({"executionResult": value}).result == value


def test_headers_tell_of_a_new_session() -> None:
    decoded = execution({}, headers={"x-ms-new-allocation": "True", "x-ms-session-guid": "g"})
    assert decoded.new_allocation
    assert decoded.session_guid == "g"


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_reply_is_an_execution_or_a_typed_error(body: bytes) -> None:
    try:
        decoded = decode_execution(body, {})
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
    assert decode_error(429, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"").retry_after_seconds is None


@given(JSON, st.text())
def test_codes_are_plain_words_or_nothing(body: object, header: str) -> None:
    code = error_code({"x-ms-error-code": header}, json.dumps(body).encode())
    assert code == "" or code.replace("_", "").isalnum()
