"""The API as documents: OpenAPI 3.1, and 2.0 for the designer and the custom connectors of Logic Apps.

Both come of the models that requests are read with and of the shapes of the replies; what is said of a route beyond
that stands in the table here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from shared import VERSION, reply_shapes
from shared.chat_request import ChatRequest
from shared.run_api import LIST_LIMIT, LIST_LIMIT_MAX, WAIT_SECONDS_MAX
from shared.run_links import ROUTE_PREFIX
from shared.run_request import RunRequest
from shared.runs import RUN_ID_PATTERN
from shared.settings import Settings

Json = dict[str, Any]
_JSON, _PROBLEM = "application/json", "application/problem+json"
_SCHEMAS = "#/components/schemas/"
_KEY = {"functionKey": {"type": "apiKey", "in": "header", "name": "x-functions-key"}}
_MODELS = (
    ChatRequest,
    RunRequest,
    reply_shapes.Health,
    reply_shapes.ChatReply,
    reply_shapes.AcceptedRun,
    reply_shapes.RunProgress,
    reply_shapes.EndedRun,
    reply_shapes.RunList,
    reply_shapes.Problem,
)
_FAULTS: Mapping[int, str] = {
    400: "The request is not valid.",
    404: "There is no such run, or the request may not see it.",
    409: "The run changed while the request was at work: try again.",
    413: "Too large.",
    415: "The body has to be JSON.",
    422: "The key was used before, for another request.",
    424: "The code may have run, and no answer came: asking again could run it twice.",
    500: "The app is not configured, or failed.",
    502: "The session pool, the model, the storage or the app's identity refused.",
    503: "The session pool, the model or the storage has no room or cannot be reached: try again.",
}
_READS = (500, 502, 503)


@dataclass(frozen=True)
class Operation:
    """One route and method.

    Attributes:
        path, method: below the app's address.
        name: of the operation, for programs.
        summary: one line for people.
        replies: the shape of each status's body; with `faults`, those whose body is a problem.
        keyed: whether a function key is needed.
        body: the model of the request's body.
        parameters: in path, query and header.
        query_of: a model whose plain fields are parameters of the query too.
    """

    path: str
    method: str
    name: str
    summary: str
    replies: Mapping[int, str]
    faults: Sequence[int] = ()
    keyed: bool = True
    body: str = ""
    parameters: Sequence[Json] = ()
    query_of: str = ""

    def document(self, schemas: Json) -> Json:
        """Its entry in an OpenAPI 3.1 document with these schemas."""
        entry: Json = {"operationId": self.name, "summary": self.summary, "responses": self._responses()}
        parameters = [*self.parameters, *(_query(schemas[self.query_of]) if self.query_of else ())]
        if parameters:
            entry["parameters"] = parameters
        if self.body:
            entry["requestBody"] = {"required": True, "content": {_JSON: {"schema": _ref(self.body)}}}
        if self.keyed:
            entry["security"] = [{name: []} for name in _KEY]
        return entry

    def _responses(self) -> Json:
        rows: Json = {}
        for status, shape in self.replies.items():
            rows[str(status)] = _response(_SAID[status], _JSON, _ref(shape))
            if status == 202:
                rows["202"]["headers"] = _followed()
        if self.keyed:
            rows["401"] = {"description": "The function key is missing or wrong."}
        for status in self.faults:
            rows[str(status)] = _response(_FAULTS[status], _PROBLEM, _ref("Problem"))
            if status == 503:
                rows["503"]["headers"] = {"Retry-After": _retry_after()}
        return dict(sorted(rows.items()))


_SAID = {200: "The answer.", 202: "The run goes on."}


def _ref(name: str) -> Json:
    return {"$ref": _SCHEMAS + name}


def _response(description: str, media_type: str, schema: Json) -> Json:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _retry_after() -> Json:
    return {"description": "Seconds after which to ask again.", "schema": {"type": "integer"}}


def _followed() -> Json:
    location = {"description": "Where to follow the run.", "schema": {"type": "string", "format": "uri"}}
    return {"Location": location, "Retry-After": _retry_after()}


def _parameter(place: str, name: str, description: str, schema: Json, *, required: bool = False) -> Json:
    return {"name": name, "in": place, "description": description, "required": required, "schema": schema}


def _query(model: Json) -> Iterator[Json]:
    """A model's fields as parameters, as far as a query can hold them: one value each, and no null."""
    for name, row in model["properties"].items():
        if row.get("type") == "array":
            continue
        (schema,) = (option for option in row.get("anyOf", [row]) if option != {"type": "null"})
        schema = {word: value for word, value in {**schema, **row}.items() if word in _PARAMETER_WORDS}
        yield _parameter("query", name, row["description"], schema, required=name in model["required"])


