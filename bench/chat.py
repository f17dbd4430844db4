"""What the function app and the local stack cost.

    .venv/bin/python -m bench.chat

in the project's folder, after `python3 dev.py test` or `ask`, which install what it needs. Takes about four minutes.

Prints the machine, and a table with a goal and a peer or limit beside each figure. Every comparison is made within
one run, its sides in turns, as figures of different runs on a shared machine do not compare. Needs Linux for memory.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench.measure import Connection, Figure, execute, milliseconds, new_id, percentile, query, show, show_head
from local.stack import HOST, IDENTITY, MODEL, SESSION_POOL, Stack

ROOT = Path(__file__).resolve().parents[1]
TASK = "What is 6 * 7?"
IMPORTS, CHATS, WARM, NEW, COLD, TOGETHER, ROUNDS = 15, 100, 100, 20, 5, 50, 3
# Long enough for the emulator to have its spare kernels again.
REFILL_SECONDS = 3.0
MODEL_SECONDS = 1.0

_IMPORT = """
import sys, time
start = time.perf_counter()
__import__(sys.argv[1])
seconds = time.perf_counter() - start
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(seconds, int(peak.split()[1]) / 1024)
"""


def imports() -> Iterator[Figure]:
    """Import of the function app against what every Python function app has to import, in fresh processes."""
    taken: dict[str, list[tuple[float, float]]] = {"azure.functions": [], "function_app": []}
    for _ in range(IMPORTS + 1):
        for module, rows in taken.items():
            printed = subprocess.check_output([sys.executable, "-c", _IMPORT, module], cwd=ROOT, text=True)
            seconds, megabytes = map(float, printed.split())
            rows.append((seconds, megabytes))
    # The first of each compiled the sources.
    (peer_seconds, peer_size), (own_seconds, own_size) = (
        (statistics.median(row[0] for row in rows[1:]), max(row[1] for row in rows[1:])) for rows in taken.values()
    )
    told = f"{1000 * own_seconds:.0f} ms against {1000 * peer_seconds:.0f} ms, medians of {IMPORTS}"
    yield Figure("import of function_app / of azure.functions", own_seconds / peer_seconds, "", 1.5, told)
    yield Figure("peak memory after import", own_size, "MiB", 60, f"azure.functions alone {peer_size:.1f} MiB")


def overhead(stack: Stack) -> Iterator[Figure]:
    """What a chat takes beyond the requests that it makes, which are made directly in turns with it."""
    host, model = Connection(stack.url), Connection(stack.part_url(MODEL))
    pool, identifier = pool_connection(stack), new_id()
    session = str(chat(host)["session_id"])
    direct = Direct(model, pool, identifier)
    direct.chat()
    chats, needed, least = [], [], []
    for _ in range(CHATS):
        chats.append(milliseconds(lambda: chat(host, session)))
        files = milliseconds(direct.file_requests)
        least.append(milliseconds(direct.chat))
        needed.append(least[-1] + files)
    beyond_all = [whole - part for whole, part in zip(chats, needed, strict=True)]
    beyond = [whole - part for whole, part in zip(chats, least, strict=True)]
    middle, middle_needed = statistics.median(chats), statistics.median(needed)
    told = f"chat {middle:.1f} ms; its 2 model and 4 pool requests made directly {middle_needed:.1f} ms; {CHATS} pairs"
    yield Figure("own overhead of a chat, median", statistics.median(beyond_all), "ms", 5, told)
    yield Figure("own overhead of a chat, p95", percentile(beyond_all, 95), "ms", 15, "the same pairs")
    told = f"2 model requests and 1 execution alone {statistics.median(least):.1f} ms: file listings count as own"
    yield Figure("the same with only the execution taken off, median", statistics.median(beyond), "ms", None, told)


@dataclass(frozen=True)
class Direct:
    """The requests of one chat in a known session, without the function app."""

    model: Connection
    pool: Connection
    identifier: str

    def chat(self) -> None:
        """Two model calls and one execution, as the writer and the runner make them."""
        opening = [{"role": "system", "content": "Write Python."}, {"role": "user", "content": TASK}]
        written = self._complete(opening)
        printed = execute(self.pool, self.identifier)["result"]["stdout"]
        report = f"exitcode: 0 (execution succeeded)\nCode output: stdout:\n{printed}"
        answer = self._complete(
            [*opening, {"role": "assistant", "content": written}, {"role": "user", "content": report}]
        )
        if "42" not in answer:
            raise RuntimeError(f"The model answered {answer!r}")

    def file_requests(self) -> None:
        """The state of the session and its files before the chat, and its files after it."""
        self.pool.send("GET", f"/session?{query(self.identifier)}")
        for _ in range(2):
            self.pool.send("GET", f"/files?{query(self.identifier)}&recursive=true")

    def _complete(self, messages: Sequence[Mapping[str, str]]) -> str:
        reply = self.model.send("POST", "/v1/chat/completions", {"model": "stand-in", "messages": messages})
        return str(reply["choices"][0]["message"]["content"])


def emulator(stack: Stack) -> Iterator[Figure]:
    """The first answer of new sessions and further answers of a known one."""
    pool, known = pool_connection(stack), new_id()
    execute(pool, known)
    warm = [milliseconds(lambda: execute(pool, known)) for _ in range(WARM)]
    new = []
    for _ in range(NEW):
        time.sleep(REFILL_SECONDS)
        new.append(milliseconds(lambda: execute(pool, new_id())))
    told = f"p95 {percentile(new, 95):.1f} ms; {NEW} sessions, {REFILL_SECONDS:g} s apart, kernels kept ready"
    yield Figure("emulator, first answer of a new session, median", statistics.median(new), "ms", 25, told)
    told = f"p95 {percentile(warm, 95):.1f} ms; {WARM} executions"
    yield Figure("emulator, answer of a known session, median", statistics.median(warm), "ms", 10, told)


def emulator_without_spares(stack: Stack) -> Iterator[Figure]:
    """The peer of a session that finds a kernel ready: one that has to start it."""
    pool = pool_connection(stack)
    taken = [milliseconds(lambda: execute(pool, new_id())) for _ in range(COLD)]
    told = f"{COLD} sessions with --prewarmed 0"
    yield Figure("emulator, new session without a kernel ready, median", statistics.median(taken), "ms", None, told)


def together(stack: Stack) -> Iterator[Figure]:
    """Many chats at once against one, each in a known session, with a model that takes its time."""
    sessions = [new_id() for _ in range(TOGETHER)]
    connections = [Connection(stack.url) for _ in sessions]
    pairs = list(zip(connections, sessions, strict=True))
    for start in range(0, TOGETHER, 5):
        concurrently(pairs[start : start + 5])
    alone, all_of_them, medians = [], [], []
    for _ in range(ROUNDS):
        alone.append(milliseconds(lambda: chat(*pairs[0])))
        each = concurrently(pairs)
        all_of_them.append(max(each))
        medians.append(statistics.median(each))
    one, slowest = statistics.median(alone), statistics.median(all_of_them)
    limit = 2000 * MODEL_SECONDS
    told = (
        f"slowest of {TOGETHER} {slowest:.0f} ms (their median {statistics.median(medians):.0f} ms), one alone "
        f"{one:.0f} ms, of which the model {limit:.0f} ms; {ROUNDS} rounds, the clients on the same cores"
    )
    yield Figure(f"{TOGETHER} chats at once / one", slowest / one, "", 1.3, told)


def concurrently(pairs: Sequence[tuple[Connection, str]]) -> list[float]:
    """How long chats that start together take, each in milliseconds from the common start."""
    with ThreadPoolExecutor(len(pairs)) as threads:
        start = time.perf_counter()

        def one(pair: tuple[Connection, str]) -> float:
            chat(*pair)
            return 1000 * (time.perf_counter() - start)

        return list(threads.map(one, pairs))


def chat(host: Connection, session: str | None = None) -> dict[str, Any]:
    """One chat through the stack; it has to end with the right answer."""
    reply = host.send("POST", "/api/chat", {"message": TASK, **({"session_id": session} if session else {})})
    if reply["status"] != "completed" or "42" not in reply["result"]:
        raise RuntimeError(f"The chat ended {reply['status']} with {reply['result']!r}")
    return reply


def pool_connection(stack: Stack) -> Connection:
    """A connection to the emulator with a token for it."""
    given = stack.ready(IDENTITY)["env"]
    asked = urlencode({"resource": "https://dynamicsessions.io", "api-version": "2019-08-01"})
    identity = Connection(given["IDENTITY_ENDPOINT"], {"X-IDENTITY-HEADER": given["IDENTITY_HEADER"]})
    token = identity.send("GET", f"?{asked}")["access_token"]
    endpoint = stack.ready(SESSION_POOL)["env"]["POOL_MANAGEMENT_ENDPOINT"]
    return Connection(endpoint, {"Authorization": f"Bearer {token}"})


@contextmanager
def warmed(**options: Any) -> Iterator[Stack]:
    """A stack whose app has answered once, so that what it loads late is loaded."""
    with Stack(**options) as stack:
        chat(Connection(stack.part_url(HOST)))
        yield stack


def main() -> int:
    """Measures everything."""
    show_head()
    show(imports())
    with warmed() as stack:
        show(overhead(stack))
        show(emulator(stack))
    with warmed(pool_args=["--prewarmed", "0"]) as stack:
        show(emulator_without_spares(stack))
    with warmed(model_args=["--latency", str(MODEL_SECONDS)]) as stack:
        show(together(stack))
    return 0


if __name__ == "__main__":
    sys.exit(main())
