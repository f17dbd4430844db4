"""`python -m local up` and `python -m local ask`: the local stack at the command line.

Usually started by `python3 dev.py up` and `python3 dev.py ask`, which install what it needs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import requests
from rich.console import Console

from local import ask, ask_run, azurite, stack
from local.ask import Question
from local.ask_http import NoReply, Target, UsageError
from local.choice import Choice, StackRefused, app_settings, choose
from local.part import PartFailed
from local.session_pool import sandbox
from local.stack import Stack

_STATE_FILE = Path(sys.prefix) / "stack.json"
_PORT = 7071


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    options = _parser().parse_args(arguments)
    err = Console(stderr=True)
    _end_in_order()
    try:
        return _up(options, err) if options.command == "up" else _ask(options, err)
    except (StackRefused, UsageError) as refusal:
        _say(err, str(refusal))
        return ask.USAGE
    except (PartFailed, NoReply) as failure:
        _say(err, str(failure))
        return ask.FAILED
    except KeyboardInterrupt:
        _say(err, "Stopped.")
        return 0 if options.command == "up" else 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dev.py", description="The local stack.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the stack and keep it running")
    up.add_argument("--port", type=int, default=_PORT, help="the function app's port on 127.0.0.1 (default 7071)")
    up.add_argument("--storage", type=Path, default=azurite.DATA, help="folder of the local storage, which keeps runs")
    up.add_argument("--pools", type=int, choices=range(1, 9), default=1, help="how many local session pools")
    question = commands.add_parser("ask", help="ask one question")
    question.add_argument("message", help="the task in plain words")
    question.add_argument("--file", type=Path, action="append", default=[], help="a file to work on; may be repeated")
    question.add_argument("--session", help="go on in the session of an earlier answer")
    question.add_argument("--url", help="a function app that runs elsewhere")
    question.add_argument("--key", help="its function key")
    question.add_argument("--run", action="store_true", help="as a run, which may take longer; steps are shown live")
    question.add_argument("--json", action="store_true", help="print the reply as it came, and nothing else")
    question.add_argument("--max-turns", type=int, help="most messages of the writer")
    question.add_argument("--deadline", type=int, metavar="SECONDS", help="time for the answer")
    question.add_argument(
        "--output", type=Path, help="folder for pictures and files (default answers; none with --json)"
    )
    for command in (up, question):
        command.add_argument(
            "--unsafe-no-sandbox",
            action="store_true",
            help="let a real model's code run on this machine, with your rights",
        )
        command.add_argument("--state-file", type=Path, default=_STATE_FILE, help="where `up` notes its address")
    return parser


def _up(options: argparse.Namespace, err: Console) -> int:
    _require_free(options.port)
    choice = _choice(options, err)
    if options.pools > 1 and not choice.local_pool:
        raise UsageError("--pools is for local pools, and POOL_MANAGEMENT_ENDPOINT names the pools to use.")
    core_tools = shutil.which("func") is not None
    running = Stack(
        choice=choice,
        pools=options.pools,
        storage_is_optional=True,
        port=options.port,
        core_tools=core_tools,
        # Runs outlive the stack: they go on when it is started again.
        storage_args=["--location", str(options.storage.resolve())],
        logs_to_terminal=True,
    )
    with _started(running, err), _noted(options.state_file, running.url):
        if running.no_storage:
            _say_no_storage(err, running.no_storage)
        _announce(running, choice, core_tools)
        stack.watch(running)
    return 0


def _ask(options: argparse.Namespace, err: Console) -> int:
    question = Question(
        message=options.message,
        files=options.file,
        session_id=options.session,
        max_turns=options.max_turns,
        deadline_seconds=options.deadline,
    )
    # Read before anything is started: a file that is missing is told at once.
    body = ask.payload(question)
    with _target(options, err) as target:
        folder = options.output or (None if options.json else Path("answers"))
        view = ask.View(Console(), err, folder, options.json)
        if options.run:
            return ask.report(ask_run.run(target, body, view), target, view)
        with ask.progress(err, "Waiting for the answer"):
            answer = ask.send(target, body)
        return ask.report(answer, target, view, question.message)


@contextmanager
def _target(options: argparse.Namespace, err: Console) -> Iterator[Target]:
    if options.url:
        yield Target(options.url, options.key)
        return
    if options.key:
        raise UsageError("--key goes with --url.")
    noted = find_stack(options.state_file)
    if noted:
        yield Target(noted)
        return
    if options.session:
        raise UsageError(
            "No stack is up, so there is no session to go on in. Start one with `python3 dev.py up` in another "
            "terminal: its sessions stay as long as it runs."
        )
    running = _one_off(options, err)
    with _started(running, err):
        yield Target(running.url, lasting=False)


def _one_off(options: argparse.Namespace, err: Console) -> Stack:
    choice = _choice(options, err)
    if not options.run:
        # A chat needs no storage, and messages in a configured queue are not for a host that ends at once.
        return Stack(choice=choice, host_args=["--http-only"])
    if not choice.local_storage and not choice.configured_storage:
        raise UsageError(f"A run needs storage. {azurite.missing()}")
    return Stack(choice=choice)


@contextmanager
def _started(running: Stack, err: Console) -> Iterator[None]:
    try:
        with ask.progress(err, "Starting the local stack"):
            running.start()
        yield
    finally:
        running.stop()


def find_stack(state_file: Path) -> str | None:
    """The address of a stack that is up, if there is one; a busy one may be slow to say so.

    Args:
        state_file: where `up` noted it.
    """
    try:
        url = str(json.loads(state_file.read_text("utf-8"))["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    with requests.Session() as session:
        session.trust_env = False
        try:
            healthy = session.get(f"{url}/api/health", timeout=3, allow_redirects=False).status_code == 200
        except requests.Timeout:
            return url
        except requests.RequestException:
            return None
    return url if healthy else None


@contextmanager
def _noted(state_file: Path, url: str) -> Iterator[None]:
    state = json.dumps({"url": url, "pid": os.getpid()})
    state_file.write_text(state, "utf-8")
    try:
        yield
    finally:
        # Another stack may have been started since, on another port.
        if state_file.exists() and state_file.read_text("utf-8") == state:
            state_file.unlink()


def _choice(options: argparse.Namespace, err: Console) -> Choice:
    no_sandbox = sandbox.missing()
    settings = app_settings(os.environ, stack.ROOT)
    no_emulator = azurite.missing()
    choice = choose(
        settings,
        unsafe_no_sandbox=options.unsafe_no_sandbox,
        no_sandbox=no_sandbox,
        no_emulator=no_emulator,
        has_other_emulator=azurite.is_listening(),
        with_runs=options.command == "up" or options.run,
    )
    if choice.stand_in_model:
        _say(err, "Model: the stand-in, which is no AI and knows a few kinds of tasks.")
    if choice.local_pool and choice.sandboxed:
        _say(err, "Session pool: local, each session in a sandbox.")
    elif choice.local_pool and choice.trusted:
        only = "only the stand-in's code and code in your question run, as you"
        _say(err, f"Session pool: local, without a sandbox: {only}. {no_sandbox}")
    elif choice.local_pool:
        _say(err, "WARNING: there is no sandbox. Code runs on this machine with your rights.")
    if options.command == "up" and no_emulator and not choice.configured_storage:
        _say_no_storage(err, no_emulator)
    return choice


def _say_no_storage(err: Console, reason: str) -> None:
    _say(err, f"Storage: none, so there are chats, but no runs. {reason}")


def _announce(running: Stack, choice: Choice, core_tools: bool) -> None:
    names = [name for name in running.pids if name != stack.HOST]
    rows = [("function app" + (" (func)" if core_tools else ""), running.url)]
    rows += [(name.replace("_", " "), running.part_url(name)) for name in names]
    if not choice.local_pool:
        rows.append(("session pool", "POOL_MANAGEMENT_ENDPOINT"))
    if choice.configured_storage:
        rows.append(("storage", "AzureWebJobsStorage"))
    lines = ["", *(f"  {name:<22} {url}" for name, url in rows), "", "Ask it:"]
    lines.append('  python3 dev.py ask "What is the standard deviation of 4, 8, 15, 16, 23, 42?"')
    lines.append(f"  curl -s {running.url}/api/chat -H 'Content-Type: application/json' \\")
    lines.append("""    -d '{"message": "What is 6 * 7?"}'""")
    if stack.STORAGE in names or choice.configured_storage:
        lines += ["", "Or start a run, which goes on without you, and look at its status_url:"]
        lines.append(f"  curl -s {running.url}/api/runs -H 'Content-Type: application/json' \\")
        lines.append("""    -d '{"message": "What is 6 * 7?"}'""")
    lines += ["", "Ctrl-C stops everything."]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            raise UsageError(
                f"Port {port} is unavailable. Close the process that uses it, or name another with --port."
            ) from None


def _end_in_order() -> None:
    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    # SIGINT too: a shell starts its background jobs with it ignored, and Python then leaves it so.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), interrupt)


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
