"""A stand-in for a model behind OpenAI's chat-completions protocol: rules, no AI, and it says so.

For first runs and tests only. It sees nothing but the messages; `local.model_tasks` holds what it knows.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local import serve
from local.model_tasks import reply_to

BODY_BYTES_MAX = 4_000_000
# A rough measure, good enough for a bill of nothing.
CHARACTERS_PER_TOKEN = 4
COMPLETION_PATHS = (
    "/v1/chat/completions",
    "/openai/v1/chat/completions",
    "/openai/deployments/{deployment}/chat/completions",
)

ScriptEntry = str | Mapping[str, Any]


def create_app(*, latency_seconds: float = 0.0, script: Sequence[ScriptEntry] | None = None) -> Starlette:
    """The stand-in as an ASGI app.

    Args:
        latency_seconds: how long each answer takes.
        script: replies by turn instead of the rules: a text, `{"content", "latency"}`, or
            `{"status", "headers", "body"}` for an error. The number of assistant messages so far chooses,
            so that concurrent chats do not disturb each other; the last entry repeats.
    """

    async def completions(request: Request) -> Response:
        body = await _body(request)
        if isinstance(body, Response):
            return body
        messages = body["messages"]
        entry = _scripted(script, messages) if script is not None else reply_to(messages)
        row: Mapping[str, Any] = {"content": entry} if isinstance(entry, str) else entry
        await asyncio.sleep(float(row.get("latency", latency_seconds)))
        if "status" in row:
            return _AsciiJson(row.get("body", {}), int(row["status"]), row.get("headers"))
        return _AsciiJson(_completion(str(body.get("model", "stand-in")), messages, str(row["content"])))

    async def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": "stand-in", "object": "model", "owned_by": "local"}]})

    routes = [Route(path, completions, methods=["POST"]) for path in COMPLETION_PATHS]
    return Starlette(routes=[*routes, Route("/v1/models", models)])


class _AsciiJson(JSONResponse):
    """JSON with every other character escaped: half of a surrogate pair has no UTF-8 form."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode("ascii")


async def _body(request: Request) -> dict[str, Any] | Response:
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_BYTES_MAX:
            return _error(413, "invalid_request_error", "The request is larger than 4 MB.")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return _error(400, "invalid_request_error", "The body is not valid JSON.")
    messages = body.get("messages") if isinstance(body, dict) else None
    if not isinstance(messages, list) or not messages or not all(isinstance(row, dict) for row in messages):
        return _error(400, "invalid_request_error", "messages has to be a list of objects.")
    if body.get("stream"):
        return _error(400, "invalid_request_error", "The stand-in does not stream.")
    return dict(body)


def _scripted(script: Sequence[ScriptEntry], messages: Sequence[Mapping[str, Any]]) -> ScriptEntry:
    turn = sum(row.get("role") == "assistant" for row in messages)
    entry: ScriptEntry = script[min(turn, len(script) - 1)]
    return entry


def _completion(model: str, messages: Sequence[Mapping[str, Any]], content: str) -> dict[str, Any]:
    prompt = sum(len(str(row.get("content") or "")) for row in messages) // CHARACTERS_PER_TOKEN
    completion = len(content) // CHARACTERS_PER_TOKEN
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}},
        ],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
    }


def _error(status: int, kind: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": kind, "param": None, "code": None}}, status)


def main() -> int:
    """Runs the stand-in; see `python -m local.model --help`."""
    parser = serve.argument_parser("A rule-based stand-in for a model; no AI.")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that each answer takes")
    parser.add_argument("--script", type=Path, help="JSON list of replies by turn")
    options = parser.parse_args()
    script = None
    if options.script:
        script = json.loads(options.script.read_text("utf-8"))
        if not isinstance(script, list) or not script:
            sys.stderr.write("--script has to name a JSON list with at least one reply.\n")
            return 2
    app = create_app(latency_seconds=options.latency, script=script)
    serve.run(
        app,
        port=options.port,
        with_parent=options.with_parent,
        announce=lambda url: {
            "env": {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "stand-in", "OPENAI_MODEL": "stand-in"}
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
