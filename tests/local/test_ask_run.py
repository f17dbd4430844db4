"""`ask --run` as a user runs it, against a server that answers as each test says."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from rich.console import Console

from local.ask import View
from local.ask_http import NoReply, Target
from local.ask_run import Clock, run
from tests.scripted_server import Answer, Received, ScriptedServer, scripted_server

ROOT = Path(__file__).parents[2]
BOUND_SECONDS = 60
TOKEN = "t0ken-of-the-run"
STEPS: list[dict[str, Any]] = [
    {"index": 1, "agent": "CodeWriter", "content": "```python\nprint(6 * 7)\n```"},
    {"index": 2, "agent": "CodeExecutor", "content": "exitcode: 0\nCode output: stdout:\n42", "exit_code": 0},
    {"index": 3, "agent": "CodeWriter", "content": "It is 42.\nTERMINATE"},
]
REPLY: dict[str, Any] = {
    "run_id": "r1",
    "session_id": "s-1",
    "status": "completed",
    "result": "It is 42.",
    "steps": STEPS,
    "pictures": [],
    "files": [],
    "usage": {"model": "m", "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}
PROBLEM = {"title": "The model refuses", "status": 502, "code": "model_refused", "detail": "No.", "remedy": "Ask."}
SHOWN = [
    "",
    "=== Question",
    "q",
    "",
    "=== CodeWriter",
    "print(6 * 7)",
    "",
    "=== CodeExecutor, exit code 0",
    "stdout:",
    "42",
    "",
    "=== Answer",
    "It is 42.",
]


class App:
    """A function app with one run; a poll gets the next of these answers, filtered by `after` as the real one does."""

    def __init__(self, polls: Sequence[Answer | Mapping[str, Any]], *accepted: Answer) -> None:
        self.polls = list(polls)
        self.accepted = list(accepted)
        self.posted = threading.Event()
        self.cancelled = threading.Event()
        self.polled = threading.Event()
        self.server = ScriptedServer("")

    def answer(self, number: int, request: Received) -> Answer:
        parts = urlsplit(request.path)
        if (request.method, parts.path) == ("POST", "/api/runs"):
            self.posted.set()
            started = self._json(202, self._links({"status": "queued", "session_id": "s-1"}))
            return self.accepted.pop(0) if self.accepted else started
        if (request.method, parts.path) == ("POST", "/api/runs/cancel"):
            assert request.headers["idempotency-key"] == self.server.received[0].headers["idempotency-key"]
            self.cancelled.set()
            return self._json(200, self._links({"status": "running"}))
        if not self.polls:
            self.polled.set()
            return Answer(silent=True)
        poll = self.polls.pop(0)
        if isinstance(poll, Answer):
            return poll
        after = int(parse_qs(parts.query).get("after", ["0"])[0])
        steps = [step for step in poll["steps"] if step["index"] > after]
        return self._json(202 if poll["status"] in ("queued", "running") else 200, {**poll, "steps": steps})

    def _links(self, body: Mapping[str, Any]) -> dict[str, Any]:
        address = f"{self.server.url}/api/runs/r1"
        links = {"status_url": f"{address}?token={TOKEN}", "cancel_url": f"{address}/cancel?token={TOKEN}"}
        return {"run_id": "r1", **links, **body}

    def _json(self, status: int, body: Mapping[str, Any]) -> Answer:
        return Answer(status, json.dumps(body).encode(), {"Retry-After": "0"})


def running(count: int) -> dict[str, Any]:
    return {"status": "running", "steps": STEPS[:count]}


def start(folder: Path, url: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "local", "ask", "--run", "q", "--url", url, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ask(folder: Path, app: App, *arguments: str) -> tuple[int, str, str]:
    """The exit code, and what was printed."""
    with scripted_server(app.answer) as app.server, start(folder, app.server.url, *arguments) as process:
        out, err = process.communicate(timeout=BOUND_SECONDS)
    assert TOKEN not in out + err
    assert "Traceback" not in err
    return process.returncode, out, err


def polls(app: App) -> list[dict[str, list[str]]]:
    return [parse_qs(urlsplit(request.path).query) for request in app.server.received if request.method == "GET"]


def test_steps_are_shown_as_they_come_and_then_the_answer(tmp_path: Path) -> None:
    app = App([running(1), running(1), running(3), REPLY])
    code, out, err = ask(tmp_path, app, "--key", "k3y", "--max-turns", "4")
    assert code == 0, err
    assert out.splitlines()[: len(SHOWN)] == SHOWN
    assert "3 tokens (1 read, 2 written)" in out.splitlines()[-1]
    assert "--session s-1" in out
    posted = app.server.received[0]
    assert json.loads(posted.body) == {"message": "q", "max_turns": 4}
    assert posted.headers["x-functions-key"] == "k3y"
    assert len(posted.headers["idempotency-key"]) == 32
    # The run's own token opens the rest.
    assert not any("x-functions-key" in request.headers for request in app.server.received[1:])
    assert polls(app) == [{"token": [TOKEN], "wait": ["20"], "after": [after]} for after in ("0", "1", "1", "3")]


def test_first_step_is_there_before_the_run_goes_on(tmp_path: Path) -> None:
    app = App([running(1)])
    with scripted_server(app.answer) as app.server, start(tmp_path, app.server.url) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().rstrip("\n") for _ in range(6)]
        app.polls.append(REPLY)
        process.kill()
    assert lines == SHOWN[:6]


def test_json_is_the_last_reply_alone(tmp_path: Path) -> None:
    app = App([running(1), running(2), REPLY])
    code, out, _ = ask(tmp_path, app, "--json")
    assert code == 0
    assert json.loads(out) == REPLY
    assert not any("after" in poll for poll in polls(app))


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        ("turn_limit", 1, "turns"),
        ("deadline", 1, "time is used up"),
        ("budget", 1, "tokens are used up"),
        ("cancelled", 1, "it was cancelled"),
    ],
)
def test_run_that_ended_early_says_why(tmp_path: Path, status: str, code: int, words: str) -> None:
    ended = {**REPLY, "status": status, "steps": STEPS[:2], "result": "so far"}
    found, out, _ = ask(tmp_path, App([running(1), ended]))
    assert found == code
    assert words in out.partition("=== Not finished")[2]
    assert out.count("=== CodeWriter") == 1


def test_failed_run_tells_its_problem(tmp_path: Path) -> None:
    app = App([running(1), {**REPLY, "status": "failed", "result": "", "steps": STEPS[:1], "problem": PROBLEM}])
    code, out, err = ask(tmp_path, app)
    assert code == 3
    assert "=== Not finished: it failed" in out
    assert "The model refuses (502, model_refused)\nNo.\nAsk.\n" in err


def test_refused_run_tells_its_problem(tmp_path: Path) -> None:
    refusal = Answer(422, json.dumps({**PROBLEM, "status": 422}).encode())
    code, out, err = ask(tmp_path, App([], refusal))
    assert (code, out) == (3, "")
    assert "The model refuses (422, model_refused)" in err


def test_run_that_is_gone_is_told(tmp_path: Path) -> None:
    gone = Answer(404, json.dumps({**PROBLEM, "status": 404, "code": "run_not_found"}).encode())
    code, _, err = ask(tmp_path, App([running(1), gone]))
    assert code == 3
    assert "run_not_found" in err


@pytest.mark.parametrize(
    "away",
    [
        [Answer(hang_up=True)],
        [Answer(503, b"{}"), Answer(502, b"<html>")],
        [Answer(429, b"{}")],
    ],
)
def test_app_that_is_away_for_a_while_is_waited_for(tmp_path: Path, away: list[Answer]) -> None:
    code, out, err = ask(tmp_path, App([running(2), *away, REPLY]))
    assert code == 0, err
    assert out.splitlines()[: len(SHOWN)] == SHOWN
    assert ("Trying on." in err) == (len(away) > 1)


def test_accepted_run_without_an_address_is_told(tmp_path: Path) -> None:
    code, _, err = ask(tmp_path, App([], Answer(202, b'{"run_id": "r1"}')))
    assert code == 3
    assert "does not say where it is" in err


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGINT for one process")
def test_ctrl_c_cancels_the_run(tmp_path: Path) -> None:
    app = App([running(1)])
    with scripted_server(app.answer) as app.server, start(tmp_path, app.server.url) as process:
        assert app.polled.wait(BOUND_SECONDS)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=BOUND_SECONDS)
    assert process.returncode == 130
    assert app.cancelled.is_set()
    assert "The run is cancelled" in err
    assert "Traceback" not in err
    assert TOKEN not in err


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGINT for one process")
def test_ctrl_c_without_an_app_says_that_the_run_goes_on(tmp_path: Path) -> None:
    app = App([running(1)])

    def answer(number: int, request: Received) -> Answer:
        return Answer(hang_up=True) if request.path.endswith("/cancel") else app.answer(number, request)

    with scripted_server(answer) as app.server, start(tmp_path, app.server.url) as process:
        assert app.polled.wait(BOUND_SECONDS)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=BOUND_SECONDS)
    assert process.returncode == 130
    assert "could not be cancelled" in err


@pytest.mark.parametrize("lost", [Answer(hang_up=True), Answer(502, b"<html>")])
def test_post_whose_answer_is_lost_is_sent_once_more_with_its_key(tmp_path: Path, lost: Answer) -> None:
    app = App([REPLY], lost)
    code, _, err = ask(tmp_path, app)
    assert code == 0, err
    first, second = (request for request in app.server.received if request.method == "POST")
    assert first.body == second.body
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


def test_post_whose_answer_is_lost_twice_is_given_up(tmp_path: Path) -> None:
    app = App([REPLY], Answer(hang_up=True), Answer(hang_up=True))
    code, _, err = ask(tmp_path, app)
    assert code == 3
    assert "could not be reached" in err
    assert len(app.server.received) == 2


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize(("is_known", "told"), [(True, "The run is cancelled"), (False, "No run was started")])
def test_ctrl_c_before_the_run_is_accepted_cancels_it_by_its_key(tmp_path: Path, is_known: bool, told: str) -> None:
    app = App([], Answer(silent=True))
    missing = Answer(404, json.dumps({**PROBLEM, "status": 404}).encode())

    def answer(number: int, request: Received) -> Answer:
        reply = app.answer(number, request)
        return missing if request.path.endswith("/cancel") and not is_known else reply

    with scripted_server(answer) as app.server, start(tmp_path, app.server.url, "--key", "k3y") as process:
        assert app.posted.wait(BOUND_SECONDS)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=BOUND_SECONDS)
    assert process.returncode == 130
    assert app.cancelled.is_set()
    assert all(request.headers["x-functions-key"] == "k3y" for request in app.server.received)
    assert told in err


class Time:
    """A clock that only sleeps move."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def follow(answer: Callable[[int, Received], Answer], app: App) -> tuple[Time, str, NoReply | None]:
    """What `run` does with time that passes at once: how long it took, what it told, and how it failed."""
    clock, err = Time(), io.StringIO()
    view = View(Console(file=io.StringIO()), Console(file=err, width=200), None, False)
    with scripted_server(answer) as app.server:
        try:
            run(Target(app.server.url), {"message": "q"}, view, Clock(lambda: clock.seconds, clock.sleep))
        except NoReply as failure:
            return clock, err.getvalue(), failure
    return clock, err.getvalue(), None


