"""Both API documents against the real app: whatever a client sends by them, the answer is as they say, and no 500."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from local import azurite
from local.stack import Stack
from shared.openapi import OPERATIONS
from tests.needs import need

EXAMPLES, EXAMPLES_OF_CHATS = 12, 5
POSITIVE, NEGATIVE = GenerationMode("positive"), GenerationMode("negative")
VERSIONS = ("openapi.json", "swagger.json")
# What the app answers is as documented.
CONFORMITY = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


@pytest.fixture(scope="module", autouse=True)
def _storage() -> None:
    need(azurite.missing())


@pytest.fixture(scope="module", params=VERSIONS)
def document(request: pytest.FixtureRequest, stack: Stack) -> Any:
    return schemathesis.openapi.from_url(f"{stack.url}/api/{request.param}", timeout=30)


def fuzz(operation: Any, mode: GenerationMode, **values: Any) -> list[int]:
    """The statuses of what was answered, as documented.

    Args:
        operation: of a document.
        mode: whether what is sent is as documented.
        values: parts of a request instead of what was generated.
    """
    statuses: list[int] = []
    examples = EXAMPLES_OF_CHATS if operation.path == "/chat" else EXAMPLES
    wanted = CHECKS.get_by_names(CONFORMITY)

    @given(case=operation.as_strategy(generation_mode=mode))
    @hypothesis_settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    def send(case: Any) -> None:
        for name, value in values.items():
            setattr(case, name, {**(getattr(case, name) or {}), **value})
        response = case.call_and_validate(checks=wanted, timeout=60)
        statuses.append(response.status_code)

    send()
    return statuses


WITH_INPUT = [operation for operation in OPERATIONS if operation.name != "Health"]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: str(operation.name))
def test_what_is_sent_by_the_document_is_answered_by_it(document: Any, operation: Any) -> None:
    statuses = fuzz(document[operation.path][operation.method.upper()], POSITIVE)
    # Not everything is refused before it gets anywhere; but what a run's own address opens is not generated.
    assert {200, 202} & set(statuses) or operation.name in ("GetRun", "CancelRun", "CancelRunByKey")


@pytest.mark.parametrize("operation", WITH_INPUT, ids=lambda operation: str(operation.name))
def test_what_is_sent_against_the_document_is_answered_by_it_too(document: Any, operation: Any) -> None:
    # A path that is no route at all is the host's to answer.
    values = {"path_parameters": {"run_id": "no-run"}} if "{run_id}" in operation.path else {}
    assert fuzz(document[operation.path][operation.method.upper()], NEGATIVE, **values)


@pytest.mark.parametrize("name", ["GetRun", "CancelRun"])
@pytest.mark.parametrize("mode", [POSITIVE, NEGATIVE])
def test_a_run_is_followed_and_cancelled_by_the_document(
    stack: Stack, document: Any, name: str, mode: GenerationMode
) -> None:
    accepted = requests.post(f"{stack.url}/api/runs", json={"message": "What is 6 times 7?"}, timeout=30).json()
    operation = next(operation for operation in OPERATIONS if operation.name == name)
    statuses = fuzz(
        document[operation.path][operation.method.upper()],
        mode,
        path_parameters={"run_id": accepted["run_id"]},
        query={"token": accepted["status_url"].partition("token=")[2]},
    )
    assert {200, 202, 400} >= set(statuses)
    assert {200, 202} & set(statuses)
