"""What runs cost: accepting, polling, picking up, carrying out many, and the storage calls of one.

    .venv/bin/python -m bench.runs
    .venv/bin/python -m bench.runs --soak [--runs 1000] [--kills 20] [--outages 0] [--seed 4]

in the project's folder, after `python3 dev.py up`, which installs what it needs. The first takes about ten minutes,
and the second, which kills the functions host at random while it works, about as long.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

from bench.counted_model import CountedModel, task_message, task_name
from bench.measure import Connection, Figure, machine, milliseconds, new_id, percentile, show, show_head
from bench.run_caller import Caller
from bench.run_soak import EXECUTIONS, TURNS, Soak, concurrency, counted_stack, marking_script, soak
from bench.storage_calls import counted
from local.azurite.running import running_azurite
from local.stack import Stack

POSTS, POLLS, PICK_UPS, COUNTED_RUNS = 200, 200, 15, 10
RUNS, MODEL_SECONDS, SESSIONS = 200, 1.0, 64
CONCURRENCIES = (1, 4, 16, 32, 64, 96, 128, 192)
# The host's longest pause between two looks at an empty queue on a developer's machine.
POLLING_MS = 2000.0
SHORT = ["```python\nprint(6 * 7)\n```", "It is 42.\n\nTERMINATE"]
NO_WORKER = {"AzureWebJobs.carry_out_run.Disabled": "1"}
# By the first expression that is found in a call.
REASONS = {
    r"GET .*/record": "the worker once, and each poll",
    r"PUT .*/record": f"made; begun; {2 * TURNS - 1} messages; ended",
    r"GET .*/reply": "a poll of what has ended",
    r"PUT .*/reply": "the reply, before the record says that the run has ended",
    r"PUT runs/keys": "which run the key has made",
    r"PUT runs/owners": "the entry of the caller's list",
    r"/lease lease": "the lease taken, given back, and renewed every 20 s",
    r"/lease": "the blob whose lease keeps two workers apart",
    r"POST .*/messages": "the message that starts a worker",
    r"DELETE .*/messages": "its work is done",
    r"GET .*-poison": "the host looks for runs that were delivered in vain too often",
    r"GET .*/messages": "the host looks for runs, every 2 s at the longest while there are none",
}
LEASE_SECONDS, TOGETHER_SECONDS, SOAK_SECONDS = 600, 240.0, 3000.0


def post(host: Connection, number: int, **fields: Any) -> dict[str, Any]:
    """Starts a run, with a key of its own, as Logic Apps does."""
    body = {"message": task_message(task_name(number)), **fields}
    return host.send("POST", "/api/runs", body, {"Idempotency-Key": new_id()})


def poll(host: Connection, accepted: dict[str, Any], wait: int = 0) -> dict[str, Any]:
    """Asks how far a run is."""
    query = str(accepted["status_url"]).partition("/api/")[2]
    return host.send("GET", f"/api/{query}" + (f"&wait={wait}" if wait else ""))


def finished(host: Connection, accepted: dict[str, Any]) -> dict[str, Any]:
    """Waits for the end of a run; it has to complete."""
    reply = poll(host, accepted, 20)
    while reply["status"] in ("queued", "running"):
        reply = poll(host, accepted, 20)
    if reply["status"] != "completed":
        raise RuntimeError(f"The run ended {reply['status']}: {reply.get('problem')}")
    return reply


def accepting() -> Iterator[Figure]:
    """How long 202 takes, and a poll, without a worker on the same cores."""
    with counted_stack(CountedModel(SHORT), lease_seconds=LEASE_SECONDS, host_env=NO_WORKER) as stack:
        host = Connection(stack.url)
        accepted = [post(host, number) for number in range(20)]
        posts = [milliseconds(lambda: accepted.append(post(host, 20))) for _ in range(POSTS)]
        yield Figure(
            "202 of a new run, p95", percentile(posts, 95), "ms", 50, f"median {_median(posts)}; {POSTS} posts"
        )
        polls = [milliseconds(lambda row=row: poll(host, row)) for row in accepted[:POLLS]]  # type: ignore[misc]
        yield Figure(
            "poll of a queued run, p95", percentile(polls, 95), "ms", 10, f"median {_median(polls)}; {POLLS} runs"
        )
        health = [milliseconds(lambda: host.send("GET", "/api/health")) for _ in range(POLLS)]
        yield Figure("the same host's answer that touches nothing, p95", percentile(health, 95), "ms")


def picking_up() -> Iterator[Figure]:
    """From 202 to the model's first call, on a host that has nothing else to do, and a poll of what has ended."""
    model = CountedModel(SHORT)
    with counted_stack(model, lease_seconds=LEASE_SECONDS) as stack:
        host = Connection(stack.url)
        finished(host, post(host, 0))
        waits, ended = [], []
        for number in range(1, PICK_UPS + 1):
            # At any point of the host's pauses, which have become as long as they get.
            time.sleep(2 * POLLING_MS / 1000 + 0.13 * number)
            accepted = post(host, number)
            waits.append(milliseconds(lambda number=number: model.wait_asked(task_name(number), 0)))  # type: ignore[misc]
            finished(host, accepted)
            ended += [milliseconds(lambda accepted=accepted: poll(host, accepted)) for _ in range(10)]  # type: ignore[misc]
        told = f"median {_median(waits)}; the idle host looks every {POLLING_MS:g} ms at the longest; {PICK_UPS} runs"
        yield Figure("202 to the first model call, longest", max(waits), "ms", POLLING_MS + 300, told)
        yield Figure("poll of an ended run, p95", percentile(ended, 95), "ms", 10, f"median {_median(ended)}")


