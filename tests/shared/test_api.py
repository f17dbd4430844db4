"""Replies and problems, free of any host."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from shared import VERSION, api, errors, settings
from shared.settings import Settings


def post(body: Any) -> api.Request:
    return api.Request("POST", {"content-type": "application/json"}, {}, json.dumps(body).encode())


@pytest.fixture(autouse=True)
def _fresh_settings() -> None:
    settings.current.cache_clear()


def test_health_says_the_version() -> None:
    reply = api.health(api.Request("GET", {}, {}))
    assert (reply.status, json.loads(reply.body)) == (200, {"status": "alive", "version": VERSION})


def test_a_missing_model_is_a_problem_that_names_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OAI_CONFIG_LIST", "AZURE_OPENAI_ENDPOINT", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    reply = api.chat(post({"message": "x"}))
    problem = json.loads(reply.body)
    assert (reply.status, problem["code"]) == (500, "setting_invalid")
    assert "AZURE_OPENAI_ENDPOINT" in problem["detail"]
    assert reply.headers["Content-Type"] == "application/problem+json"


def test_an_unforeseen_error_is_a_problem_without_its_words(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "".join(["a", "b", "c"])

    def broken() -> Settings:
        raise ZeroDivisionError(secret)

    monkeypatch.setattr(settings, "current", broken)
    reply = api.chat(post({"message": "x"}))
    assert (reply.status, json.loads(reply.body)["code"]) == (500, "internal_error")
    assert "ZeroDivisionError" in caplog.text
    assert secret not in caplog.text + reply.body.decode()
    monkeypatch.undo()


def test_errors_say_when_to_come_back() -> None:
    reply = api.problem(errors.PoolFull("The pool is full.", retry_after_seconds=7))
    assert reply.headers["Retry-After"] == "7"
    assert json.loads(reply.body)["remedy"] == errors.PoolFull.remedy


def test_easy_auth_counts_only_where_it_is_on() -> None:
    headers = {"x-ms-client-principal-id": "anna", "x-ms-client-principal-idp": "aad"}
    assert api.caller_of(headers, Settings()) == ""
    assert api.caller_of(headers, Settings(website_auth_enabled="True")) == "aad:anna"
    assert api.caller_of({}, Settings(website_auth_enabled="true")) == ""


def test_libraries_do_not_log_addresses() -> None:
    for name in ("httpx", "urllib3.connectionpool", "azure.core.pipeline"):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO)


def test_every_error_has_its_own_code_and_a_remedy() -> None:
    def below(kind: type[errors.ServiceError]) -> set[type[errors.ServiceError]]:
        return {kind}.union(*(below(child) for child in kind.__subclasses__()))

    kinds = below(errors.ServiceError) - {errors.InvalidRequest}
    codes = [kind.code for kind in kinds]
    assert len(codes) == len(set(codes))
    assert all(kind.remedy.endswith(".") and kind.title for kind in kinds)
