"""What the model reads of an execution."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from shared.pictures import ShownPicture
from shared.session_wire import EXECUTION_SECONDS_MAX, Execution

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_TIMED_OUT = "Request timed out waiting for code execution"
_KILLED = ("Execution aborted", "Kernel restarted")
_DATA, _HIDDEN = "base64_data", "[data that cannot be shown]"

NEW_SESSION = "note: this session is new: variables and files of an earlier conversation are not in it."
SESSION_LOST = (
    "note: the session was lost and a new one took its place before this code ran: all variables and all "
    "files that earlier code wrote are gone. Run again what you need."
)


def files_provided_again(names: Iterable[str]) -> str:
    """The note that given files were missing in a new session while the code ran, and are there now."""
    return (
        "note: the session had to be started again and did not have the files you were given while this code "
        f"ran. They are there now: {', '.join(names)}. Run again what needs them."
    )


def files_not_provided(names: Iterable[str]) -> str:
    """The note that given files are missing in a new session and stay so."""
    return f"note: files you were given could not be put into the new session: {', '.join(names)}. Do not rely on them."


def describe(execution: Execution, *, limit: int, picture: ShownPicture | None = None) -> str:
    """The streams and the result, each under its name, within a limit.

    Args:
        execution: what the session returned.
        limit: most characters of the text, markers and headings aside.
        picture: the execution's, as people will find it.
    """
    problem = _errors(execution)
    problem_cut = execution.stderr_cut and problem == execution.stderr
    sections = [
        ("stdout", execution.stdout, execution.stdout_cut),
        ("stderr", problem, problem_cut),
        ("result", _result(execution, picture), False),
    ]
    filled = [(name, _ANSI.sub("", text).rstrip("\n"), cut) for name, text, cut in sections if text.strip()]
    if not filled:
        return "(no output)"
    share = limit // len(filled)
    texts = [f"{name}:\n{clip(text, share, end_is_missing=cut)}" for name, text, cut in filled]
    if problem_cut and not execution.succeeded:
        texts.append(
            "note: the end of the traceback is missing, because so much was printed. Print less and run it again."
        )
    return "\n\n".join(texts)


def clip(text: str, limit: int, *, end_is_missing: bool = False) -> str:
    """The text, or its head and tail around a line that says how much is missing.

    Args:
        text: any text.
        limit: most characters kept of it.
        end_is_missing: the session has cut the text already, so that what stands last is not its tail: the head
            is kept, with a line that says so.
    """
    missing = len(text) - limit
    if end_is_missing:
        known = f"at least {missing} characters left out; " if missing > 0 else ""
        return f"{text[:limit]}\n[... {known}the session itself cut the rest ...]"
    if missing <= 0:
        return text
    # Errors stand at the end, what was asked for at the start.
    head = limit // 2
    tail = limit - head
    return f"{text[:head]}\n[... {missing} characters left out ...]\n{text[len(text) - tail :]}"


def _result(execution: Execution, picture: ShownPicture | None) -> str:
    if picture is not None:
        if picture.picture is None:
            return f"[{picture.name}: not shown, the reply has no room for it; draw fewer or smaller pictures]"
        return f"[{picture.name}: shown to the user]"
    result = execution.result
    if result is None or isinstance(result, str):
        return result or ""
    try:
        text = json.dumps(result, ensure_ascii=False)
        # Bytes in the conversation cost tokens and tell the model nothing.
        return json.dumps(json.loads(text, object_hook=_without_data), ensure_ascii=False) if _DATA in text else text
    except RecursionError:
        return _HIDDEN


def _without_data(row: dict[str, object]) -> object:
    return _HIDDEN if _DATA in row else row


def _errors(execution: Execution) -> str:
    text = execution.stderr
    if execution.succeeded:
        return text
    if text.startswith(_TIMED_OUT):
        return (
            f"The code did not end within {execution.timeout_seconds} seconds (the session's limit is "
            f"{EXECUTION_SECONDS_MAX}) and was stopped. Variables may be lost. Do less in one block: "
            "smaller data, a faster method, or several steps that save what they have to /mnt/data."
        )
    if text.startswith(_KILLED):
        return (
            "The kernel was stopped while the code ran, most likely because memory ran out. All variables "
            "are gone. Use less memory (read in pieces, drop what is not needed) and run again what you need."
        )
    return text or "The code failed and the session gave no reason."
