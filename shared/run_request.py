"""What a caller may ask for in a run, and by which key its repetitions are known."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

from pydantic import Field

from shared.chat_request import ChatRequest, WholeNumber
from shared.errors import InvalidRequest
from shared.runs import CALLBACK_URL_CHARACTERS_MAX
from shared.settings import Settings

IDEMPOTENCY_KEY_PATTERN = r"[!-~]{1,255}"
# What Logic Apps sends by itself. Not `x-ms-tracking-id` and its kin: they are new with each attempt.
_ACTION = "x-ms-action-tracking-id"
_WORKFLOW_RUN, _OPERATION = "x-ms-workflow-run-id", "x-ms-workflow-operation-name"


class RunRequest(ChatRequest):
    """The body of `POST /api/runs`: that of a chat, with what only a run has."""

    callback_url: str | None = Field(
        default=None,
        repr=False,
        description="Where the reply is posted once the run has ended.",
        json_schema_extra={"format": "uri", "minLength": 1, "maxLength": CALLBACK_URL_CHARACTERS_MAX},
    )
    max_total_tokens: WholeNumber | None = Field(
        default=None,
        description="Most tokens of all model calls together; the run ends after the call that goes over.",
        json_schema_extra={"minimum": 1},
    )

    @classmethod
    def longest_deadline(cls, settings: Settings) -> int:
        """The most seconds that a caller may ask for."""
        return settings.run_max_deadline_seconds

    def check_limits(self, settings: Settings) -> None:
        """Refuses values out of range; `callbacks.check_url` does that for the callback.

        Raises:
            InvalidRequest: with the field's code.
        """
        super().check_limits(settings)
        most = settings.run_max_tokens
        if self.max_total_tokens is not None and not 1 <= self.max_total_tokens <= most:
            raise InvalidRequest(
                "max_total_tokens_out_of_range", f"max_total_tokens may be 1 to {most}.", field="max_total_tokens"
            )

    def fingerprint(self) -> str:
        """A digest that is the same for two bodies which ask for the same, however they are written."""
        # Without defaults: a field that a later version adds leaves the digests of older bodies as they are.
        content = json.dumps(self.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
        return hashlib.sha256(content.encode("ascii")).hexdigest()


def request_key(headers: Mapping[str, str]) -> str | None:
    """The key by which a repetition of a request is known; None where the caller gave none.

    Args:
        headers: names in lower case.

    Raises:
        InvalidRequest: the header that counts is not 1 to 255 visible characters.
    """
    if "idempotency-key" in headers:
        return _checked("idempotency-key", headers["idempotency-key"])
    if headers.get(_ACTION):
        return _checked(_ACTION, headers[_ACTION])
    if headers.get(_WORKFLOW_RUN) and headers.get(_OPERATION):
        return _checked(_WORKFLOW_RUN, headers[_WORKFLOW_RUN]) + " " + _checked(_OPERATION, headers[_OPERATION])
    return None


def _checked(name: str, value: str) -> str:
    if not re.fullmatch(IDEMPOTENCY_KEY_PATTERN, value):
        raise InvalidRequest("idempotency_key_invalid", f"{name} has to be 1 to 255 visible characters.", field=name)
    # With its name: what one header says is no repetition of what another one says.
    return f"{name}:{value}"