def test_app_that_is_away_for_two_minutes_is_given_up() -> None:
    app = App([running(1)])

    def answer(number: int, request: Received) -> Answer:
        return app.answer(number, request) if app.polls else Answer(hang_up=True)

    clock, err, failure = follow(answer, app)
    assert "may go on without this command" in str(failure)
    assert 120 < clock.seconds < 130
    assert err.count("Trying on.") == 1


def test_minutes_away_are_counted_from_the_last_answer() -> None:
    away = [Answer(hang_up=True)] * 20
    app = App([running(1), *away, running(2), *away, REPLY])
    clock, _, failure = follow(app.answer, app)
    assert failure is None
    assert clock.seconds > 120


@pytest.mark.parametrize(
    ("times", "lasts"),
    [
        # The app's clock is not that of this machine.
        ({"created_at": "2001-01-01T10:00:00.000Z", "expires_at": "2001-01-01T10:20:00.000Z"}, 1200),
        ({}, 3600),
        ({"created_at": "2001-01-01T10:00:00.000Z", "expires_at": "soon"}, 3600),
    ],
)
def test_run_that_does_not_end_is_given_up_some_minutes_after_its_deadline(times: dict[str, str], lasts: int) -> None:
    going_on = Answer(202, json.dumps({**running(0), **times}).encode(), {"Retry-After": "5"})
    app = App([going_on] * 1000)
    clock, _, failure = follow(app.answer, app)
    assert "should have ended" in str(failure)
    assert lasts + 300 < clock.seconds < lasts + 310


def test_run_that_stays_in_the_queue_is_told_once() -> None:
    queued = Answer(202, json.dumps({"status": "queued", "steps": []}).encode(), {"Retry-After": "5"})
    app = App([*[queued] * 7, REPLY])
    assert "still in the queue" not in follow(app.answer, app)[1]
    app = App([*[queued] * 20, REPLY])
    assert follow(app.answer, app)[1].count("still in the queue") == 1
