"""OpenAPI 2.0 out of 3.1: what Logic Apps' designer and custom connectors can read."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]
# 2.0 knows no description of these kinds; what they say is in the descriptions for people.
_UNKNOWN = ("contentEncoding", "default")
_PLAIN = ("type", "format", "enum", "minimum", "maximum", "minLength", "maxLength", "pattern", "default", "items")


def swagger(document: Json) -> Json:
    """The same API in 2.0.

    Null has no word there. In a request, null means as much as absent, so the property is simply its other type; in a
    reply, `x-nullable` says it to those who know it.

    Args:
        document: as `openapi` makes it; not changed.
    """
    server = urlsplit(document["servers"][0]["url"])
    address = {"host": server.netloc, "schemes": [server.scheme]} if server.netloc else {"schemes": ["https"]}
    return {
        "swagger": "2.0",
        "info": document["info"],
        **address,
        "basePath": server.path,
        "consumes": ["application/json"],
        "produces": ["application/json", "application/problem+json"],
        "paths": {
            path: {method: _operation(entry) for method, entry in entries.items()}
            for path, entries in document["paths"].items()
        },
        "definitions": {name: _schema(schema) for name, schema in document["components"]["schemas"].items()},
        "securityDefinitions": document["components"]["securitySchemes"],
    }


def _operation(entry: Json) -> Json:
    parameters = [_parameter(row) for row in entry.get("parameters", ())]
    if "requestBody" in entry:
        schema = _schema(_only(entry["requestBody"]["content"])["schema"])
        parameters.append({"name": "body", "in": "body", "required": True, "schema": schema})
    kept: Json = {name: entry[name] for name in ("operationId", "summary", "security") if name in entry}
    responses = {status: _response(row) for status, row in entry["responses"].items()}
    return {**kept, "parameters": parameters, "responses": responses}


def _parameter(row: Json) -> Json:
    summary = {"x-ms-summary": _words(row["name"])}
    # A template's placeholder goes into a path as it is, unless the document says otherwise.
    encoding = {"x-ms-url-encoding": "single"} if row["in"] == "path" else {}
    kept = {name: row[name] for name in ("name", "in", "description", "required")}
    return {**kept, **_plain(row["schema"]), **summary, **encoding}


def _response(row: Json) -> Json:
    converted: Json = {"description": row["description"]}
    if "content" in row:
        converted["schema"] = _schema(_only(row["content"])["schema"])
    if "headers" in row:
        converted["headers"] = {
            name: {"description": header["description"], **_plain(header["schema"])}
            for name, header in row["headers"].items()
        }
    return converted


def _plain(schema: Json) -> Json:
    return {name: value for name, value in schema.items() if name in _PLAIN}


def _schema(schema: Json) -> Json:
    if "$ref" in schema:
        # Beside a reference, 2.0 ignores everything.
        return {"$ref": schema["$ref"].replace("#/components/schemas/", "#/definitions/")}
    converted = {name: value for name, value in schema.items() if name not in ("anyOf", "const", "title", *_UNKNOWN)}
    if "anyOf" in schema:
        (other,) = (option for option in schema["anyOf"] if option != {"type": "null"})
        converted = {**_schema(other), **converted, "x-nullable": True}
    if "const" in schema:
        converted["enum"] = [schema["const"]]
    if schema.get("contentEncoding") == "base64":
        converted["format"] = "byte"
    if "items" in schema:
        converted["items"] = _schema(schema["items"])
    if "properties" in schema:
        converted["properties"] = {name: _property(name, inner) for name, inner in schema["properties"].items()}
    return converted


def _property(name: str, schema: Json) -> Json:
    converted = _schema(schema)
    return converted if "$ref" in converted else {"x-ms-summary": _words(name), **converted}


def _words(name: str) -> str:
    return re.sub(r"[_-]+", " ", name).capitalize()


def _only(content: Json) -> Json:
    (row,) = content.values()
    typed: Json = row
    return typed
