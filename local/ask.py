"""Asks a function app one question over HTTP, as any other client would."""

from __future__ import annotations

import base64
import contextlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from local.answer_files import save
from local.answer_view import printable, show_question, show_reply, usage_line

COMPLETED, NOT_FINISHED, USAGE, FAILED = 0, 1, 2, 3
# The app's own deadline is 200 s unless the request says less; Azure cuts a response at 230 s.
_DEADLINE_SECONDS = 230.0
_MARGIN_SECONDS = 30.0
_CONNECT_SECONDS = 10.0
_REPLY_BYTES_MAX = 256_000_000
# In base64 they still fit into the 100 MiB that the Functions host takes.
_FILES_BYTES_MAX = 75_000_000


class UsageError(Exception):
    """The question cannot be asked like this; the text says why."""


class NoReply(Exception):
    """There is no answer to read; the text says what came instead."""


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


@dataclass(frozen=True)
class Target:
    """Where to ask.

    Attributes:
        url: the app's address.
        key: its function key, sent as `x-functions-key`; None where it wants none.
        lasting: whether it is there after the answer, so that a session can go on.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    lasting: bool = True


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: the HTTP status.
        body: the reply's bytes.
        reply: its JSON object.
        seconds: how long it took.
    """

    status: int
    body: bytes
    reply: Mapping[str, Any]
    seconds: float


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


def endpoint(target: Target) -> str:
    """The address of the chat route.

    Raises:
        UsageError: it is no address of a web server, or a key would travel unencrypted.
    """
    try:
        parts = urlsplit(target.url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise UsageError("--url is not the address of a function app, such as https://<name>.azurewebsites.net.")
    if target.key and parts.scheme == "http" and host not in ("localhost", "127.0.0.1", "::1"):
        raise UsageError("A key is sent over https only.")
    base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    return base if base.endswith("/api/chat") else f"{base}/api/chat"


def send(target: Target, body: Mapping[str, Any]) -> Answer:
    """Asks, and waits for the answer no longer than the chat may take, and a margin.

    Args:
        target: whom to ask.
        body: what `payload` gave.

    Raises:
        UsageError: the target cannot be asked.
        NoReply: nobody answered in time, or not with JSON.
    """
    url = endpoint(target)
    patience = (body.get("deadline_seconds") or _DEADLINE_SECONDS) + _MARGIN_SECONDS
    started = time.monotonic()
    with requests.Session() as session:
        # A proxy of the environment cannot reach this machine's loopback.
        session.trust_env = urlsplit(url).hostname not in ("localhost", "127.0.0.1", "::1")
        headers = {"x-functions-key": target.key} if target.key else {}
        try:
            # Followed, a redirection would turn the POST into a GET or carry the key elsewhere.
            response = session.post(
                url,
                json=body,
                headers=headers,
                timeout=(_CONNECT_SECONDS, patience),
                allow_redirects=False,
                stream=True,
            )
            content = _read(response, started + patience)
        except requests.Timeout:
            raise NoReply(f"The function app did not answer within {patience:.0f} s.") from None
        except requests.RequestException as error:
            raise NoReply(f"The function app could not be reached ({type(error).__name__}).") from None
    return Answer(response.status_code, content, _json_object(response, content), time.monotonic() - started)


def report(
    answer: Answer,
    question: Question,
    target: Target,
    *,
    out: Console,
    err: Console,
    folder: Path | None,
    as_json: bool,
) -> int:
    """Shows an answer and saves what it brings.

    Args:
        answer: what came back.
        question: what was asked.
        target: who answered.
        out: for the answer.
        err: for what is not the answer.
        folder: where pictures and files go; None saves nothing.
        as_json: print the reply as it came and nothing else to `out`.

    Returns:
        The exit code: 0 completed, 1 not finished, 3 an error reply.
    """
    if as_json:
        sys.stdout.write(answer.body.decode("utf-8", "replace") + "\n")
    if answer.status != 200:
        _show_problem(err, answer)
        return FAILED
    if not as_json:
        show_question(out, question.message)
        show_reply(out, answer.reply)
    notes = err if as_json else out
    notes.print()
    if folder is not None:
        _save(notes, err, answer.reply, folder)
    _show_session(notes, answer.reply, target)
    _line(notes, usage_line(answer.reply, answer.seconds))
    return COMPLETED if answer.reply.get("status") == "completed" else NOT_FINISHED


@contextlib.contextmanager
def progress(console: Console, what: str) -> Iterator[None]:
    """Shows what is being waited for, with a spinner and the seconds where there is a terminal."""
    if not console.is_terminal:
        _line(console, what)
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


def _read(response: requests.Response, until: float) -> bytes:
    content = bytearray()
    for chunk in response.iter_content(65536):
        content += chunk
        if len(content) > _REPLY_BYTES_MAX:
            raise NoReply("The reply is larger than 256 MB.")
        if time.monotonic() > until:
            raise requests.Timeout
    return bytes(content)


def _json_object(response: requests.Response, content: bytes) -> Mapping[str, Any]:
    try:
        reply = json.loads(content)
    except ValueError:
        reply = None
    if isinstance(reply, dict):
        return reply
    status = response.status_code
    if status == 401:
        raise NoReply("The function app wants a function key (401). Give it with --key.")
    what = "without a body" if not content else "with something that is not its JSON"
    raise NoReply(
        f"The server answered {status} {what}. Is this the address of the function app, and what does its log say?"
    )


def _show_problem(console: Console, answer: Answer) -> None:
    reply = answer.reply
    title = reply.get("title") or "The request failed"
    _line(console, f"{title} ({answer.status}, {reply.get('code', 'no code')})", "bold red")
    for name in ("detail", "remedy"):
        if reply.get(name):
            _line(console, str(reply[name]))


def _save(notes: Console, err: Console, reply: Mapping[str, Any], folder: Path) -> None:
    saved = save(reply, folder)
    for path in saved.paths:
        _line(notes, f"Saved {path}")
    for problem in saved.problems:
        _line(err, problem, "red")
    pictures = {row.get("name") for row in reply.get("pictures") or [] if isinstance(row, Mapping)}
    for row in reply.get("files") or []:
        if isinstance(row, Mapping) and "content" not in row and row.get("name") not in pictures:
            _line(notes, f"In the session: {row.get('name')} ({row.get('size_bytes', '?')} bytes)")


def _show_session(console: Console, reply: Mapping[str, Any], target: Target) -> None:
    if target.lasting:
        _line(console, f'Go on in this session: python3 dev.py ask --session {reply.get("session_id")} "..."')
    else:
        _line(console, "The session ended with this answer. With `python3 dev.py up` in another terminal they stay.")


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(printable(text), style=style or None, markup=False, highlight=False, soft_wrap=True)
