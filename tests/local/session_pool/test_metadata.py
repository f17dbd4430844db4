"""What a pool says about its sessions."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local.session_pool.metadata import Metadata
from tests.local.session_pool.kernels import kernel_python
from tests.needs import give_up


def read(metadata: Metadata) -> dict[str, Any]:
    return asyncio.run(asyncio.wait_for(metadata.read(), 60))


def test_python_with_its_packages_and_kernel() -> None:
    body = read(Metadata("PythonLTS", kernel_python()))
    code = "import json, platform, importlib.metadata as m; print(json.dumps([platform.python_version(), "
    code += "m.version('ipykernel'), m.version('pandas')]))"
    ran = subprocess.run([kernel_python(), "-c", code], capture_output=True, check=True, timeout=60)
    version, kernel, pandas = json.loads(ran.stdout)
    assert body["runtimes"] == [{"name": "python", "version": version}]
    assert {"name": "pandas", "version": pandas} in body["preInstalledPackages"]
    names = [row["name"] for row in body["preInstalledPackages"]]
    assert names == sorted(names)
    assert len(names) == len(set(names))
    assert body["jupyterKernel"]["name"] == "python3"
    assert body["jupyterKernel"]["version"] == kernel
    assert body["createdAt"] == body["lastUpdatedAt"]
    assert body["createdAt"].endswith("Z")


def test_shell_has_no_kernel() -> None:
    body = read(Metadata("Shell", kernel_python()))
    assert body["runtimes"][0]["name"] == "python"
    assert "jupyterKernel" not in body


def test_node() -> None:
    node = shutil.which("node") or give_up("node is not installed")
    ran = subprocess.run([node, "--version"], capture_output=True, text=True, check=True, timeout=60)
    body = read(Metadata("NodeLTS", kernel_python()))
    assert body["runtimes"] == [{"name": "node", "version": ran.stdout.strip().removeprefix("v")}]
    assert body["preInstalledPackages"] == []
    assert "jupyterKernel" not in body


def test_it_is_read_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho >> {log}\nexec {kernel_python()} "$@"\n', "utf-8")
    python.chmod(0o755)
    metadata = Metadata("PythonLTS", str(python))
    assert read(metadata) == read(metadata)
    assert log.read_text("utf-8") == "\n"


def test_nothing_of_our_environment_and_folder_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "example-1.0.dist-info").mkdir()
    (tmp_path / "example-1.0.dist-info" / "METADATA").write_text("Name: example\nVersion: 1.0\n", "utf-8")
    (tmp_path / "platform.py").write_text("raise SystemExit(1)", "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    names = [row["name"] for row in read(Metadata("PythonLTS", kernel_python()))["preInstalledPackages"]]
    assert "pandas" in names
    assert "example" not in names
