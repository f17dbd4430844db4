"""What all API versions have in common."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.session_pool import wire
from local.session_pool.app import checked_identifier
from local.session_pool.errors import Refusal
from local.session_pool.wire import DIALECTS, NEWEST, OLDEST, Dialect
from local.session_pool.wire.dialect import (
    COMMAND_BYTES_MAX,
    EXECUTION_SECONDS_MAX,
    STREAM_LENGTH_MAX,
    rfc3339,
    whole,
)
from tests.local.session_pool.wire.bodies import BODIES, BODY, FILES, read, record, refused

ALL = [OLDEST, *DIALECTS.values()]
FLAT = DIALECTS[NEWEST]


def version(dialect: Dialect) -> str:
    return dialect.version


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1e15, "9999-12-31T23:59:59.000000Z"),
        (float("inf"), "9999-12-31T23:59:59.000000Z"),
        (-1e15, "0001-01-01T00:00:00.000000Z"),
    ],
)
def test_any_time_can_be_written(seconds: float, written: str) -> None:
    assert rfc3339(seconds) == written


def wrapped(dialect: Dialect, body: dict[str, Any]) -> dict[str, Any]:
    """The body in the form of a version."""
    if dialect is OLDEST:
        body = {"pythonCode" if name == "code" else name: value for name, value in body.items()}
    return body if dialect.call("POST", "/executions") else {"properties": body}


def test_versions_of_the_service() -> None:
    assert list(DIALECTS) == [
        "2024-02-02-preview",
        "2024-08-02-preview",
        "2024-10-02-preview",
        "2025-02-02-preview",
        "2025-10-02-preview",
    ]
    assert all(dialect.version == name for name, dialect in DIALECTS.items())


def test_dialect_of_a_request() -> None:
    for name, dialect in DIALECTS.items():
        assert wire.dialect_of(name, "/executions", loose=False) is dialect
        assert wire.dialect_of(name, "/python/execute", loose=False) is OLDEST
    assert wire.dialect_of("", "/python/files", loose=False) is OLDEST
    for unknown in ("", "2023-08-01-preview", "2099-01-01"):
        assert wire.dialect_of(unknown, "/pythonic", loose=False) is None
        assert wire.dialect_of(unknown, "/files", loose=True) is FLAT


def test_speakers_of_an_operation() -> None:
    assert [dialect.version for dialect, _ in wire.speakers("GET", "/metadata")] == [
        "2025-02-02-preview",
        "2025-10-02-preview",
    ]
    assert len(wire.speakers("GET", "/files")) == len(DIALECTS)
    assert wire.speakers("GET", "/none") == []


@pytest.mark.parametrize("dialect", ALL, ids=version)
def test_defaults(dialect: Dialect) -> None:
    request = read(dialect, wrapped(dialect, BODY))
    assert (request.code, request.asynchronous, request.empty_kernel) == ("1+1", False, False)
    assert (request.timeout_seconds, request.told_timeout, request.stream_length) == (220, False, 4096)


@pytest.mark.parametrize("dialect", ALL, ids=version)
@pytest.mark.parametrize("kind", ["inline", "Inline", "InlineText", "INLINE", "inlinetext"])
@pytest.mark.parametrize("execution", ["Synchronous", "synchronous", "SYNCHRONOUS"])
def test_enumerations_in_any_case(dialect: Dialect, kind: str, execution: str) -> None:
    body = wrapped(dialect, {**BODY, "codeInputType": kind, "executionType": execution})
    assert read(dialect, body).code == "1+1"


@pytest.mark.parametrize("dialect", ALL, ids=version)
def test_base64_code(dialect: Dialect) -> None:
    def body(code: str) -> dict[str, Any]:
        return wrapped(dialect, {**BODY, "codeInputType": "inlinebase64", "code": code})

    assert read(dialect, body(base64.b64encode("print('é')".encode()).decode())).code == "print('é')"
    for wrong in ("%%%", "YQ", "é", "\ud800", base64.b64encode(b"\xff").decode()):
        assert refused(dialect, body(wrong)) == (400, "SessionRequestValidationFailed")


@pytest.mark.parametrize("dialect", ALL, ids=version)
@pytest.mark.parametrize(
    "change",
    [
        {"codeInputType": "File"},
        {"codeInputType": None},
        {"codeInputType": 5},
        {"executionType": "Later"},
        {"executionType": None},
        {"timeoutInSeconds": 0},
        {"timeoutInSeconds": -1},
        {"timeoutInSeconds": True},
        {"timeoutInSeconds": 1.5},
        {"timeoutInSeconds": 60.0},
        {"timeoutInSeconds": "5"},
        {"timeoutInSeconds": [5]},
        {"code": "'\ud800'"},
    ],
)
def test_values_of_another_form(dialect: Dialect, change: dict[str, Any]) -> None:
    body = wrapped(dialect, {**BODY, **change})
    for loose in (False, True):
        assert refused(dialect, body, loose=loose) == (400, "SessionRequestValidationFailed")


@pytest.mark.parametrize("dialect", ALL, ids=version)
@pytest.mark.parametrize("body", [{}, [], None, "code", 5, {"properties": None}, {"properties": []}])
def test_bodies_without_code(dialect: Dialect, body: Any) -> None:
    for loose in (False, True):
        assert refused(dialect, body, loose=loose) == (400, "SessionPropertiesMissing")


@pytest.mark.parametrize("dialect", ALL, ids=version)
@pytest.mark.parametrize("code", [None, 5, ["1+1"], {"a": 1}])
def test_code_that_is_no_text(dialect: Dialect, code: Any) -> None:
    assert refused(dialect, wrapped(dialect, {**BODY, "code": code})) == (400, "SessionPropertiesMissing")


@pytest.mark.parametrize("dialect", ALL, ids=version)
@pytest.mark.parametrize(
    ("given_seconds", "strict", "loose"), [(1, 1, 1), (220, 220, 220), (221, 0, 220), (900, 0, 220)]
)
def test_timeouts(dialect: Dialect, given_seconds: int, strict: int, loose: int) -> None:
    body = wrapped(dialect, {**BODY, "timeoutInSeconds": given_seconds})
    forgiven = read(dialect, body, loose=True)
    assert (forgiven.timeout_seconds, forgiven.told_timeout) == (loose, True)
    if strict:
        assert read(dialect, body).timeout_seconds == strict
    else:
        assert refused(dialect, body) == (400, "SessionRequestValidationFailed")


def test_whole_numbers() -> None:
    assert [whole(body, "n", 7, 9) for body in ({}, {"n": None}, {"n": 1}, {"n": 9})] == [7, 7, 1, 9]
    assert whole({"n": 10**400}, "n", 7, 9, loose=True) == 9
    wrong_ones: list[Any] = [0, -1, 10, 1.0, True, "1", [], {}, float("nan")]
    for wrong in wrong_ones:
        with pytest.raises(Refusal) as refusal:
            whole({"n": wrong}, "n", 7, 9)
        assert (refusal.value.status, refusal.value.target) == (400, "n")


@pytest.mark.parametrize("dialect", ALL, ids=version)
@pytest.mark.parametrize("commands", [False, True])
@pytest.mark.parametrize("loose", [False, True])
def test_any_body_is_read_or_refused(dialect: Dialect, commands: bool, loose: bool) -> None:
    @given(body=BODIES)
    def explore(body: Any) -> None:
        refusal, request = None, None
        try:
            request = read(dialect, body, commands=commands, loose=loose)
        except Refusal as error:
            refusal = error
        if request is None:
            assert refusal is not None
            assert refusal.status in (400, 501)
            assert refusal.body() is not None
            return
        assert 1 <= request.timeout_seconds <= EXECUTION_SECONDS_MAX
        assert 1 <= request.stream_length <= STREAM_LENGTH_MAX
        assert not commands or len(request.code.encode()) <= COMMAND_BYTES_MAX
        request.code.encode()

    explore()


@pytest.mark.parametrize("dialect", ALL, ids=version)
def test_any_body_names_a_session_or_none(dialect: Dialect) -> None:
    @given(body=BODIES, query=st.dictionaries(st.sampled_from(["identifier", "path"]), st.text(max_size=5)))
    def explore(body: Any, query: dict[str, str]) -> None:
        identifier = dialect.identifier(query, body)
        assert isinstance(identifier, str)
        if query.get("identifier"):
            assert identifier == query["identifier"]

    explore()


@given(method=st.sampled_from(["GET", "POST", "DELETE", "PUT"]), path=st.text(max_size=30).map("/{}".format))
def test_any_path_is_an_operation_or_none(method: str, path: str) -> None:
    for dialect in ALL:
        call = dialect.call(method, path)
        assert call is None or call.name == "" or "/files/" in path or "/executions/" in path


@pytest.mark.parametrize("dialect", ALL, ids=version)
def test_replies_are_json_objects(dialect: Dialect) -> None:
    for reply in (
        *(dialect.execution(record(result)) for result in ("", None, 2, "nan", [1], {"a": 1})),
        dialect.execution(record(succeeded=False)),
        dialect.file_list(FILES),
        dialect.file_list([]),
        dialect.uploaded(FILES[1]),
    ):
        assert isinstance(reply, dict)
        assert reply


@pytest.mark.parametrize("identifier", ["abcd", "x" * 128, "9f0c2a4be1d84c6f8d1f6f0e6c1b7a55", "a|b&c^d%e$", "a/b?c#d"])
def test_identifier_is_accepted(identifier: str) -> None:
    assert checked_identifier(identifier) == identifier


@pytest.mark.parametrize("identifier", ["", "abc", "x" * 129, "abc d", "abcd\n", "abcdé", "abc\\d", "abc\0"])
def test_identifier_is_refused(identifier: str) -> None:
    with pytest.raises(Refusal) as refusal:
        checked_identifier(identifier)
    assert (refusal.value.status, refusal.value.target) == (400, "identifier")
    assert len(identifier) < 4 or identifier not in str(refusal.value)


@given(seconds=st.integers(0, 4_000_000_000))
def test_times_are_rfc_3339_in_utc(seconds: int) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000000Z", rfc3339(seconds))
