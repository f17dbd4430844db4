"""What the model reads of an execution."""

from __future__ import annotations

import json
import re

from shared.session_wire import EXECUTION_SECONDS_MAX, Execution

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_TIMED_OUT = "Request timed out waiting for code execution"
_KILLED = ("Execution aborted", "Kernel restarted")

NEW_SESSION = "note: this session is new: variables and files of an earlier conversation are not in it."
SESSION_LOST = (
    "note: the session was lost and a new one took its place before this code ran: all variables and all "
    "files that earlier code wrote are gone. Run again what you need."
)
FILES_PROVIDED_AGAIN = "note: the session had to be started again; the files you were given are there now. Try again."


def describe(execution: Execution, *, timeout_seconds: int, limit: int, picture_name: str | None) -> str:
    """The streams and the result, each under its name, within a limit.

    Args:
        execution: what the session returned.
        timeout_seconds: what the code was given, for the advice after a timeout.
        limit: most characters of the text; head and tail are kept.
        picture_name: how people will see the result where it is a picture.
    """
    sections = [("stdout", execution.stdout), ("stderr", _errors(execution, timeout_seconds))]
    if execution.picture is not None:
        sections.append(("result", f"[{picture_name}: shown to the user]" if picture_name else "[a picture]"))
    elif execution.result is not None:
        sections.append(("result", _value(execution.result)))
    filled = [(name, _ANSI.sub("", text).rstrip("\n")) for name, text in sections if text.strip()]
    if not filled:
        return "(no output)"
    share = limit // len(filled)
    return "\n\n".join(f"{name}:\n{clip(text, share)}" for name, text in filled)


def clip(text: str, limit: int) -> str:
    """The text, or its head and tail around a line that says how much is missing.

    Args:
        text: any text.
        limit: most characters kept of it.
    """
    if len(text) <= limit:
        return text
    # Errors stand at the end, what was asked for at the start.
    head = limit // 2
    tail = limit - head
    missing = len(text) - head - tail
    return f"{text[:head]}\n[... {missing} characters left out ...]\n{text[len(text) - tail :]}"


def _value(result: object) -> str:
    if isinstance(result, dict) and "base64_data" in result:
        # Bytes in the conversation cost tokens and tell the model nothing.
        return "[data that cannot be shown]"
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)


def _errors(execution: Execution, timeout_seconds: int) -> str:
    text = execution.stderr
    if execution.succeeded:
        return text
    if text.startswith(_TIMED_OUT):
        return (
            f"The code did not end within {timeout_seconds} seconds (the session's limit is "
            f"{EXECUTION_SECONDS_MAX}) and was stopped. Variables may be lost. Do less in one block: "
            "smaller data, a faster method, or several steps that save what they have to /mnt/data."
        )
    if text.startswith(_KILLED):
        return (
            "The kernel was stopped while the code ran, most likely because memory ran out. All variables "
            "are gone. Use less memory (read in pieces, drop what is not needed) and run again what you need."
        )
    return text or "The code failed and the session gave no reason."
