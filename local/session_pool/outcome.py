"""What comes of one execution, whatever kind of pool ran it."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

ABORTED = "Execution aborted"
TIMED_OUT = "Request timed out waiting for code execution to complete"
DEPTH_MAX = 100
# Of a picture's base64, and of a result's JSON and of its text.
PICTURE_LENGTH_MAX = 10_000_000
RESULT_LENGTH_MAX = 1_000_000
TOO_LARGE = "The result is too large."
# What becomes of a message that code in a session has sent in another's place, of any form.
FORGED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


@dataclass(frozen=True)
class Outcome:
    """What became of one execution.

    Attributes:
        succeeded: the code ended without an error.
        stdout, stderr: the streams, cut to the length asked for.
        result: the last expression's value in JSON form, `""` where there is none; where its JSON has more than a
            million characters, the first million of its text; `TOO_LARGE` in place of a picture of more than ten
            million characters, and of what does not even fit one message. The service's own limits are not
            published: an assumption.
        milliseconds: how long it took.
        kernel_lost: what ran the code is gone, and with it all variables.
        text: the result as the kernel prints it, which older API versions build theirs from.
        exit_code: of a shell command; None elsewhere.
        timed_out: it was stopped at its timeout.
    """

    succeeded: bool
    stdout: str
    stderr: str
    result: Any
    milliseconds: int
    kernel_lost: bool = False
    text: str = ""
    exit_code: int | None = None
    timed_out: bool = False

    @cached_property
    def size(self) -> int:
        """About how much memory it takes, in bytes."""
        values = [self.stdout, self.stderr, self.text]
        level = [self.result]
        while level:
            values += level
            level = [inner for outer in level for inner in _inside(outer)]
        return sum(sys.getsizeof(value) for value in values)


class Interpreter(Protocol):
    """What runs a session's code: an IPython kernel, a Node context, a shell."""

    @property
    def alive(self) -> bool:
        """Whether it can take code."""

    async def execute(self, code: str, *, timeout_seconds: float, stream_length: int, told: bool) -> Outcome:
        """Runs code to its end, its timeout, or the interpreter's death.

        Args:
            code: what to run.
            timeout_seconds: then it is stopped.
            stream_length: most characters kept of each stream.
            told: whether the text after a timeout names the seconds.
        """

    async def stop(self) -> None:
        """Ends it and what it has started."""


def timeout_text(seconds: float, told: bool) -> str:
    """What standard error says after a timeout.

    Args:
        seconds: what the code was given.
        told: whether the caller chose them.
    """
    return f"{TIMED_OUT} after {seconds:g} seconds" if told else TIMED_OUT


def value_of(text: str) -> Any:
    """The value of JSON that code in a session has written; numbers that JSON does not have become text.

    Raises:
        ValueError: it is no JSON, or nested deeper than a reply can be.
    """
    try:
        value = json.loads(text, parse_constant=str, parse_float=_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    level = [value]
    for _ in range(DEPTH_MAX):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return value
    raise ValueError("nested too deeply")


def result_of(text: str, shown: str) -> Any:
    """A result: the value of its JSON, or what the interpreter shows for it where that is none or too long.

    Args:
        text: JSON, written by code in the session.
        shown: what the interpreter prints for the value.
    """
    try:
        if len(text) <= RESULT_LENGTH_MAX:
            return value_of(text)
    except FORGED:
        pass
    return shown[:RESULT_LENGTH_MAX]


def _number(text: str) -> Any:
    number = float(text)
    return number if math.isfinite(number) else text


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def without_colours(text: str) -> str:
    """The text without a terminal's escape sequences."""
    return _ANSI.sub("", text)
