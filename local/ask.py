"""Asks a function app one question over HTTP, as any other client would."""

from __future__ import annotations

import base64
import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from local.answer_files import save
from local.answer_view import printable, show_question, show_reply, usage_line
from local.ask_http import Answer, Target, UsageError, call, endpoint

COMPLETED, NOT_FINISHED, USAGE, FAILED = 0, 1, 2, 3
# The app's own deadline is 200 s unless the request says less; Azure cuts a response at 230 s.
_DEADLINE_SECONDS = 230.0
_MARGIN_SECONDS = 30.0
# In base64 they still fit into the 100 MiB that the Functions host takes.
_FILES_BYTES_MAX = 75_000_000


@dataclass(frozen=True)
class Question:
    """What to ask.

    Attributes:
        message: the task in plain words.
        files: paths to send along.
        session_id: of an earlier answer, to go on in its session.
        max_turns, deadline_seconds: limits, None for the app's own.
    """

    message: str
    files: Sequence[Path] = ()
    session_id: str | None = None
    max_turns: int | None = None
    deadline_seconds: int | None = None


def payload(question: Question) -> dict[str, Any]:
    """The request's JSON (design, "HTTP contract").

    Raises:
        UsageError: a file cannot be sent.
    """
    body: dict[str, Any] = {"message": question.message}
    if question.session_id is not None:
        body["session_id"] = question.session_id
    if question.max_turns is not None:
        body["max_turns"] = question.max_turns
    if question.deadline_seconds is not None:
        body["deadline_seconds"] = question.deadline_seconds
    if question.files:
        body["files"] = _encoded(question.files)
    return body


def send(target: Target, body: Mapping[str, Any]) -> Answer:
    """Asks, and waits for the answer no longer than the chat may take, and a margin.

    Args:
        target: whom to ask.
        body: what `payload` gave.

    Raises:
        UsageError: the target cannot be asked.
        NoReply: nobody answered in time, or not with JSON.
    """
    patience = (body.get("deadline_seconds") or _DEADLINE_SECONDS) + _MARGIN_SECONDS
    return call("POST", endpoint(target, "chat"), patience_seconds=patience, body=body, headers=target.headers)


@dataclass(frozen=True)
class View:
    """Where an answer is shown, and how.

    Attributes:
        out: for the answer.
        err: for what is not the answer.
        folder: where pictures and files go; None saves nothing.
        as_json: print the reply as it came and nothing else to `out`.
    """

    out: Console
    err: Console
    folder: Path | None
    as_json: bool


def report(answer: Answer, target: Target, view: View, question: str | None = None) -> int:
    """Shows an answer and saves what it brings.

    Args:
        answer: what came back.
        target: who answered.
        view: where to.
        question: what was asked, to be shown too.

    Returns:
        The exit code: 0 completed, 1 not finished, 3 failed.
    """
    if view.as_json:
        sys.stdout.write(answer.body.decode("utf-8", "replace") + "\n")
    if answer.status != 200:
        _show_problem(view.err, answer.reply)
        return FAILED
    if not view.as_json:
        if question is not None:
            show_question(view.out, question)
        show_reply(view.out, answer.reply)
    notes = view.err if view.as_json else view.out
    notes.print()
    if view.folder is not None:
        _save(notes, view.err, answer.reply, view.folder)
    _show_session(notes, answer.reply, target)
    line(notes, usage_line(answer.reply, answer.seconds))
    problem = answer.reply.get("problem")
    if isinstance(problem, Mapping):
        _show_problem(view.err, problem)
        return FAILED
    return COMPLETED if answer.reply.get("status") == "completed" else NOT_FINISHED


@contextlib.contextmanager
def progress(console: Console, what: str) -> Iterator[None]:
    """Shows what is being waited for, with a spinner and the seconds where there is a terminal."""
    if not console.is_terminal:
        line(console, what)
        yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        bar.add_task(what, total=None)
        yield


def _encoded(paths: Sequence[Path]) -> list[dict[str, str]]:
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        raise UsageError("Two of the files have the same name.")
    rows: list[dict[str, str]] = []
    total = 0
    for path in paths:
        try:
            total += path.stat().st_size
            if total > _FILES_BYTES_MAX:
                raise UsageError("The files are larger than 75 MB together.")
            content = path.read_bytes()
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
        rows.append({"name": path.name, "content": base64.b64encode(content).decode("ascii")})
    return rows


def _show_problem(console: Console, problem: Mapping[str, Any]) -> None:
    title = problem.get("title") or "The request failed"
    line(console, f"{title} ({problem.get('status', 'no status')}, {problem.get('code', 'no code')})", "bold red")
    for name in ("detail", "remedy"):
        if problem.get(name):
            line(console, str(problem[name]))


def _save(notes: Console, err: Console, reply: Mapping[str, Any], folder: Path) -> None:
    saved = save(reply, folder)
    for path in saved.paths:
        line(notes, f"Saved {path}")
    for problem in saved.problems:
        line(err, problem, "red")
    pictures = {row.get("name") for row in reply.get("pictures") or [] if isinstance(row, Mapping)}
    for row in reply.get("files") or []:
        if isinstance(row, Mapping) and "content" not in row and row.get("name") not in pictures:
            line(notes, f"In the session: {row.get('name')} ({row.get('size_bytes', '?')} bytes)")


def _show_session(console: Console, reply: Mapping[str, Any], target: Target) -> None:
    if target.lasting:
        line(console, f'Go on in this session: python3 dev.py ask --session {reply.get("session_id")} "..."')
    else:
        line(console, "The session ended with this answer. With `python3 dev.py up` in another terminal they stay.")


def line(console: Console, text: str, style: str = "") -> None:
    """Prints one line, without what a terminal would take as a command."""
    console.print(printable(text), style=style or None, markup=False, highlight=False, soft_wrap=True)
