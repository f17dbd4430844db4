"""The API's documents: valid, complete, and true of what the app answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV2SpecValidator, OpenAPIV31SpecValidator

from shared import api, errors, settings
from shared.openapi import openapi
from shared.settings import Settings
from tests.triggers import TRIGGERS

BASE = "https://app.azurewebsites.net"
DOCUMENT = openapi(Settings(), BASE)


@pytest.fixture(autouse=True)
def _fresh_settings() -> Iterator[None]:
    settings.current.cache_clear()
    yield
    settings.current.cache_clear()


def get(path: str, host: str = "localhost:7071") -> api.Reply:
    handler = {"openapi.json": api.openapi, "swagger.json": api.swagger}[path]
    return handler(api.Request("GET", {"host": host}, {}))


def swagger() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(get("swagger.json").body)
    return document


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(path, method): row for path, rows in document["paths"].items() for method, row in rows.items()}


def schema(name: str) -> dict[str, Any]:
    """One of the document's schemas, on its own."""
    return {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}


def faults(name: str, value: Any) -> list[str]:
    return [error.message for error in OAS31Validator(schema(name)).iter_errors(value)]


def test_the_newer_document_is_valid() -> None:
    reply = get("openapi.json")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    document = json.loads(reply.body)
    assert document["openapi"] == "3.1.0"
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


def test_the_older_document_is_valid() -> None:
    document = swagger()
    assert document["swagger"] == "2.0"
    assert list(OpenAPIV2SpecValidator(document).iter_errors()) == []


def test_every_route_of_the_app_is_described_but_the_documents_themselves() -> None:
    routes = {(f"/{path}", method.lower()) for trigger in TRIGGERS for path, method in trigger.routes}
    assert routes - {("/openapi.json", "get"), ("/swagger.json", "get")} == set(operations(DOCUMENT))
    assert set(operations(swagger())) == set(operations(DOCUMENT))


def test_the_documents_say_where_a_key_is_needed() -> None:
    keyed = {
        (f"/{path}", method.lower())
        for trigger in TRIGGERS
        for path, method in trigger.routes
        if trigger.binding["authLevel"] == "FUNCTION"
    }
    for document in (DOCUMENT, swagger()):
        assert {key for key, row in operations(document).items() if "security" in row} == keyed


def test_every_operation_and_property_has_what_the_designer_of_logic_apps_shows() -> None:
    document = swagger()
    names = [row["operationId"] for row in operations(document).values()]
    assert len(names) == len(set(names)) == 8
    for row in operations(document).values():
        assert all("x-ms-summary" in parameter for parameter in row["parameters"] if parameter["in"] != "body")
    for definition in document["definitions"].values():
        assert all("x-ms-summary" in row or "$ref" in row for row in definition["properties"].values())


@pytest.mark.parametrize(
    "word", ["anyOf", "oneOf", "allOf", "nullable", "const", "contentEncoding", "components", "$defs"]
)
def test_the_older_document_has_no_word_of_the_newer_ones(word: str) -> None:
    assert f'"{word}"' not in get("swagger.json").body.decode()


def test_the_older_document_keeps_what_the_newer_one_says() -> None:
    body = swagger()["definitions"]["RunRequest"]
    assert body["required"] == ["message"]
    assert body["additionalProperties"] is False
    assert (body["properties"]["max_turns"]["type"], body["properties"]["max_turns"]["maximum"]) == ("integer", 50)
    assert swagger()["definitions"]["InputFile"]["properties"]["content"]["format"] == "byte"
    headers = swagger()["paths"]["/runs/{run_id}"]["get"]["responses"]["202"]["headers"]
    assert (headers["Location"]["type"], headers["Retry-After"]["type"]) == ("string", "integer")


