"""Many runs while the functions host is killed or storage goes away at random: all have to end, none twice, none lost.

Every task has three model calls and two executions. What was done is counted where it is done: the model counts
its calls, and each execution adds a mark to a file of its task in the session and prints how many there are.
"""

from __future__ import annotations

import random
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from bench.counted_model import TASK, CountedModel, task_name
from bench.run_caller import Caller
from local.choice import Choice
from local.session_pool import sandbox
from local.stack import HOST, STORAGE, Stack
from tests.served import served

TURNS, EXECUTIONS = 3, 2
POSTERS = 8
# Shared, because a session takes a process of its own on this machine.
SESSIONS = 16
OUTAGE_SECONDS = 5.0
_LOOK_SECONDS = 1.0
_MARK = """```python
import time
with open("/mnt/data/{name}", "a") as marks:
    marks.write("x")
time.sleep({seconds})
print("marks:", len(open("/mnt/data/{name}").read()))
```"""
_MARKS = re.compile(r"marks: (\d+)")


@dataclass(frozen=True)
class Soak:
    """What to do.

    Attributes:
        runs: how many.
        kills: of the functions host, each in the middle of a call of the model.
        outages: how often storage is stopped for `OUTAGE_SECONDS`, in between.
        seed: of the times and the order of all that.
        model_seconds: how long each answer of the model takes.
        code_seconds: how long each execution takes.
        at_once: most runs that the host carries out at once; 0 for what host.json says.
        pause_seconds: longest time between a start and the next kill or outage, which then waits for a call.
        lease_seconds: how long a message of a killed host stays hidden; ten minutes in Azure.
        timeout_seconds: for all runs to end.
    """

    runs: int
    kills: int = 0
    outages: int = 0
    seed: int = 4
    model_seconds: float = 0.2
    code_seconds: float = 0.2
    at_once: int = 0
    pause_seconds: float = 6.0
    lease_seconds: int = 5
    timeout_seconds: float = 600.0


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        statuses: how the runs ended, and how many so.
        recorded: how many runs there are in the end.
        model_calls: in all; `TURNS` a run are needed.
        marks: of each execution of each run: 1, then 2, where nothing was done twice.
        kills: those that cut off a call of the model.
        cut_off: calls of the model that they cut off, at least.
        outages: those in which the model answered, so that there was something to store.
        seconds: from the first post to the end of the last run.
    """

    statuses: Counter[str]
    recorded: int
    model_calls: int
    marks: dict[str, list[int]]
    seconds: float
    kills: int
    cut_off: int
    outages: int

    @property
    def twice(self) -> list[str]:
        """The tasks of which something was executed another number of times than once."""
        return sorted(task for task, marks in self.marks.items() if marks != list(range(1, EXECUTIONS + 1)))


@contextmanager
def counted_stack(
    model: CountedModel, *, lease_seconds: int, own_storage: bool = False, **options: Any
) -> Iterator[Stack]:
    """A stack whose model counts.

    Args:
        model: see `CountedModel`.
        lease_seconds: how long a message of a killed host stays hidden.
        own_storage: the options lead to storage, and none is started.
        options: further ones of `Stack`.
    """
    choice = Choice(
        stand_in_model=False,
        sandboxed=not sandbox.missing(),
        local_storage=not own_storage,
        configured_storage=own_storage,
    )
    with served(model) as url:
        environment = {
            "OPENAI_BASE_URL": f"{url}/v1",
            "OPENAI_API_KEY": "counted",
            "OPENAI_MODEL": "counted",
            **options.pop("host_env", {}),
        }
        host_args = ["--message-lease", str(lease_seconds), *options.pop("host_args", [])]
        with Stack(choice=choice, host_env=environment, host_args=host_args, **options) as stack:
            yield stack


def marking_script(code_seconds: float) -> list[str]:
    """Two executions that leave marks in a file of their task, then an answer."""
    block = _MARK.format(name=TASK, seconds=code_seconds)
    return [f"First.\n\n{block}", f"Second.\n\n{block}", "All done.\n\nTERMINATE"]


def marks_of(reply: dict[str, Any]) -> list[int]:
    """What the executions of a run have counted, by its reply."""
    found = (_MARKS.search(step["content"]) for step in reply["steps"] if step["agent"] == "CodeExecutor")
    return [int(match[1]) for match in found if match]


def soak(wanted: Soak) -> Outcome:
    """Makes the runs, the kills and the outages.

    Raises:
        TimeoutError: a run does not end in time.
    """
    model = CountedModel(marking_script(wanted.code_seconds), wanted.model_seconds)
    tasks = [task_name(number) for number in range(wanted.runs)]
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as kept,
        counted_stack(
            model,
            lease_seconds=wanted.lease_seconds,
            # What is in memory only would be gone after an outage.
            storage_args=["--location", kept],
            host_env=concurrency(wanted.at_once),
        ) as stack,
        closing(Caller(stack.url, began + wanted.timeout_seconds)) as caller,
        ThreadPoolExecutor(1) as thread,
    ):
        trouble = _Trouble(stack, model, wanted)
        making = thread.submit(trouble.make)
        try:
            with ThreadPoolExecutor(POSTERS) as threads:
                urls = list(threads.map(caller.post, tasks, (f"s{number % SESSIONS}" for number in range(wanted.runs))))
                replies = list(threads.map(caller.ended, urls))
            seconds = time.monotonic() - began
        finally:
            trouble.over.set()
        making.result(wanted.timeout_seconds)
        recorded = caller.recorded()
    return Outcome(
        Counter(str(reply["status"]) for reply in replies),
        recorded,
        model.made,
        {task: marks_of(reply) for task, reply in zip(tasks, replies, strict=True)},
        seconds,
        sum(cut_off > 0 for cut_off in trouble.cut_off),
        sum(trouble.cut_off),
        sum(answers > 0 for answers in trouble.answers),
    )


def concurrency(number: int) -> dict[str, str]:
    """The settings of a host that carries out so many runs at once; 0 for what host.json says."""
    if not number:
        return {}
    # Not all of it: the next fetch would wait until the slowest of the last one has ended.
    batch = max(1, min(number // 2, 32))
    start = "AzureFunctionsJobHost__extensions__queues__"
    return {
        f"{start}batchSize": str(batch),
        f"{start}newBatchThreshold": str(number - batch),
        "PYTHON_THREADPOOL_THREAD_COUNT": str(number + 32),
    }


class _Trouble:
    """Kills the host and stops storage, each while there is work.

    Attributes:
        over: set when all runs have ended, so that nothing more is worth it.
        cut_off: by kill, how many calls of the model it cut off.
        answers: by outage, how many answers of the model came while storage was away.
    """

    def __init__(self, stack: Stack, model: CountedModel, wanted: Soak) -> None:
        self._stack = stack
        self._model = model
        self._pause_seconds = wanted.pause_seconds
        self._draw = random.Random(wanted.seed)  # noqa: S311  # times, not secrets
        self._parts = [HOST] * wanted.kills + [STORAGE] * wanted.outages
        self.over = threading.Event()
        self.cut_off: list[int] = []
        self.answers: list[int] = []

    def make(self) -> None:
        """Makes all of it, in an order of its own."""
        self._draw.shuffle(self._parts)
        for part in self._parts:
            self.over.wait(self._draw.uniform(0.0, self._pause_seconds))
            while not self._model.wait_asked_again(_LOOK_SECONDS):
                if self.over.is_set():
                    return
            self._kill() if part == HOST else self._stop_storage()
            self._stack.start_part(part)

    def _kill(self) -> None:
        self._stack.kill_part(HOST)
        self.cut_off.append(self._model.made - self._model.answered)

    def _stop_storage(self) -> None:
        self._stack.stop_part(STORAGE)
        before = self._model.answered
        time.sleep(OUTAGE_SECONDS)
        self.answers.append(self._model.answered - before)
