"""What is told of a chat, its model calls and its executions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from shared.errors import ChatAbandoned
from shared.telemetry import Attributes, digest, dimensions, fail, operation, sink
from shared.telemetry_names import (
    AGENT,
    CHAT_STATUS,
    CODE,
    EXECUTION_STATUS,
    INPUT,
    INPUT_TOKENS,
    NEW_SESSION,
    OPERATION,
    OUTPUT,
    OUTPUT_TOKENS,
    PROVIDER,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    RESULT,
    RUN_ID,
    SESSION,
    TOKEN_TYPE,
    TOKENS,
    TOOL,
    TOOL_CALL,
    TURN,
    TURNS,
)

PYTHON = "python"
# Of each attribute with content; a conversation has no bound of its own.
CONTENT_CHARACTERS_MAX = 32_000
_CUT = " [cut]"


class ChatSpan:
    """A chat while it is told of."""

    def __init__(self, attributes: Attributes) -> None:
        self.attributes = attributes

    def ended(self, status: str, result: str) -> None:
        """Tells how it has ended; the result only where content is told."""
        self.attributes[CHAT_STATUS] = status
        if sink().content:
            self.attributes[OUTPUT] = _messages([{"role": "assistant", "content": result}])

    def called_model(self, call: Attributes) -> None:
        """Adds a model call to the sums."""
        self.attributes |= {name: call[name] for name in (PROVIDER, REQUEST_MODEL, RESPONSE_MODEL) if name in call}
        self.attributes[TURNS] = int(self.attributes[TURNS]) + 1
        for name in (INPUT_TOKENS, OUTPUT_TOKENS):
            self.attributes[name] = int(self.attributes.get(name, 0)) + int(call.get(name, 0))


_current: ContextVar[ChatSpan | None] = ContextVar("current chat", default=None)


@contextmanager
def chat(agent: str, message: str, *, session: str = "", run_id: str = "") -> Iterator[ChatSpan]:
    """A chat, around all that it does.

    Args:
        agent: who answers.
        message: the task, told only where content is.
        session: its identifier, where one was asked for.
        run_id: of the run that the chat is of.
    """
    attributes: Attributes = {OPERATION: "invoke_agent", AGENT: agent, TURNS: 0}
    attributes |= {SESSION: digest(session)} if session else {}
    attributes |= {RUN_ID: run_id} if run_id else {}
    attributes |= {INPUT: _messages([{"role": "user", "content": message}])} if sink().content else {}
    span = ChatSpan(attributes)
    token = _current.set(span)
    try:
        with operation(f"invoke_agent {agent}", attributes):
            try:
                yield span
            except ChatAbandoned:
                attributes[CHAT_STATUS] = "abandoned"
                raise
            finally:
                attributes.setdefault(CHAT_STATUS, "failed")
                sink().measure(TURNS, int(attributes[TURNS]), dimensions(attributes))
    finally:
        _current.reset(token)


class ModelCallSpan:
    """A model call while it is told of."""

    def __init__(self, attributes: Attributes) -> None:
        self._attributes = attributes

    def answered(self, body: bytes) -> None:
        """Tells what a chat completion says of itself."""
        if not sink().on:
            return
        reply = _json(body)
        if isinstance(reply.get("model"), str):
            self._attributes[RESPONSE_MODEL] = reply["model"]
        if isinstance(reply.get("usage"), dict):
            self._count(INPUT_TOKENS, "input", reply["usage"].get("prompt_tokens"))
            self._count(OUTPUT_TOKENS, "output", reply["usage"].get("completion_tokens"))
        if sink().content:
            self._attributes[OUTPUT] = _messages(row.get("message") for row in _rows(reply.get("choices")))
        if (chat := _current.get()) is not None:
            chat.called_model(self._attributes)

    def failed(self, code: str) -> None:
        """Tells the code of its failure."""
        fail(self._attributes, code)

    def _count(self, name: str, kind: str, tokens: object) -> None:
        if isinstance(tokens, int):
            self._attributes[name] = tokens
            sink().measure(TOKENS, tokens, {**dimensions(self._attributes), TOKEN_TYPE: kind})


@contextmanager
def model_call(provider: str, body: bytes) -> Iterator[ModelCallSpan]:
    """A call of a chat model with all its attempts.

    Args:
        provider: by the list of the conventions.
        body: of the request; told only where content is.
    """
    request = _json(body) if sink().on else {}
    model = str(request.get("model", ""))
    attributes: Attributes = {
        OPERATION: "chat",
        PROVIDER: provider,
        REQUEST_MODEL: model,
        **_of_chat(AGENT, SESSION, RUN_ID),
    }
    attributes |= {INPUT: _messages(_rows(request.get("messages")))} if sink().content else {}
    with operation(f"chat {model}", attributes, kind="client"):
        yield ModelCallSpan(attributes)


class ExecutionSpan:
    """An execution while it is told of."""

    def __init__(self, attributes: Attributes) -> None:
        self._attributes = attributes

    def ended(self, *, succeeded: bool, new_session: bool, output: str) -> None:
        """Tells what came of it; the output only where content is told."""
        self._attributes[EXECUTION_STATUS] = "succeeded" if succeeded else "failed"
        self._attributes[NEW_SESSION] = new_session
        self._attributes |= {RESULT: _bounded(output)} if sink().content else {}


@contextmanager
def execution(identifier: str, operation_id: str, code: str) -> Iterator[ExecutionSpan]:
    """An execution with all its attempts.

    Args:
        identifier: of the session.
        operation_id: by which the pool knows the execution.
        code: told only where content is.
    """
    attributes: Attributes = {
        OPERATION: "execute_tool",
        TOOL: PYTHON,
        TOOL_CALL: operation_id,
        SESSION: digest(identifier),
    }
    attributes |= _of_chat(AGENT, PROVIDER, RUN_ID)
    if (chat := _current.get()) is not None:
        # A new session finds its pool, and with it its name, with its first call.
        chat.attributes[SESSION] = attributes[SESSION]
        attributes[TURN] = chat.attributes[TURNS]
    attributes |= {CODE: _bounded(code)} if sink().content else {}
    with operation(f"execute_tool {PYTHON}", attributes):
        try:
            yield ExecutionSpan(attributes)
        finally:
            attributes.setdefault(EXECUTION_STATUS, "unknown")


def _of_chat(*names: str) -> Attributes:
    chat = _current.get()
    return {name: chat.attributes[name] for name in names if name in chat.attributes} if chat else {}


def _messages(rows: Iterable[Any]) -> str:
    """Messages in the form that the conventions give them."""
    messages = [
        {"role": str(row.get("role")), "parts": [{"type": "text", "content": str(row.get("content") or "")}]}
        for row in rows
        if isinstance(row, dict)
    ]
    return _bounded(json.dumps(messages, ensure_ascii=False))


def _bounded(text: str) -> str:
    return text if len(text) <= CONTENT_CHARACTERS_MAX else text[: CONTENT_CHARACTERS_MAX - len(_CUT)] + _CUT


def _rows(value: Any) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _json(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
