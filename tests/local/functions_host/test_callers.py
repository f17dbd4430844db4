"""Whom the host answers: no web page may run code on the developer's machine."""

from __future__ import annotations

import json

import pytest

from tests.local.functions_host.hosting import ServeApp

APP = """
@app.route(methods=["GET", "POST", "OPTIONS"])
def run(req: func.HttpRequest) -> str:
    CALLS.append(req.method)
    return "ran"

CALLS = []
"""
OWN, PAGE = "http://localhost:7071", "https://page.example"


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [
        {"host": "page.example"},
        {"host": "page.example:7071", "origin": "http://page.example:7071"},
        {"host": "127.0.0.1.page.example"},
        {"host": "localhost@page.example"},
        {"host": "[bad"},
        {"host": ""},
        {"origin": PAGE},
        {"origin": "null"},
        {"origin": "http://localhost:3000", "sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": OWN, "sec-fetch-site": "cross-site"},
    ],
)
def test_other_web_pages_run_nothing(serve_app: ServeApp, method: str, headers: dict[str, str]) -> None:
    client = serve_app(APP)
    response = client.request(method, "/api/run?message=run:+1", headers=headers)
    assert response.status_code == 403
    assert "--cors" in response.text
    assert client.get("/", headers=headers).status_code == 403
    assert __import__("function_app").CALLS == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "LOCALHOST"},
        {"host": "127.0.0.1:7071"},
        {"host": "[::1]:7071", "origin": "http://[::1]:7071"},
        {"origin": OWN, "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ],
)
def test_programs_and_own_pages_may_call(serve_app: ServeApp, headers: dict[str, str]) -> None:
    assert serve_app(APP).get("/api/run", headers=headers).text == "ran"


@pytest.mark.parametrize(
    ("cors", "headers", "status"),
    [
        (PAGE, {"origin": PAGE, "sec-fetch-site": "cross-site"}, 200),
        (PAGE, {"origin": "https://other.example", "sec-fetch-site": "cross-site"}, 403),
        (PAGE, {"sec-fetch-site": "cross-site"}, 403),
        (PAGE, {"origin": PAGE, "host": "page.example"}, 403),
        ("*", {"origin": PAGE, "sec-fetch-site": "cross-site"}, 200),
        ("*", {"sec-fetch-site": "cross-site"}, 200),
    ],
)
def test_named_pages_may_call(serve_app: ServeApp, cors: str, headers: dict[str, str], status: int) -> None:
    settings = json.dumps({"IsEncrypted": False, "Host": {"CORS": cors}})
    client = serve_app(APP, files={"local.settings.json": settings})
    assert client.get("/api/run", headers=headers).status_code == status
