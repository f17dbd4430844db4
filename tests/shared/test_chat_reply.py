"""A chat's outcome and its problem as JSON."""

from __future__ import annotations

import json

import pytest

from shared.chat import ChatOutcome
from shared.chat_reply import encoded, outcome_body, problem_body, step_body
from shared.errors import InvalidRequest, PoolFull, ServiceError
from shared.harvest import Harvest, MadeFile, MadePicture
from shared.session_wire import Picture, SessionFile
from shared.steps import Step, Usage


def outcome(harvest: Harvest) -> ChatOutcome:
    steps = (Step(1, "CodeWriter", "code"), Step(2, "CodeExecutor", "42", 0, ("picture-1.png",)))
    return ChatOutcome("s", "completed", "42", steps, harvest, Usage("m", 1, 2, 3), [{"content": "x"}], {"total": 0})


def test_an_outcome_has_the_fields_of_the_contract() -> None:
    body = outcome_body(outcome(Harvest()))
    assert list(body) == [
        "session_id",
        "status",
        "result",
        "steps",
        "pictures",
        "files",
        "usage",
        "chat_history",
        "cost",
    ]
    assert body["usage"] == {"model": "m", "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def test_pictures_and_small_files_bring_their_bytes() -> None:
    large, small = (SessionFile(name, 1, "text/csv", "") for name in ("large.csv", "small.csv"))
    picture = MadePicture("a.png", Picture("image/png", b"1"))
    body = outcome_body(outcome(Harvest((picture,), (MadeFile(large), MadeFile(small, b"2")), ("cut",))))
    assert body["pictures"] == [{"name": "a.png", "content_type": "image/png", "content": "MQ=="}]
    assert body["files"] == [
        {"name": "large.csv", "size_bytes": 1, "content_type": "text/csv"},
        {"name": "small.csv", "size_bytes": 1, "content_type": "text/csv", "content": "Mg=="},
    ]
    assert body["warnings"] == ["cut"]


def test_a_step_has_what_applies_to_it() -> None:
    assert step_body(Step(1, "CodeWriter", "code")) == {"index": 1, "agent": "CodeWriter", "content": "code"}
    assert step_body(Step(2, "CodeExecutor", "42", 0, ("a.png",))) == {
        "index": 2,
        "agent": "CodeExecutor",
        "content": "42",
        "exit_code": 0,
        "pictures": ["a.png"],
    }


@pytest.mark.parametrize(
    ("error", "code", "field"),
    [
        (PoolFull(), "pool_full", None),
        (InvalidRequest("too_long", "It is too long.", field="message"), "too_long", "message"),
    ],
)
def test_a_problem_has_its_code_and_the_field_at_fault(error: ServiceError, code: str, field: str | None) -> None:
    body = problem_body(error)
    assert (body["code"], body["status"], body["remedy"], body.get("field")) == (
        code,
        error.status,
        error.remedy,
        field,
    )


def test_half_a_surrogate_pair_has_a_place_in_no_reply() -> None:
    assert json.loads(encoded({"result": "\ud800é"})) == {"result": "?é"}
