"""What spans, attributes and metrics are called.

By OpenTelemetry's semantic conventions for generative AI, version 1.41.0: the last one before they moved to a
repository of their own. What they do not name begins with `aca.`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.0"

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
AGENT = "gen_ai.agent.name"
SESSION = "gen_ai.conversation.id"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105  # no secret
TOOL = "gen_ai.tool.name"
TOOL_CALL = "gen_ai.tool.call.id"
INPUT = "gen_ai.input.messages"
OUTPUT = "gen_ai.output.messages"
CODE = "gen_ai.tool.call.arguments"
RESULT = "gen_ai.tool.call.result"
ERROR = "error.type"
# The same again: Azure Monitor's exporter leaves `error.type` out of a span's dimensions, so that no query finds it.
ERROR_CODE = "aca.error.code"
CHAT_STATUS = "aca.chat.status"
TURN = "aca.chat.turn"
EXECUTION_STATUS = "aca.execution.status"
NEW_SESSION = "aca.session.new"
RUN_ID = "aca.run.id"
RUN_STATUS = "aca.run.status"
ATTEMPT = "aca.run.attempt"

DURATION = "gen_ai.client.operation.duration"
TOKENS = "gen_ai.client.token.usage"
TURNS = "aca.chat.turns"
RUNS = "aca.runs"
RUN_WAIT = "aca.run.wait"
FAILURES = "aca.failures"
POOL_FULL = "aca.pool.full"
SESSION_LOST = "aca.session.lost"


class Metric(NamedTuple):
    """A counter, or else a histogram."""

    unit: str
    meaning: str
    counts: bool = False


METRICS: Mapping[str, Metric] = {
    DURATION: Metric("s", "Duration of a chat, a model call or an execution."),
    TOKENS: Metric("{token}", "Tokens of a model call."),
    TURNS: Metric("{turn}", "Turns of a chat."),
    RUN_WAIT: Metric("s", "Time between a run's post and its first delivery."),
    RUNS: Metric("{run}", "Runs that were queued, and runs that ended, by status.", counts=True),
    FAILURES: Metric("{failure}", "Requests, runs and deliveries of runs that failed, by code.", counts=True),
    POOL_FULL: Metric("{answer}", "Answers of a pool that it has no free session.", counts=True),
    SESSION_LOST: Metric("{session}", "Sessions that were lost with what was in them.", counts=True),
}
# Of an operation's attributes those that its metrics have too: each further one would multiply the series.
DIMENSIONS = (
    OPERATION,
    PROVIDER,
    AGENT,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    TOOL,
    CHAT_STATUS,
    EXECUTION_STATUS,
    ERROR,
)
