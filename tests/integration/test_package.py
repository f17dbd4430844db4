"""What is deployed is enough: the files that `.funcignore` leaves, and the packages of `requirements.txt` alone."""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local.stack import IDENTITY, MODEL, SESSION_POOL, Stack

ROOT = Path(__file__).parents[2]
BOUND_SECONDS = 120
# The worker's part, in few lines: it indexes the app and calls a function with a request and a context.
WORKER = """
import importlib.util, json, sys, types
import azure.functions as func
import function_app

functions = {function.get_function_name(): function for function in function_app.app.get_functions()}
request = func.HttpRequest(
    method="POST",
    url="/api/chat",
    headers={"content-type": "application/json"},
    body=json.dumps({"message": sys.argv[1]}).encode(),
)
context = types.SimpleNamespace(trace_context=types.SimpleNamespace(trace_parent="", trace_state=""))
reply = functions["chat"].get_user_function()(request, context)
from shared import telemetry
others = [name for name in ("local", "tests", "pytest", "starlette") if importlib.util.find_spec(name)]
body = json.loads(reply.get_body())
told = {"functions": sorted(functions), "others": others, "status": reply.status_code, "body": body}
print(json.dumps({**told, "telemetry": telemetry.sink().on}))
"""


@pytest.fixture(scope="module")
def package_python() -> str:
    """The interpreter of an environment in which `requirements.txt` alone is installed."""
    python = os.environ.get("PACKAGE_PYTHON", "")
    if not Path(python).is_file():
        reason = "the package's environment is not installed: run `python3 dev.py test`, or set PACKAGE_PYTHON"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return python


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is deployed."""
    folder = tmp_path_factory.mktemp("package")
    patterns = (ROOT / ".funcignore").read_text("utf-8").split()
    ignore = shutil.ignore_patterns(*patterns)
    for entry in ROOT.iterdir():
        if any(fnmatch.fnmatch(entry.name, pattern) for pattern in patterns):
            continue
        if entry.is_dir():
            shutil.copytree(entry, folder / entry.name, ignore=ignore)
        else:
            shutil.copy2(entry, folder)
    return folder


TASK = "What is the standard deviation of 4, 8, 15, 16, 23, 42?"
# Nobody listens there: what is sent is refused.
TELEMETRY = {
    "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={'0' * 8}-0000-4000-8000-{'0' * 12};"
    "IngestionEndpoint=https://127.0.0.1:9/",
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED": "true",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
}


def serve_one(python: str, package: Path, task: str, settings: dict[str, str]) -> dict[str, Any]:
    """What the worker's part tells after one chat."""
    environment = {"PATH": os.environ["PATH"], **settings}
    command = [python, "-c", WORKER, task]
    ran = subprocess.run(
        command, cwd=package, env=environment, capture_output=True, text=True, timeout=BOUND_SECONDS, check=False
    )
    assert ran.returncode == 0, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize("telemetry", [{}, TELEMETRY], ids=["without telemetry", "with telemetry"])
def test_the_package_is_enough_for_a_chat(
    package_python: str, package: Path, stack: Stack, telemetry: dict[str, str]
) -> None:
    settings = {**stack.ready(IDENTITY)["env"], **stack.ready(SESSION_POOL)["env"], **stack.ready(MODEL)["env"]}
    told = serve_one(package_python, package, TASK, {**settings, **telemetry})
    assert told["telemetry"] is bool(telemetry)
    assert {"chat", "start_run", "carry_out_run", "delete_old_runs"} <= set(told["functions"])
    assert told["others"] == []
    assert (told["status"], told["body"]["status"]) == (200, "completed"), told
    assert "13.4907" in told["body"]["result"]
