"""A conversation with the stand-in model, and what the code that it writes prints."""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any

from local.model_tasks import reply_to

Message = dict[str, Any]


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def code_for(*messages: Message) -> str:
    """The code that the stand-in writes next; it has to be the reply's only block, without an end."""
    reply = reply_to(messages)
    blocks = re.findall(r"```python\n(.*?)```", reply, re.DOTALL)
    assert len(blocks) == 1, reply
    assert "TERMINATE" not in reply
    return str(blocks[0])


def printed(code: str) -> str:
    """What code that needs the standard library only prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "<block>", "exec"), {"__name__": "__main__"})  # noqa: S102 - that is what is tested
    return out.getvalue().strip()


def outcome(task: str) -> str:
    return printed(code_for(user(task)))


def succeeded(output: str) -> Message:
    return user(f"exitcode: 0 (execution succeeded)\nCode output: stdout:\n{output}")
