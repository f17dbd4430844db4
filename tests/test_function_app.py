"""The app as the Functions worker sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import azure.functions as func

import function_app
from shared import VERSION

ROOT = Path(__file__).parents[1]
# The worker asks once, and the library answers once.
FUNCTIONS = function_app.app.get_functions()


def test_the_worker_finds_its_routes() -> None:
    found = {}
    for function in FUNCTIONS:
        trigger = json.loads(function.get_raw_bindings()[0])
        found[trigger["route"]] = (sorted(trigger["methods"]), str(trigger["authLevel"]).upper())
    assert found == {"chat": (["GET", "POST"], "FUNCTION"), "health": (["GET"], "ANONYMOUS")}


def invoke(route: str, request: func.HttpRequest) -> func.HttpResponse:
    """What the worker does with a request."""
    for function in FUNCTIONS:
        if json.loads(function.get_raw_bindings()[0])["route"] == route:
            response: func.HttpResponse = function.get_user_function()(request)
            return response
    raise LookupError(route)


def test_a_request_reaches_the_contract_and_its_reply_the_host() -> None:
    request = func.HttpRequest(method="get", url="/api/health", body=b"")
    response = invoke("health", request)
    assert response.status_code == 200
    assert json.loads(response.get_body())["version"] == VERSION


def test_header_names_and_methods_are_read_in_any_case() -> None:
    headers = {"CONTENT-Type": "application/json"}
    request = func.HttpRequest(method="post", url="/api/chat", headers=headers, body=b'{"message": " "}')
    response = invoke("chat", request)
    assert (response.status_code, response.headers["Content-Type"]) == (400, "application/problem+json")
    assert json.loads(response.get_body())["code"] == "message_empty"


def test_the_query_reaches_the_contract() -> None:
    request = func.HttpRequest(method="GET", url="/api/chat", params={"message": "x", "max_turns": "0"}, body=b"")
    assert json.loads(invoke("chat", request).get_body())["code"] == "max_turns_out_of_range"


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = "('autogen', 'openai', 'pandas', 'jupyter_client', 'requests', 'httpx', 'pydantic', 'markdown_it', 'local')"
    code = f"import function_app, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_shared_knows_neither_the_host_nor_the_local_stack() -> None:
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / "shared").glob("*.py"))
    assert "azure.functions" not in sources
    assert "import local" not in sources
    assert "from local" not in sources


def test_the_emulator_and_the_client_are_derived_separately() -> None:
    sources = [path.read_text("utf-8") for path in (ROOT / "local").rglob("*.py")]
    assert not any("from shared" in text or "import shared" in text for text in sources)