def together() -> Iterator[Figure]:
    """Runs through one instance, by how many it carries out at once."""
    for at_once in (0, *CONCURRENCIES):
        yield _throughput(at_once)


def _throughput(at_once: int) -> Figure:
    """Runs a second; 0 at once is what host.json says."""
    runs = min(RUNS, 6 * at_once) if at_once else RUNS
    model = CountedModel(SHORT, MODEL_SECONDS)
    with counted_stack(model, lease_seconds=LEASE_SECONDS, host_env=concurrency(at_once)) as stack:
        _warm(stack)
        start = time.perf_counter()
        until = time.monotonic() + TOGETHER_SECONDS
        with closing(Caller(stack.url, until)) as caller, ThreadPoolExecutor(16) as threads:
            urls = list(
                threads.map(lambda number: caller.post(task_name(number), f"s{number % SESSIONS}"), range(runs))
            )
            replies = list(threads.map(caller.ended, urls))
        seconds = time.perf_counter() - start
    bad = Counter(reply["status"] for reply in replies if reply["status"] != "completed")
    if bad:
        raise RuntimeError(f"Runs ended {dict(bad)}")
    calls = len(SHORT) * MODEL_SECONDS
    ideal = f"; {at_once / calls:.1f} a second if the model were all" if at_once else ""
    name = f"{at_once} at once" if at_once else "as host.json says"
    return Figure(f"runs a second, {name}", runs / seconds, "/s", None, f"{runs} runs in {seconds:.1f} s{ideal}")


def _warm(stack: Stack) -> None:
    """Loads what the app loads late, and starts the sessions."""
    until = time.monotonic() + TOGETHER_SECONDS
    with closing(Caller(stack.url, until)) as caller, ThreadPoolExecutor(16) as threads:
        urls = list(threads.map(lambda number: caller.post(task_name(5000 + number), f"s{number}"), range(SESSIONS)))
        list(threads.map(caller.ended, urls))


def storage_calls() -> None:
    """Prints the requests to storage of one run, by what they do."""
    with running_azurite() as settings, counted(settings["AzureWebJobsStorage"]) as calls:
        environment = {"AzureWebJobsStorage": calls.connection_string}
        model = CountedModel(marking_script(0))
        with counted_stack(model, lease_seconds=LEASE_SECONDS, own_storage=True, host_env=environment) as stack:
            host = Connection(stack.url)
            finished(host, post(host, 0))
            before = Counter(calls.counts)
            for number in range(1, COUNTED_RUNS + 1):
                model_done = post(host, number)
                model.wait_asked(task_name(number), TURNS - 1)
                time.sleep(1)
                finished(host, model_done)
            made = calls.counts - before
    print(
        f"\nStorage calls of a run with {TURNS} model calls and two executions, polled once; mean of {COUNTED_RUNS}:\n"
    )
    print("| call | a run | why |\n|---|---|---|")
    for kind, count in sorted(made.items()):
        why = next((text for pattern, text in REASONS.items() if re.search(pattern, kind)), "")
        print(f"| {kind} | {count / COUNTED_RUNS:.1f} | {why} |")
    looks = sum(count for kind, count in made.items() if kind.startswith("Queue GET"))
    print(f"| all, without looks at the queues | {(sum(made.values()) - looks) / COUNTED_RUNS:.1f} | |")


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} ms"


def print_soak(wanted: Soak) -> int:
    """Runs the soak and prints its numbers; 1 where a run was lost, failed or done twice."""
    print(f"{machine()}\n\n{wanted}\n")
    outcome = soak(wanted)
    executed = sum(map(len, outcome.marks.values()))
    print(f"ended: {dict(outcome.statuses)}; recorded: {outcome.recorded}; {outcome.seconds:.0f} s")
    needed = TURNS * wanted.runs
    print(f"model calls: {outcome.model_calls}; needed {needed}; cut off and made again {outcome.model_calls - needed}")
    print(f"kills in the middle of a call: {outcome.kills} of {wanted.kills}; at least {outcome.cut_off} calls cut off")
    print(f"outages under load: {outcome.outages} of {wanted.outages}")
    print(f"executions: {executed}; needed {EXECUTIONS * wanted.runs}; tasks with one done twice: {outcome.twice}")
    whole = outcome.statuses == {"completed": wanted.runs} and outcome.recorded == wanted.runs
    return 0 if whole and not outcome.twice else 1


def main() -> int:
    """Measures everything, or kills at random."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--soak", action="store_true", help="kill the host at random instead")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--outages", type=int, default=0, help="how often storage is stopped and started")
    parser.add_argument("--seed", type=int, default=4)
    options = parser.parse_args()
    if options.soak:
        counts = (options.runs, options.kills, options.outages, options.seed)
        wanted = Soak(*counts, model_seconds=1.0, code_seconds=0.3, pause_seconds=12.0, timeout_seconds=SOAK_SECONDS)
        return print_soak(wanted)
    show_head()
    show(accepting())
    show(picking_up())
    show(together())
    storage_calls()
    return 0


if __name__ == "__main__":
    sys.exit(main())
