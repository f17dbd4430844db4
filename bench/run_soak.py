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
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from bench.counted_model import TASK, CountedModel, task_message, task_name
from local.choice import Choice
from local.session_pool import sandbox
from local.stack import HOST, STORAGE, Stack
from tests.served import served

TURNS, EXECUTIONS = 3, 2
POSTERS = 8
# Shared, because a session takes a process of its own on this machine.
SESSIONS = 16
OUTAGE_SECONDS = 5.0
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
        kills: of the functions host, spread over the time in which there is work.
        outages: how often storage is stopped for `OUTAGE_SECONDS`, in between.
        seed: of the times and the order of all that.
        model_seconds: how long each answer of the model takes.
        code_seconds: how long each execution takes.
        pause_seconds: longest time between a start and the next kill or outage.
        lease_seconds: how long a message of a killed host stays hidden; ten minutes in Azure.
        timeout_seconds: for all runs to end.
    """

    runs: int
    kills: int = 0
    outages: int = 0
    seed: int = 4
    model_seconds: float = 0.2
    code_seconds: float = 0.2
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
        seconds: from the first post to the end of the last run.
    """

    statuses: Counter[str]
    recorded: int
    model_calls: int
    marks: dict[str, list[int]]
    seconds: float

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


class Caller:
    """Posts runs and follows them, through a host that may be down at any time."""

    def __init__(self, url: str, until: float) -> None:
        self._url = url
        self._until = until
        self._local = threading.local()
        self._sessions: list[requests.Session] = []

    def close(self) -> None:
        """Closes its connections."""
        for session in self._sessions:
            session.close()

    def post(self, task: str, session: str) -> str:
        """Starts a run, again until it is accepted, as Logic Apps would; gives its status_url."""
        body = {"message": task_message(task), "session_id": session, "deadline_seconds": 3000}
        reply = self._patiently("POST", f"{self._url}/api/runs", json=body, headers={"Idempotency-Key": task})
        return str(reply["status_url"])

    def ended(self, status_url: str) -> dict[str, Any]:
        """The reply of a run that has ended."""
        reply: dict[str, Any] = {"status": "unknown", "steps": []}
        while time.monotonic() < self._until:
            reply = self._patiently("GET", status_url, params={"wait": "20"})
            if reply["status"] not in ("queued", "running"):
                return reply
        raise TimeoutError(f"a run is still {reply['status']} with {len(reply['steps'])} steps")

    def recorded(self) -> int:
        """How many runs there are."""
        count, query = 0, {"limit": "50"}
        while True:
            page = self._patiently("GET", f"{self._url}/api/runs", params=query)
            count += len(page["runs"])
            if not page["continuation"]:
                return count
            query["continuation"] = page["continuation"]

    def _patiently(self, method: str, url: str, **more: Any) -> dict[str, Any]:
        session = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.trust_env = False
            self._sessions.append(session)
        trouble = ""
        while time.monotonic() < self._until:
            try:
                reply = session.request(method, url, timeout=40, **more)
            except requests.RequestException as error:
                trouble = type(error).__name__
                time.sleep(0.2)
                continue
            if reply.status_code in (200, 202):
                answer: dict[str, Any] = reply.json()
                return answer
            if reply.status_code < 500:
                raise RuntimeError(f"{method}: {reply.status_code} {reply.text[:300]}")
            trouble = f"{reply.status_code} {reply.json().get('code')}" if reply.content else str(reply.status_code)
            time.sleep(0.2)
        raise TimeoutError(f"{method} was not answered in time: {trouble}")


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
        # What is in memory only would be gone after an outage.
        counted_stack(model, lease_seconds=wanted.lease_seconds, storage_args=["--location", kept]) as stack,
        closing(Caller(stack.url, began + wanted.timeout_seconds)) as caller,
    ):
        disturbing = threading.Thread(target=_disturb, args=(stack, wanted), daemon=True)
        disturbing.start()
        with ThreadPoolExecutor(POSTERS) as threads:
            urls = list(threads.map(caller.post, tasks, (f"s{number % SESSIONS}" for number in range(wanted.runs))))
        replies = _all_ended(caller, urls)
        seconds = time.monotonic() - began
        disturbing.join(wanted.timeout_seconds)
        recorded = caller.recorded()
    return Outcome(
        Counter(str(reply["status"]) for reply in replies),
        recorded,
        sum(model.asked.values()),
        {task: marks_of(reply) for task, reply in zip(tasks, replies, strict=True)},
        seconds,
    )


def _all_ended(caller: Caller, urls: Sequence[str]) -> list[dict[str, Any]]:
    with ThreadPoolExecutor(POSTERS) as threads:
        return list(threads.map(caller.ended, urls))


def _disturb(stack: Stack, wanted: Soak) -> None:
    draw = random.Random(wanted.seed)  # noqa: S311  # times, not secrets
    parts = [HOST] * wanted.kills + [STORAGE] * wanted.outages
    draw.shuffle(parts)
    for part in parts:
        time.sleep(draw.uniform(0.5, wanted.pause_seconds))
        if part == HOST:
            stack.kill_part(HOST)
        else:
            stack.stop_part(STORAGE)
            time.sleep(OUTAGE_SECONDS)
        stack.start_part(part)
