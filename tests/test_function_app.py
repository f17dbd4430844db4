"""The app as the Functions worker sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import function_app

ROOT = Path(__file__).parents[1]


def test_the_worker_finds_its_routes() -> None:
    found = {}
    for function in function_app.app.get_functions():
        trigger = json.loads(function.get_raw_bindings()[0])
        found[trigger["route"]] = (sorted(trigger["methods"]), str(trigger["authLevel"]).upper())
    assert found == {"chat": (["GET", "POST"], "FUNCTION"), "health": (["GET"], "ANONYMOUS")}


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = "('autogen', 'openai', 'pandas', 'jupyter_client', 'requests', 'httpx', 'pydantic', 'local')"
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
