"""What the tests of the API versions share: any JSON, bodies that are nearly right, and ready-made outcomes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st

from local.session_pool.errors import Refusal
from local.session_pool.execution import ExecutionRecord, ExecutionRequest
from local.session_pool.files import FileInfo
from local.session_pool.outcome import Outcome
from local.session_pool.wire import Dialect

BODY = {"codeInputType": "Inline", "executionType": "Synchronous", "code": "1+1"}
PICTURE = {"type": "image", "format": "png", "base64_data": "iVBORw0="}
FILES = [FileInfo("out", "", True, 0, 0.5), FileInfo("x.csv", "", False, 3, 0.5), FileInfo("y.txt", "out", False, 4, 1)]
WRITTEN = "1970-01-01T00:00:00.500000Z"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
_TEXT = st.text(st.characters() | st.characters(categories=["Cs"]), max_size=20)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "codeInputType": st.sampled_from(["Inline", "inlineBase64", "InlineText"]) | JSON,
        "executionType": st.sampled_from(["Synchronous", "asynchronous"]) | JSON,
        "code": _TEXT | JSON,
        "pythonCode": _TEXT | JSON,
        "shellCommand": _TEXT | JSON,
        "execCommandAndArgs": JSON,
        "stdin": JSON,
        "identifier": _TEXT | JSON,
        "timeoutInSeconds": st.integers(-5, 500) | JSON,
        "outputStreamsMaxLength": st.integers(-5, 20_000_000) | JSON,
        "useEmptyKernel": JSON,
        "properties": JSON,
    },
)
BODIES = JSON | FIELDS | st.fixed_dictionaries({"properties": FIELDS})


def read(dialect: Dialect, body: Any, *, commands: bool = False, loose: bool = False) -> ExecutionRequest:
    """What a body asks for."""
    return dialect.execution_request(body, takes_commands=commands, loose=loose)


def refused(dialect: Dialect, body: Any, *, commands: bool = False, loose: bool = False) -> tuple[int, str]:
    """Status and code of the refusal of a body."""
    with pytest.raises(Refusal) as refusal:
        read(dialect, body, commands=commands, loose=loose)
    return refusal.value.status, refusal.value.code


def record(result: Any = 2, text: str = "2", *, succeeded: bool = True, **more: Any) -> ExecutionRecord:
    """An execution that has ended."""
    return ExecutionRecord("e1", "abcd", False, Outcome(succeeded, "out", "err", result, 9, text=text, **more))
