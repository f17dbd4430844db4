"""Real kernels: results, streams, timeouts and deaths."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from local.session_pool.container import Container
from local.session_pool.kernel import Kernel
from local.session_pool.outcome import Outcome
from tests.local.session_pool.kernels import isolation, kernel_python


@pytest.fixture
def home() -> Iterator[Path]:
    # pytest's own directories are too long for a Unix socket.
    with tempfile.TemporaryDirectory(prefix="k-") as name:
        yield Path(name)


@asynccontextmanager
async def kernel_in(home: Path) -> AsyncIterator[Kernel]:
    container = await Container.start(home, isolation(sandboxed=False))
    kernel = await Kernel.start(container, kernel_python())
    try:
        yield kernel
    finally:
        await kernel.stop()
        await container.stop()


def run(home: Path, *codes: str, timeout: float = 30, limit: int = 4096, told: bool = False) -> list[Outcome]:
    async def all_of_them() -> list[Outcome]:
        async with kernel_in(home) as kernel:
            return [
                await kernel.execute(code, timeout_seconds=timeout, stream_length=limit, told=told) for code in codes
            ]

    return asyncio.run(all_of_them())


def test_results_by_type(home: Path) -> None:
    expected: dict[str, Any] = {
        "x = 1": "",
        "print(1)": "",
        "None": None,
        "6*7": 42,
        "'text'": "text",
        "''": "",
        "True": True,
        "0.5": 0.5,
        "float('nan')": "nan",
        "float('inf')": "inf",
        "[1, {'a': None}]": [1, {"a": None}],
        "(1, 2)": [1, 2],
        "{1, 2}": "{1, 2}",
        "1+2j": "(1+2j)",
        "range(3)": "range(0, 3)",
        "[float('nan')]": "[nan]",
        "1;": "",
        "": "",
    }
    outcomes = run(home, *expected)
    assert {code: outcome.result for code, outcome in zip(expected, outcomes, strict=True)} == expected
    assert all(outcome.succeeded for outcome in outcomes)


def test_picture_and_data_frame(home: Path) -> None:
    picture, frame = run(
        home,
        "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",
        "import pandas\npandas.DataFrame({'a': [1, 2]})",
    )
    assert picture.succeeded
    assert (picture.result["type"], picture.result["format"]) == ("image", "png")
    assert picture.result["base64_data"].startswith("iVBOR")
    assert "0  1" in frame.result


def test_variables_stay_and_streams_are_apart(home: Path) -> None:
    first, second = run(home, "x = 20", "import sys\nprint(x + 1)\nprint('warning', file=sys.stderr)\nx")
    assert (first.stdout, first.stderr) == ("", "")
    assert (second.stdout, second.stderr, second.result) == ("21\n", "warning\n", 20)


def test_failed_code_gives_its_traceback_without_colours(home: Path) -> None:
    failed, after = run(home, "print('before')\n1/0", "'still here'")
    assert (failed.succeeded, failed.stdout, failed.result) == (False, "before\n", "")
    assert "ZeroDivisionError: division by zero" in failed.stderr
    assert "\x1b" not in failed.stderr
    assert after.result == "still here"


@pytest.mark.parametrize("code", ["def (", "input()", "raise SystemExit(3)", "a\0b"])
def test_code_that_cannot_run_fails(home: Path, code: str) -> None:
    failed, after = run(home, code, "1")
    assert not failed.succeeded
    assert failed.stderr
    assert after.result == 1


def test_streams_are_cut_at_the_limit(home: Path) -> None:
    (outcome,) = run(
        home, "import sys\nfor _ in range(100): print('x' * 99)\nprint('y' * 500, file=sys.stderr)", limit=50
    )
    assert outcome.succeeded
    assert (len(outcome.stdout), len(outcome.stderr)) == (50, 50)


def test_timeout_interrupts_and_keeps_the_kernel(home: Path) -> None:
    slow, after = run(home, "x = 5\nprint('go')\nimport time\ntime.sleep(60)", "x", timeout=1, told=True)
    assert (slow.succeeded, slow.kernel_lost, slow.stdout) == (False, False, "go\n")
    assert slow.stderr == "Request timed out waiting for code execution to complete after 1 seconds"
    assert 1000 <= slow.milliseconds < 20_000
    assert after.result == 5


def test_code_that_ignores_the_interrupt_is_killed(home: Path) -> None:
    stubborn = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(60)"

    async def outlast() -> tuple[Outcome, bool]:
        async with kernel_in(home) as kernel:
            outcome = await kernel.execute(stubborn, timeout_seconds=1, stream_length=4096)
            return outcome, kernel.alive

    outcome, alive = asyncio.run(outlast())
    assert outcome.kernel_lost
    assert not alive
    assert outcome.stderr == "Request timed out waiting for code execution to complete"


def test_kernel_that_dies_ends_the_execution(home: Path) -> None:
    (outcome,) = run(home, "print('last', flush=True)\nimport os\nos._exit(1)")
    assert (outcome.succeeded, outcome.kernel_lost, outcome.stderr) == (False, True, "Execution aborted")


def test_kernel_sees_nothing_of_our_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAMPLE_KEY", "example-value")
    (outcome,) = run(home, "import os\ndict(os.environ)")
    assert "EXAMPLE_KEY" not in outcome.result
    assert "example-value" not in str(outcome.result)
    assert outcome.result["HOME"].startswith(str(home))


def test_forged_output_does_no_harm(home: Path) -> None:
    forged = "class X:\n    def _repr_mimebundle_(self, **_):\n        return {{{}: {}, 'text/plain': 'plain'}}\nX()"
    outcomes = run(
        home,
        forged.format("'application/x-session-result'", "'no JSON'"),
        forged.format("'application/x-session-result'", "5"),
        forged.format("'application/x-session-result'", "'NaN'"),
        "from IPython.display import display\ndisplay({'image/png': 5}, raw=True)",
        "1",
    )
    assert [outcome.result for outcome in outcomes] == ["plain", "plain", "NaN", "", 1]


def test_large_results_are_cut_or_told(home: Path) -> None:
    show = "from IPython.display import display\ndisplay({{'image/png': 'x' * {}}}, raw=True)"
    forged = "class X:\n    def _repr_mimebundle_(self, **_):\n"
    forged += "        return {'application/x-session-result': '[' + '1,' * 10**6 + '1]', 'text/plain': 'plain'}\nX()"
    fits, over, larger, text, long_json, after = run(
        home, show.format(10**7), show.format(10**7 + 1), show.format(2 * 10**7), "'x' * 3_000_000", forged, "1"
    )
    assert len(fits.result["base64_data"]) == 10**7
    assert (over.result, larger.result) == ("The result is too large.", "The result is too large.")
    assert text.result == "'" + "x" * 999_999
    assert (long_json.result, after.result) == ("plain", 1)


@pytest.mark.parametrize("length", [20_000_000, 40_000_000])
def test_large_output_is_left_out_and_told(home: Path, length: int) -> None:
    large, after = run(home, f"print('before', flush=True)\nprint('x' * {length}, flush=True)", "1")
    assert (large.succeeded, large.stdout) == (True, "before\n")
    assert large.stderr == "Output that was too large has been left out.\n"
    assert after.result == 1


def test_output_in_thousands_of_messages(home: Path) -> None:
    (outcome,) = run(home, "for number in range(5000): print(number, flush=True)\n42", timeout=60)
    assert (outcome.succeeded, outcome.result, len(outcome.stdout)) == (True, 42, 4096)


def test_missing_interpreter_is_said(home: Path) -> None:
    async def start() -> None:
        container = await Container.start(home, isolation(sandboxed=False))
        with pytest.raises(RuntimeError, match="FileNotFoundError"):
            await Kernel.start(container, str(home / "no-python"))
        await container.stop()

    asyncio.run(start())
