"""Which fault of a request has which code."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.chat_request import ChatRequest, parse_body, parse_query
from shared.errors import InvalidRequest, SettingError
from shared.settings import Settings

LIMITS = Settings(chat_max_message_characters=20, chat_max_files=2, chat_max_file_bytes=10, chat_deadline_seconds=100)
JSON_TYPE = "application/json; charset=utf-8"


def accept(body: Any, content_type: str = JSON_TYPE) -> ChatRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = parse_body(raw, content_type, ChatRequest)
    request.check_limits(LIMITS)
    request.decoded_files(LIMITS)
    return request


def file(name: str = "a.csv", content: bytes = b"1") -> dict[str, str]:
    return {"name": name, "content": base64.b64encode(content).decode()}


@pytest.mark.parametrize(
    ("body", "code", "status"),
    [
        (b"{", "malformed_json", 400),
        (b"", "malformed_json", 400),
        (b"[]", "malformed_json", 400),
        (b"\xff\xfe", "malformed_json", 400),
        ({}, "message_missing", 400),
        ({"message": ""}, "message_empty", 400),
        ({"message": " \n"}, "message_empty", 400),
        ({"message": "x" * 21}, "message_too_long", 400),
        ({"message": 3}, "field_type_invalid", 400),
        ({"message": "x", "mesage": "y"}, "unknown_field", 400),
        ({"message": "x", "session_id": "a/b"}, "session_id_invalid", 400),
        ({"message": "x", "session_id": ""}, "session_id_invalid", 400),
        ({"message": "x", "session_id": "a\n"}, "session_id_invalid", 400),
        ({"message": "x", "max_turns": 0}, "max_turns_out_of_range", 400),
        ({"message": "x", "max_turns": 51}, "max_turns_out_of_range", 400),
        ({"message": "x", "max_turns": True}, "field_type_invalid", 400),
        ({"message": "x", "max_turns": "3"}, "field_type_invalid", 400),
        ({"message": "x", "max_turns": 3.5}, "field_type_invalid", 400),
        (b'{"message": "x", "max_turns": 1e400}', "field_type_invalid", 400),
        ({"message": "x", "deadline_seconds": 0.5}, "deadline_out_of_range", 400),
        ({"message": "x", "deadline_seconds": 101}, "deadline_out_of_range", 400),
        (b'{"message": "x", "deadline_seconds": NaN}', "deadline_out_of_range", 400),
        ({"message": "x", "files": [file(), file("b"), file("c")]}, "too_many_files", 400),
        ({"message": "x", "files": [file("../a")]}, "file_name_invalid", 400),
        ({"message": "x", "files": [file("a/b")]}, "file_name_invalid", 400),
        ({"message": "x", "files": [file("..")]}, "file_name_invalid", 400),
        ({"message": "x", "files": [file("a:b")]}, "file_name_invalid", 400),
        ({"message": "x", "files": [file(""), file()]}, "file_name_invalid", 400),
        ({"message": "x", "files": [file(" a.csv")]}, "file_name_invalid", 400),
        ({"message": "x", "files": [file("a.csv.")]}, "file_name_invalid", 400),
        ({"message": "x", "files": [file(), file()]}, "file_name_taken", 400),
        ({"message": "x", "files": [{"name": "a", "content": "%%%"}]}, "file_content_invalid", 400),
        ({"message": "x", "files": [file(content=b"x" * 11)]}, "files_too_large", 413),
        ({"message": "x", "files": [{"name": "a"}]}, "content_missing", 400),
    ],
)
def test_each_fault_has_its_code(body: Any, code: str, status: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        accept(body)
    assert (caught.value.code, caught.value.status) == (code, status)
    assert caught.value.detail
    assert caught.value.remedy


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_other_content_types_are_refused(content_type: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        accept({"message": "x"}, content_type)
    assert (caught.value.code, caught.value.status) == ("content_type_unsupported", 415)


def test_a_full_request_is_taken() -> None:
    request = accept(
        {"message": "x", "session_id": "s-1", "max_turns": 3, "deadline_seconds": 30, "files": [file("é 1.csv")]}
    )
    assert request.decoded_files(LIMITS) == {"é 1.csv": b"1"}
    assert (request.session_id, request.max_turns, request.deadline_seconds) == ("s-1", 3, 30.0)


def test_json_knows_one_kind_of_number() -> None:
    assert accept(b'{"message": "x", "max_turns": 3.0}').max_turns == 3


def test_a_caller_may_ask_for_as_many_turns_as_the_app_may_be_set_to() -> None:
    assert accept({"message": "x", "max_turns": 50}).max_turns == 50
    assert Settings.from_environment({"CHAT_MAX_TURNS": "50"}).chat_max_turns == 50
    with pytest.raises(SettingError):
        Settings.from_environment({"CHAT_MAX_TURNS": "51"})


def test_the_query_form_takes_numbers_as_text_and_ignores_the_hosts_key() -> None:
    request = parse_query({"message": "x", "max_turns": "3", "code": "key"})
    assert (request.message, request.max_turns) == ("x", 3)
    for query, code in [({}, "message_missing"), ({"message": "x", "a": "b"}, "unknown_field")]:
        with pytest.raises(InvalidRequest) as caught:
            parse_query(query)
        assert caught.value.code == code


@given(
    st.binary()
    | st.dictionaries(st.text(), st.text() | st.integers() | st.none()).map(lambda d: json.dumps(d).encode())
)
def test_any_body_is_taken_or_refused_with_a_code(body: bytes) -> None:
    try:
        message = accept(body).message
    except InvalidRequest as error:
        message = error.code
    assert message.strip()
