"""Which fault of a run's request has which code, and which requests are repetitions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.chat_request import parse_body
from shared.errors import InvalidRequest
from shared.run_request import RunRequest, request_key
from shared.settings import Settings

LIMITS = Settings(run_max_tokens=1000, chat_deadline_seconds=100)
URL = "https://prod-01.westeurope.logic.azure.com/workflows/w/runs/r/actions/a/run?sig=s3cret"


def accept(body: Any) -> RunRequest:
    request = parse_body(json.dumps(body).encode(), "application/json", RunRequest)
    request.check_limits(LIMITS)
    return request


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "message_missing"),
        ({"message": " "}, "message_empty"),
        ({"message": "x", "callback": URL}, "unknown_field"),
        ({"message": "x", "callback_url": 1}, "field_type_invalid"),
        ({"message": "x", "deadline_seconds": 3401}, "deadline_out_of_range"),
        ({"message": "x", "deadline_seconds": 0}, "deadline_out_of_range"),
        ({"message": "x", "max_total_tokens": 0}, "max_total_tokens_out_of_range"),
        ({"message": "x", "max_total_tokens": 1001}, "max_total_tokens_out_of_range"),
        ({"message": "x", "max_total_tokens": 1.5}, "field_type_invalid"),
    ],
)
def test_each_fault_has_its_code(body: Any, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        accept(body)
    assert (caught.value.code, caught.value.status) == (code, 400)


def test_a_run_may_take_longer_than_a_chat() -> None:
    request = accept({"message": "x", "deadline_seconds": 3400, "max_total_tokens": 1000, "callback_url": URL})
    assert (request.deadline_seconds, request.max_total_tokens, request.callback_url) == (3400.0, 1000, URL)


def test_the_app_says_how_long_a_run_may_take() -> None:
    request = RunRequest(message="x", deadline_seconds=401)
    request.check_limits(Settings(run_max_deadline_seconds=401))
    with pytest.raises(InvalidRequest, match="1 to 400"):
        request.check_limits(Settings(run_max_deadline_seconds=400))


def test_the_callback_address_is_not_in_the_requests_repr() -> None:
    assert "s3cret" not in repr(accept({"message": "x", "callback_url": URL}))


@pytest.mark.parametrize(
    "body",
    [
        b'{"max_turns": 3, "message": "caf\\u00e9"}',
        '{"message":"café","max_turns":3}'.encode(),
        b'{"message": "caf\\u00e9", "max_turns": 3, "session_id": null, "files": []}',
    ],
)
def test_bodies_that_ask_for_the_same_have_one_fingerprint(body: bytes) -> None:
    expected = accept({"message": "café", "max_turns": 3}).fingerprint()
    assert parse_body(body, "application/json", RunRequest).fingerprint() == expected


@pytest.mark.parametrize(
    "change",
    [
        {"message": "y"},
        {"max_turns": 3},
        {"deadline_seconds": 60},
        {"session_id": "s"},
        {"callback_url": URL},
        {"max_total_tokens": 7},
        {"files": [{"name": "a", "content": ""}]},
    ],
)
def test_bodies_that_ask_for_something_else_have_another(change: dict[str, Any]) -> None:
    assert accept({"message": "x", **change}).fingerprint() != accept({"message": "x"}).fingerprint()


ACTION = {"x-ms-action-tracking-id": "a-1"}
WORKFLOW = {"x-ms-workflow-run-id": "0858", "x-ms-workflow-operation-name": "Run_agents"}


def test_a_key_of_the_callers_counts_before_what_logic_apps_sends() -> None:
    explicit = request_key({"idempotency-key": "k", **ACTION, **WORKFLOW})
    assert explicit == request_key({"idempotency-key": "k"})
    by_action = request_key({**ACTION, **WORKFLOW})
    assert by_action == request_key(ACTION)
    by_workflow = request_key(WORKFLOW)
    assert None not in (explicit, by_action, by_workflow)
    assert len({explicit, by_action, by_workflow}) == 3


def test_what_changes_with_each_attempt_is_no_key() -> None:
    headers = {"x-ms-tracking-id": "t", "x-ms-client-request-id": "c", "x-ms-client-tracking-id": "d"}
    assert request_key(headers) is None
    assert request_key({"x-ms-workflow-run-id": "0858"}) is None


def test_the_same_text_in_two_headers_is_two_keys() -> None:
    assert request_key({"idempotency-key": "a-1"}) != request_key(ACTION)


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "é", "a\x7f", "a\n"])
def test_a_key_is_1_to_255_visible_characters(key: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        request_key({"idempotency-key": key})
    assert caught.value.code == "idempotency_key_invalid"


def test_a_key_may_be_as_long_as_that() -> None:
    assert request_key({"idempotency-key": "x" * 255}) is not None
