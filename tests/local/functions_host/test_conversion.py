from __future__ import annotations

import json

import azure.functions as func
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.functions_host.conversion import ResponseError, join_headers, join_query, to_reply

PLAIN = ("content-type", "text/plain; charset=utf-8")


def test_header_names_are_lower_case_and_values_joined() -> None:
    raw = [(b"X-A", b"1"), (b"x-a", b"2"), (b"Empty", b""), (b"X-Name", "é".encode())]
    assert join_headers(raw) == {"x-a": "1,2", "empty": "", "x-name": "é"}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", {}),
        (b"a=1&a=2", {"a": "1,2"}),
        (b"a=1&A=2", {"a": "1,2"}),
        (b"a=&b&c=3", {"c": "3"}),
        (b"a=&a=1", {"a": "1"}),
        (b"m=a+b%20c%C3%A9", {"m": "a b cé"}),
    ],
)
def test_query(query: bytes, expected: dict[str, str]) -> None:
    assert join_query(query) == expected


@given(st.binary())
def test_any_query_is_read(query: bytes) -> None:
    assert all(join_query(query).values())


def test_response_object() -> None:
    reply = to_reply(func.HttpResponse("é", status_code=202, headers={"Location": "/x", "Retry-After": "5"}))
    assert (reply.status, reply.body) == (202, "é".encode())
    assert {name.lower(): value for name, value in reply.headers} == {
        "location": "/x",
        "retry-after": "5",
        "content-type": "text/plain; charset=utf-8",
    }


def test_mime_type_without_text_gets_no_charset() -> None:
    reply = to_reply(func.HttpResponse(b"{}", mimetype="application/json"))
    assert [value for name, value in reply.headers if name.lower() == "content-type"] == ["application/json"]


def test_own_content_type_stays_alone() -> None:
    reply = to_reply(func.HttpResponse(b"{}", headers={"Content-Type": "application/problem+json"}))
    assert [value for name, value in reply.headers if name.lower() == "content-type"] == ["application/problem+json"]


def test_every_cookie_is_its_own_header() -> None:
    response = func.HttpResponse("x")
    response.headers.add("Set-Cookie", "a=1; Path=/; HttpOnly")
    response.headers.add("Set-Cookie", "b=2; Max-Age=5")
    cookies = [value for name, value in to_reply(response).headers if name == "set-cookie"]
    assert cookies == ["a=1; HttpOnly; Path=/", "b=2; Max-Age=5"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello", "hello"),
        ("", ""),
        ("null", ""),
        ("42", "42"),
        ("true", "True"),
        ('"quoted"', "quoted"),
        ('{"a":[1,{}]}', '{\n  "a": [\n    1,\n    {}\n  ]\n}'),
        ('{"é":1}', '{\n  "é": 1\n}'),
        ("{broken", "{broken"),
    ],
)
def test_text(text: str, expected: str) -> None:
    reply = to_reply(text)
    assert (reply.status, reply.headers, reply.body.decode()) == (200, (PLAIN,), expected)


def test_text_that_is_a_response_object() -> None:
    text = json.dumps({"statusCode": "201", "headers": {"X-A": 1, "Content-Type": "text/html"}, "Body": {"a": 1}})
    reply = to_reply(text)
    assert (reply.status, reply.body) == (201, b'{"a":1}')
    assert reply.headers == (("X-A", "1"), ("Content-Type", "text/html"))


def test_status_without_body_is_only_json() -> None:
    assert to_reply('{"status": 404}').status == 200


@pytest.mark.parametrize("result", [None, {"a": 1}, 5, b"bytes", ["x"]])
def test_other_results_are_failures(result: object) -> None:
    with pytest.raises(ResponseError, match=type(result).__name__):
        to_reply(result)


@pytest.mark.parametrize(
    "response",
    [
        func.HttpResponse("x", headers={"X-A": "é"}),
        func.HttpResponse("x", headers={"X A": "1"}),
        func.HttpResponse("x", status_code=99),
    ],
)
def test_response_that_http_cannot_carry(response: func.HttpResponse) -> None:
    with pytest.raises(ResponseError):
        to_reply(response)


def test_malformed_cookie_is_a_failure() -> None:
    response = func.HttpResponse("x", headers={"Set-Cookie": "a=1; expires=soon"})
    with pytest.raises(ResponseError, match="cookie"):
        to_reply(response)


def test_framing_is_left_to_the_server() -> None:
    reply = to_reply(func.HttpResponse("abc", headers={"Content-Length": "9", "X-A": "1"}))
    assert [name.lower() for name, _ in reply.headers] == ["x-a", "content-type"]
    assert to_reply(func.HttpResponse("abc", status_code=204)).body == b""


@given(st.text())
def test_any_text_becomes_a_reply(text: str) -> None:
    assert 200 <= to_reply(text).status <= 999
