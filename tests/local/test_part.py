"""Parts made of a few lines of Python each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.part import Part, PartFailed
from tests.processes import all_gone

READY = 'print(\'{"url": "http://127.0.0.1:9"}\', flush=True)\n'
WAIT = "import sys; sys.stdin.read()\n"
BOUND_SECONDS = 20


class Parts:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.started: list[Part] = []

    def __call__(self, program: str) -> Part:
        part = Part(
            "example",
            [sys.executable, "-c", program],
            environment=os.environ,
            folder=self._folder,
            keep_log=True,
        )
        self.started.append(part)
        return part


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    made = Parts(tmp_path)
    yield made
    for part in made.started:
        part.kill()


def test_ready_line_is_returned_and_closing_input_ends_the_part(parts: Parts) -> None:
    part = parts(READY + WAIT)
    assert part.wait_ready(BOUND_SECONDS) == {"url": "http://127.0.0.1:9"}
    assert part.running
    part.stop(BOUND_SECONDS)
    assert not part.running


def test_part_that_dies_tells_its_last_words(parts: Parts) -> None:
    part = parts("import sys; print('no such port', file=sys.stderr); sys.exit(4)")
    with pytest.raises(PartFailed, match=r"(?s)example ended with exit code 4.*no such port"):
        part.wait_ready(BOUND_SECONDS)


def test_silent_part_is_given_up(parts: Parts) -> None:
    part = parts(WAIT)
    with pytest.raises(PartFailed, match="was not ready after 0 s"):
        part.wait_ready(0.05)


@pytest.mark.parametrize("line", ["hello", "[1]", "{}", "{"])
def test_other_words_are_no_ready_line(parts: Parts, line: str) -> None:
    part = parts(f"print({line!r}, flush=True)\n{WAIT}")
    with pytest.raises(PartFailed, match="not a ready line"):
        part.wait_ready(BOUND_SECONDS)


def test_chatty_part_does_not_block(parts: Parts, tmp_path: Path) -> None:
    part = parts(
        "import sys\n"
        + READY
        + "print('y\\n' * 500_000, file=sys.stderr); print('x' * 1_000_000, flush=True); open('done', 'w').close()\n"
        + WAIT
    )
    part.wait_ready(BOUND_SECONDS)
    deadline = time.monotonic() + BOUND_SECONDS
    while not (tmp_path / "done").exists() and time.monotonic() < deadline:
        os.sched_yield()
    assert (tmp_path / "done").exists()
    assert len(part.log().splitlines()) <= 500


def test_part_that_ignores_everything_is_killed_with_its_children(parts: Parts, tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    child = (
        f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {stubborn + 'time.sleep(60)'!r}])\n"
    )
    part = parts(stubborn + child + "open('child', 'w').write(str(child.pid))\n" + READY + "time.sleep(60)")
    part.wait_ready(BOUND_SECONDS)
    part.stop(0.1)
    assert not part.running
    assert all_gone([int((tmp_path / "child").read_text())])


def test_part_ends_when_its_starter_is_killed() -> None:
    starter = (
        "import os, sys, pathlib\nfrom local.part import Part\n"
        f"part = Part('example', [sys.executable, '-c', {READY + WAIT!r}], environment=os.environ,"
        " folder=pathlib.Path('.'), keep_log=True)\n"
        "part.wait_ready(20)\nprint(part.pid, flush=True)\nsys.stdin.read()\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", starter],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait(BOUND_SECONDS)
    assert all_gone([pid])
