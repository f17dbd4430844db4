"""What a pool's sessions have installed, as `GET /metadata` tells it."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from typing import Any

from local.session_pool.kinds import NODE, PYTHON
from local.session_pool.wire.dialect import rfc3339

READ_SECONDS = 30.0
_LIST = """
import importlib.metadata as m, json, platform
rows = sorted({(d.metadata["Name"], d.version) for d in m.distributions() if d.metadata["Name"]}, key=str)
print(json.dumps({"version": platform.python_version(), "packages": rows}))
"""


class Metadata:
    """The metadata of one pool, read at the first request and kept.

    Args:
        kind: its `containerType`.
        python: interpreter of its sessions.
    """

    def __init__(self, kind: str, python: str) -> None:
        self._kind = kind
        self._python = python
        self._created_at = time.time()
        self._read: dict[str, Any] | None = None

    async def read(self) -> dict[str, Any]:
        """The metadata in the service's form."""
        if self._read is None:
            self._read = await self._fetch()
        return self._read

    async def _fetch(self) -> dict[str, Any]:
        times = {"createdAt": rfc3339(self._created_at), "lastUpdatedAt": rfc3339(self._created_at)}
        if self._kind == NODE:
            version = (await _output(shutil.which("node") or "node", "--version")).strip().removeprefix("v")
            return {"runtimes": [{"name": "node", "version": version}], "preInstalledPackages": [], **times}
        installed = json.loads(await _output(self._python, "-I", "-c", _LIST))
        packages = [{"name": name, "version": version} for name, version in installed["packages"]]
        row: dict[str, Any] = {
            "runtimes": [{"name": "python", "version": installed["version"]}],
            "preInstalledPackages": packages,
            **times,
        }
        if self._kind == PYTHON:
            kernel = next((package["version"] for package in packages if package["name"] == "ipykernel"), "")
            row["jupyterKernel"] = {
                "name": "python3",
                "version": kernel,
                "projectUrl": "https://github.com/ipython/ipykernel",
                "description": "Python kernel",
            }
        return row


async def _output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, env={}, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), READ_SECONDS)
    return output.decode("utf-8")
