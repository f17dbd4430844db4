"""What the blobs of runs are called.

runs/<run id>/record        the run as JSON; its ETag guards every change
runs/<run id>/files/<n>     contents of the nth file that came with the task
runs/<run id>/reply         what the chat gave
runs/<run id>/lease         empty; whoever has its lease works on the run
keys/<digest>               which run an idempotency key has made
owners/<owner>/<time>-<id>  empty; lists an owner's runs, newest first
secret                      signs the runs' tokens
"""

from __future__ import annotations

import hashlib
import re

from shared.runs import RUN_ID_PATTERN, Run

RUNS, KEYS, OWNERS, SECRET = "runs/", "keys/", "owners/", "secret"
# Milliseconds since the epoch fit until 2286. Lists go up by name, and the newest is to be first.
_TIMES = 10**13
CLAIM_BYTES_MAX = 4096


def record(run_id: str) -> str:
    """Of a run's record."""
    return f"{RUNS}{run_id}/record"


def file(run_id: str, position: int) -> str:
    """Of a file that came with the task: by its position, because its own name may hold anything."""
    return f"{RUNS}{run_id}/files/{position}"


def reply(run_id: str) -> str:
    """Of what the chat gave."""
    return f"{RUNS}{run_id}/reply"


def lease(run_id: str) -> str:
    """Of the blob whose lease the worker has."""
    return f"{RUNS}{run_id}/lease"


def claim(owner: str, key: str) -> str:
    """Of what an idempotency key has made; keys of two owners never meet."""
    return f"{KEYS}{hashlib.sha256(f'{owner}/{key}'.encode('utf-8', 'surrogatepass')).hexdigest()}"


def list_prefix(owner: str) -> str:
    """What the entries that list an owner's runs begin with."""
    return f"{OWNERS}{owner}/"


def list_entry(run: Run) -> str:
    """Of the entry that lists a run."""
    time = min(max(int(run.created_at * 1000), 0), _TIMES - 1)
    return f"{list_prefix(run.owner)}{_TIMES - 1 - time:013d}-{run.run_id}"


def run_id_of(name: str) -> str:
    """The run whose blob, or whose entry in a list, has that name; empty where it is no such name."""
    found = re.match(f"{RUNS}({RUN_ID_PATTERN})/", name) or re.fullmatch(f"{OWNERS}.*-({RUN_ID_PATTERN})", name)
    return found[1] if found else ""