def test_the_documents_name_the_limits_of_this_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_MAX_MESSAGE_CHARACTERS", "77")
    monkeypatch.setenv("RUN_MAX_TOKENS", "4321")
    schemas = json.loads(get("openapi.json").body)["components"]["schemas"]
    assert schemas["ChatRequest"]["properties"]["message"]["maxLength"] == 77
    assert schemas["RunRequest"]["properties"]["max_total_tokens"]["maximum"] == 4321
    assert schemas["ChatRequest"]["properties"]["deadline_seconds"]["maximum"] == 200
    assert schemas["RunRequest"]["properties"]["deadline_seconds"]["maximum"] == 3400


def test_the_documents_say_where_the_app_is_and_follow_no_foreign_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(get("openapi.json").body)["servers"] == [{"url": "http://localhost:7071/api"}]
    assert json.loads(get("openapi.json", "evil.example.com").body)["servers"] == [{"url": "/api"}]
    monkeypatch.setenv("WEBSITE_HOSTNAME", "app.azurewebsites.net")
    document = json.loads(get("swagger.json", "evil.example.com").body)
    assert (document["host"], document["schemes"], document["basePath"]) == ("app.azurewebsites.net", ["https"], "/api")


def test_the_query_form_of_a_chat_has_the_bounds_of_its_body() -> None:
    rows = {row["name"]: row for row in DOCUMENT["paths"]["/chat"]["get"]["parameters"]}
    assert set(rows) == {"message", "session_id", "max_turns", "deadline_seconds"}
    assert {name for name, row in rows.items() if row["required"]} == {"message"}
    assert rows["max_turns"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 50}
    assert (rows["deadline_seconds"]["schema"]["maximum"], rows["message"]["schema"]["maxLength"]) == (200, 32_000)


def test_a_designer_in_a_browser_may_read_them() -> None:
    assert {get(path).headers["Access-Control-Allow-Origin"] for path in ("openapi.json", "swagger.json")} == {"*"}


def test_a_malformed_setting_is_a_problem_here_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUN_MAX_TOKENS", "many")
    reply = get("swagger.json")
    assert (reply.status, json.loads(reply.body)["code"]) == (500, "setting_invalid")


def test_problems_are_as_the_document_says() -> None:
    for request in (api.Request("POST", {}, {}), api.Request("GET", {}, {"message": "x", "y": "z"})):
        reply = api.chat(request)
        assert faults("Problem", json.loads(reply.body)) == []
        assert str(reply.status) in DOCUMENT["paths"]["/chat"][request.method.lower()]["responses"]


def documented(path: str, method: str) -> set[int]:
    return {int(status) for status in DOCUMENT["paths"][path][method]["responses"]}


def test_whatever_a_run_fails_of_its_status_is_documented() -> None:
    """With `fail_status` it is the reply's own."""
    kinds = [errors.ServiceError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert len(kinds) > 20
    assert {kind.status for kind in kinds} <= documented("/runs/{run_id}", "get")


def test_where_a_record_or_key_may_change_meanwhile_the_conflict_is_documented() -> None:
    changing = [("/runs", "post"), ("/runs/cancel", "post"), ("/runs/{run_id}/cancel", "post")]
    assert all(errors.RunChanged.status in documented(*operation) for operation in changing)


@pytest.mark.parametrize(
    ("body", "is_valid"),
    [
        ({"message": "x"}, True),
        ({"message": "x", "session_id": None, "max_turns": 50, "files": [{"name": "a", "content": ""}]}, True),
        ({"message": " "}, False),
        ({}, False),
        ({"message": "x", "max_turns": 51}, False),
        ({"message": "x", "files": [{"name": "a", "content": "MSwyCg=="}]}, True),
        ({"message": "x", "files": [{"name": "a", "content": "MSwyCg"}]}, False),
        ({"message": "x", "deadline_seconds": 0}, False),
        ({"message": "x", "session_id": "a/b"}, False),
        ({"message": "x", "other": 1}, False),
    ],
)
def test_the_schema_of_a_request_knows_its_bounds(body: dict[str, Any], is_valid: bool) -> None:
    assert (faults("ChatRequest", body) == []) is is_valid
