"""Replies and problems, free of any host."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from shared import VERSION, api, errors, settings
from shared.aca_sessions_executor import ACASessionsExecutor
from shared.session import session_identifier
from shared.settings import Settings
from tests.scripted_pool import Credential


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


class BrokenHeaders(dict[str, str]):
    def get(self, name: str, default: Any = None) -> Any:
        raise ZeroDivisionError("".join(["a", "b", "c"]))


def test_an_unforeseen_error_is_a_problem_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    reply = api.chat(api.Request("POST", BrokenHeaders(), {}, b"{}"))
    assert (reply.status, json.loads(reply.body)["code"]) == (500, "internal_error")
    assert "ZeroDivisionError" in caplog.text
    assert "abc" not in caplog.text + reply.body.decode()


def test_half_a_surrogate_pair_makes_no_reply_fail() -> None:
    reply = api.problem(errors.ServiceError("half \ud800 of a pair"))
    assert json.loads(reply.body.decode("utf-8"))["detail"] == "half ? of a pair"


def test_errors_say_when_to_come_back() -> None:
    reply = api.problem(errors.PoolFull("The pool is full.", retry_after_seconds=7))
    assert reply.headers["Retry-After"] == "7"
    assert json.loads(reply.body)["remedy"] == errors.PoolFull.remedy
    assert api.problem(errors.ModelBusy()).headers["Retry-After"] == "10"
    assert "Retry-After" not in api.problem(errors.ServiceError()).headers


def test_easy_auth_counts_only_where_it_is_on() -> None:
    headers = {"x-ms-client-principal-id": "anna", "x-ms-client-principal-idp": "aad"}
    assert api.caller_of(headers, Settings()) == ""
    assert api.caller_of(headers, Settings(website_auth_enabled="True")) == "aad:anna"
    assert api.caller_of({}, Settings(website_auth_enabled="true")) == ""


def test_libraries_do_not_log_addresses() -> None:
    for name in ("httpx", "urllib3.connectionpool", "azure.core.pipeline"):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO)


def malformed_header() -> Iterator[str]:
    """The address of a server whose reply has a line that is no header."""
    body = b'{"status": "Succeeded", "result": {}}'
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10)
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nno header\r\n\r\n" % len(body) + body)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


def test_a_malformed_header_logs_no_identifier(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), contextmanager(malformed_header)() as url:
        executor = ACASessionsExecutor(url, credential=Credential(), session_id="s")
        assert executor.run("1").succeeded
    assert session_identifier("", "s") not in caplog.text


def test_every_error_has_its_own_code_and_a_remedy() -> None:
    def below(kind: type[errors.ServiceError]) -> set[type[errors.ServiceError]]:
        return {kind}.union(*(below(child) for child in kind.__subclasses__()))

    kinds = below(errors.ServiceError) - {errors.InvalidRequest}
    codes = [kind.code for kind in kinds]
    assert len(codes) == len(set(codes))
    assert all(kind.remedy.endswith(".") and kind.title for kind in kinds)