_PARAMETER_WORDS = ("type", "minimum", "maximum", "minLength", "maxLength", "pattern")
_RUN_ID = _parameter(
    "path",
    "run_id",
    "Of the reply that accepted the run.",
    {"type": "string", "pattern": f"^{RUN_ID_PATTERN}$"},
    required=True,
)
_TOKEN = _parameter(
    "query", "token", "Opens this run; part of its status_url. Its owner by App Service needs none.", {"type": "string"}
)
_KEY_HEADER = _parameter(
    "header",
    "Idempotency-Key",
    "The same key and body give the same run. Without it, what Logic Apps sends by itself counts.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
)
_RUN_FAULTS = (400, 404, *_READS)
# Those of a failed run, with `fail_status`.
_FAILED_RUN = (409, 413, 424)

OPERATIONS = (
    Operation(
        "/chat",
        "post",
        "Chat",
        "Answer one task",
        {200: "ChatReply"},
        (400, 413, 415, 424, *_READS),
        body="ChatRequest",
    ),
    Operation(
        "/chat",
        "get",
        "ChatByQuery",
        "Answer one task: the tutorial's form",
        {200: "ChatReply"},
        (400, 413, 424, *_READS),
        query_of="ChatRequest",
    ),
    Operation(
        "/runs",
        "post",
        "StartRun",
        "Start a run: work that outlives its request",
        {200: "AcceptedRun", 202: "AcceptedRun"},
        (400, 409, 413, 415, 422, *_READS),
        body="RunRequest",
        parameters=(_KEY_HEADER,),
    ),
    Operation(
        "/runs",
        "get",
        "ListRuns",
        "List the caller's runs, newest first",
        {200: "RunList"},
        (400, *_READS),
        parameters=(
            _parameter(
                "query",
                "limit",
                "Most runs of a page.",
                {"type": "integer", "minimum": 1, "maximum": LIST_LIMIT_MAX, "default": LIST_LIMIT},
            ),
            _parameter("query", "continuation", "Of the page before.", {"type": "string", "minLength": 1}),
        ),
    ),
    Operation(
        "/runs/cancel",
        "post",
        "CancelRunByKey",
        "Cancel the run that a key has made; an ended one stays as it is",
        {200: "AcceptedRun"},
        (*_RUN_FAULTS, 409),
        parameters=(_KEY_HEADER,),
    ),
    Operation(
        "/runs/{run_id}",
        "get",
        "GetRun",
        "How far a run is",
        {200: "EndedRun", 202: "RunProgress"},
        (*_RUN_FAULTS, *_FAILED_RUN),
        keyed=False,
        parameters=(
            _RUN_ID,
            _TOKEN,
            _parameter(
                "query",
                "wait",
                "Answer when there is news, after so many seconds at the latest.",
                {"type": "number", "minimum": 0, "maximum": WAIT_SECONDS_MAX, "default": 0},
            ),
            _parameter(
                "query",
                "after",
                "Only steps after that one.",
                {"type": "integer", "minimum": 0, "maximum": 1_000_000, "default": 0},
            ),
            _parameter(
                "query",
                "fail_status",
                "1: a failed run is answered with its problem's own status, not with 200.",
                {"type": "integer", "enum": [0, 1], "default": 0},
            ),
        ),
    ),
    Operation(
        "/runs/{run_id}/cancel",
        "post",
        "CancelRun",
        "Cancel a run; an ended one stays as it is",
        {200: "EndedRun", 202: "RunProgress"},
        (*_RUN_FAULTS, 409),
        keyed=False,
        parameters=(_RUN_ID, _TOKEN),
    ),
    Operation("/health", "get", "Health", "Whether the app is alive", {200: "Health"}, keyed=False),
)


def openapi(settings: Settings, base: str = "") -> Json:
    """The document in OpenAPI 3.1.

    Args:
        settings: with the limits that it names.
        base: the app's address; empty where it is not known.
    """
    schemas = _schemas(settings)
    paths: Json = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = operation.document(schemas)
    return {
        "openapi": "3.1.0",
        "info": _info(),
        "servers": [{"url": f"{base}/{ROUTE_PREFIX}"}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": dict(_KEY)},
    }


def _info() -> Json:
    return {
        "title": "AutoGen with a code interpreter",
        "version": VERSION,
        "description": "Ask in plain words: two agents write Python and run it in an isolated session.",
    }


def _schemas(settings: Settings) -> Json:
    inputs: list[tuple[Any, Any, TypeAdapter[Any]]] = [(model, "validation", TypeAdapter(model)) for model in _MODELS]
    _, generated = TypeAdapter.json_schemas(inputs, ref_template=_SCHEMAS + "{model}")
    schemas: Json = generated["$defs"]
    for model in (ChatRequest, RunRequest):
        properties = schemas[model.__name__]["properties"]
        properties["message"]["maxLength"] = settings.chat_max_message_characters
        properties["files"]["maxItems"] = settings.chat_max_files
        properties["deadline_seconds"]["maximum"] = model.longest_deadline(settings)
    schemas["RunRequest"]["properties"]["max_total_tokens"]["maximum"] = settings.run_max_tokens
    return schemas
