"""The request and reply forms of each API version."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.session_pool import wire
from local.session_pool.errors import Refusal
from local.session_pool.files import FileInfo
from local.session_pool.kernel import Outcome
from local.session_pool.wire import DIALECTS, ExecutionRecord

NEWEST = DIALECTS["2025-10-02-preview"]
BODY = {"codeInputType": "Inline", "executionType": "Synchronous", "code": "1+1"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "codeInputType": st.sampled_from(["Inline", "inlineBase64", "InlineText"]) | JSON,
        "executionType": st.sampled_from(["Synchronous", "asynchronous"]) | JSON,
        "code": st.text(st.characters(), max_size=20) | JSON,
        "timeoutInSeconds": st.integers(-5, 500) | JSON,
        "outputStreamsMaxLength": JSON,
        "properties": JSON,
    },
)


def refused(body: Any, version: str = "2025-10-02-preview") -> Refusal:
    with pytest.raises(Refusal) as refusal:
        DIALECTS[version].execution_request(body)
    return refusal.value


@pytest.mark.parametrize("version", sorted(DIALECTS))
def test_defaults(version: str) -> None:
    request = DIALECTS[version].execution_request(BODY)
    assert request.code == "1+1"
    assert (request.timeout_seconds, request.told_timeout, request.stream_length) == (220, False, 4096)


@pytest.mark.parametrize("kind", ["inline", "Inline", "InlineText", "INLINE"])
def test_input_types_in_any_case(kind: str) -> None:
    assert NEWEST.execution_request({**BODY, "codeInputType": kind}).code == "1+1"


def test_base64_code() -> None:
    code = base64.b64encode("print('é')".encode()).decode()
    body = {**BODY, "codeInputType": "InlineBase64", "code": code}
    assert NEWEST.execution_request(body).code == "print('é')"
    for wrong in ("%%%", base64.b64encode(b"\xff").decode()):
        assert refused({**body, "code": wrong}).status == 400


def test_timeout_and_stream_length_are_read() -> None:
    request = NEWEST.execution_request({**BODY, "timeoutInSeconds": 5, "outputStreamsMaxLength": 9})
    assert (request.timeout_seconds, request.told_timeout, request.stream_length) == (5, True, 9)
    older = DIALECTS["2025-02-02-preview"].execution_request({**BODY, "outputStreamsMaxLength": 9})
    assert older.stream_length == 4096


@pytest.mark.parametrize("body", [{"properties": BODY}, {}, [], None, "code", {**BODY, "code": 5}])
def test_wrapped_or_missing_properties(body: Any) -> None:
    refusal = refused(body)
    assert (refusal.status, refusal.code) == (400, "SessionPropertiesMissing")


@pytest.mark.parametrize(
    "change",
    [
        {"codeInputType": "File"},
        {"codeInputType": None},
        {"executionType": "Later"},
        {"timeoutInSeconds": 0},
        {"timeoutInSeconds": 221},
        {"timeoutInSeconds": True},
        {"timeoutInSeconds": 1.5},
        {"timeoutInSeconds": "5"},
        {"outputStreamsMaxLength": 0},
        {"outputStreamsMaxLength": 10_000_001},
        {"code": "'\ud800'"},
    ],
)
def test_values_out_of_range(change: dict[str, Any]) -> None:
    refusal = refused({**BODY, **change})
    assert (refusal.status, refusal.code) == (400, "SessionRequestValidationFailed")


def test_asynchronous_is_said_to_be_missing() -> None:
    assert refused({**BODY, "executionType": "Asynchronous"}).status == 501


@pytest.mark.parametrize("identifier", ["abcd", "x" * 128, "9f0c2a4be1d84c6f8d1f6f0e6c1b7a55", "a|b&c^d%e$"])
def test_identifier_is_accepted(identifier: str) -> None:
    assert wire.check_identifier(identifier) == identifier


@pytest.mark.parametrize("identifier", ["", "abc", "x" * 129, "abc d", "abcd\n", "abcdé", "abc\\d"])
def test_identifier_is_refused(identifier: str) -> None:
    with pytest.raises(Refusal) as refusal:
        wire.check_identifier(identifier)
    assert refusal.value.status == 400
    assert len(identifier) < 4 or identifier not in str(refusal.value)


@pytest.mark.parametrize(("succeeded", "status"), [(True, "Succeeded"), (False, "Failed")])
def test_execution_reply(succeeded: bool, status: str) -> None:
    reply = NEWEST.execution(ExecutionRecord("e1", "abcd", Outcome(succeeded, "out", "err", 2, 9)))
    assert reply == {
        "id": "e1",
        "identifier": "abcd",
        "executionType": "Synchronous",
        "status": status,
        "result": {"stdout": "out", "stderr": "err", "executionResult": 2, "executionTimeInMilliseconds": 9},
    }


def test_file_reply_names_the_directory_in_the_newest_version_only() -> None:
    info = FileInfo("x.csv", "", False, 3, 0.5)
    row = {
        "name": "x.csv",
        "type": "file",
        "contentType": "text/csv",
        "sizeInBytes": 3,
        "lastModifiedAt": "1970-01-01T00:00:00.500000Z",
    }
    assert DIALECTS["2025-02-02-preview"].file(info) == row
    assert NEWEST.file(info) == {**row, "directory": "."}


@given(body=FIELDS | JSON)
def test_any_body_is_read_or_refused(body: Any) -> None:
    status = 200
    try:
        request = NEWEST.execution_request(body)
    except Refusal as refusal:
        status = refusal.status
    assert status in (400, 501) or (
        1 <= request.timeout_seconds <= 220 and request.stream_length > 0 and request.code.encode() is not None
    )


@given(seconds=st.integers(0, 4_000_000_000))
def test_times_are_rfc_3339_in_utc(seconds: int) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000000Z", wire.rfc3339(seconds))
