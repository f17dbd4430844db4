"""The local stack: the parts that stand in for Azure and the function app, started and stopped together.

identity ──> session_pool ─┐
             model ────────┼──> functions_host (or Core Tools' func)
             azurite ──────┘
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from local import azurite
from local.choice import MODEL_SETTINGS, Choice, StackRefused
from local.part import Part, PartFailed
from local.session_pool import sandbox

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 30.0
# Core Tools may first download their extension bundle.
CORE_TOOLS_START_SECONDS = 130.0
# azure-identity would take these before the managed-identity endpoint.
_DEVELOPER_CREDENTIALS = (
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_TENANT_ID",
    "AZURE_USERNAME",
    "AZURE_PASSWORD",
)
ENDPOINT = "POOL_MANAGEMENT_ENDPOINT"
IDENTITY, SESSION_POOL, MODEL, STORAGE, HOST = "identity", "session_pool", "model", "azurite", "functions_host"


def session_python() -> Path:
    """The interpreter of the sessions' kernels: `SESSION_PYTHON`, else that of `.venv-session`."""
    given = os.environ.get("SESSION_PYTHON")
    if given:
        return Path(given)
    folder = ROOT / ".venv-session"
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


class Stack:
    """The parts of the local stack, as a context manager.

    Args:
        kernel_python: interpreter of the sessions' kernels; by default `session_python()`.
        choice: which parts are local; by default all, the pool in a sandbox and storage where there can be.
        pools: how many local session pools: the parts `session_pool`, `session_pool_2` and so on.
        storage_is_optional: where Azurite does not start, the others do without it.
        port: the function app's port on 127.0.0.1; 0 for any free one.
        app_dir: folder of `function_app.py`.
        identity_args, pool_args, model_args, storage_args, host_args: further arguments for a part.
        host_env: settings for the function app, over all others.
        core_tools: run the app with `func start`.
        logs_to_terminal: leave what the parts log on standard error instead of keeping the last lines.

    Attributes:
        no_storage: why Azurite did not start, where it is optional; else empty.
    """

    def __init__(
        self,
        kernel_python: Path | str | None = None,
        *,
        choice: Choice | None = None,
        pools: int = 1,
        storage_is_optional: bool = False,
        port: int = 0,
        app_dir: Path = ROOT,
        identity_args: Sequence[str] = (),
        pool_args: Sequence[str] = (),
        model_args: Sequence[str] = (),
        storage_args: Sequence[str] = (),
        host_args: Sequence[str] = (),
        host_env: Mapping[str, str] | None = None,
        core_tools: bool = False,
        logs_to_terminal: bool = False,
    ) -> None:
        self._choice = choice or Choice(sandboxed=not sandbox.missing(), local_storage=not azurite.missing())
        self._storage_is_optional = storage_is_optional
        self._app_dir = app_dir
        self._host_env = dict(host_env or {})
        self._core_tools = core_tools
        self._logs_to_terminal = logs_to_terminal
        self._kernel_python = str(kernel_python or session_python())
        self._extra = {
            IDENTITY: list(identity_args),
            SESSION_POOL: list(pool_args),
            MODEL: list(model_args),
            STORAGE: list(storage_args),
            HOST: list(host_args),
        }
        names = [SESSION_POOL, *(f"{SESSION_POOL}_{number}" for number in range(2, pools + 1))]
        self._pools = names if self._choice.local_pool else []
        self._ports = {HOST: port}
        self._parts: dict[str, Part] = {}
        self._ready: dict[str, dict[str, Any]] = {}
        self.no_storage = ""

    def __enter__(self) -> Stack:
        self.start()
        return self

    def start(self) -> None:
        """Starts all parts and waits for them.

        Raises:
            PartFailed: one did not become ready; the others are stopped.
            StackRefused: the kernels' interpreter is not installed.
        """
        if self._choice.local_pool and not Path(self._kernel_python).exists():
            raise StackRefused("The environment of the sessions' kernels is not installed: run `python3 dev.py ask`.")
        try:
            if self._choice.local_pool:
                self.start_part(IDENTITY)
            together = self._pools + [MODEL] * self._choice.stand_in_model
            together += [STORAGE] * self._choice.local_storage
            for name in together:
                self._launch(name)
            for name in together:
                if name == STORAGE and self._storage_is_optional:
                    self._await_storage()
                else:
                    self._await_ready(name)
            self.start_part(HOST)
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The function app's address, such as `http://127.0.0.1:7071`."""
        return self.part_url(HOST)

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of the running parts, by name."""
        return {name: part.pid for name, part in self._parts.items() if part.running}

    def part_url(self, name: str) -> str:
        """A part's address: `identity`, `session_pool` and its like, `model`, `azurite` or `functions_host`."""
        return str(self._ready[name]["url"])

    def ready(self, name: str) -> dict[str, Any]:
        """What a part announced in its ready line."""
        return dict(self._ready[name])

    def log(self, name: str) -> str:
        """The last lines that a part logged; empty when they go to the terminal."""
        return self._parts[name].log()

    def start_part(self, name: str) -> None:
        """Starts one part and waits for it; one that ran before gets its former port.

        Raises:
            PartFailed: it did not become ready.
        """
        self._launch(name)
        self._await_ready(name)

    def stop_part(self, name: str) -> None:
        """Stops one part in order and waits until it is gone."""
        self._parts[name].stop()

    def kill_part(self, name: str) -> None:
        """Ends one part at once, as a crash would."""
        self._parts[name].kill()

    def check(self) -> None:
        """Looks whether all parts still run.

        Raises:
            PartFailed: one has ended.
        """
        for part in self._parts.values():
            if not part.running:
                raise part.failure()

    def stop(self) -> None:
        """Stops all parts, the function app first."""
        host = self._parts.pop(HOST, None)
        if host is not None:
            host.stop()
        for part in self._parts.values():
            part.ask_to_stop()
        for part in self._parts.values():
            part.stop()
        self._parts.clear()

    def _launch(self, name: str) -> None:
        kind = SESSION_POOL if name in self._pools else name
        module = "core_tools" if name == HOST and self._core_tools else kind
        command = [sys.executable, "-m", f"local.{module}", "--with-parent"]
        command += ["--port", str(self._ports.get(name, 0)), *self._arguments(kind), *self._extra[kind]]
        self._parts[name] = Part(
            name,
            command,
            environment=self._environment(name),
            folder=ROOT,
            keep_log=not self._logs_to_terminal,
        )

    def _await_ready(self, name: str) -> None:
        slow = name == HOST and self._core_tools
        ready = self._parts[name].wait_ready(CORE_TOOLS_START_SECONDS if slow else START_SECONDS)
        self._ready[name] = ready
        # A part that is started again keeps its address, which others were given.
        self._ports[name] = int(str(ready["url"]).rpartition(":")[2])

    def _await_storage(self) -> None:
        try:
            self._await_ready(STORAGE)
        except PartFailed as failure:
            self._parts.pop(STORAGE).stop()
            self.no_storage = str(failure)

    def _arguments(self, name: str) -> list[str]:
        if name == SESSION_POOL:
            jwks_url = str(self._ready[IDENTITY]["jwks_url"])
            unprotected = "--trusted-code-only" if self._choice.trusted else "--unsafe-no-sandbox"
            protection = [] if self._choice.sandboxed else [unprotected]
            return ["--jwks-url", jwks_url, "--kernel-python", self._kernel_python, *protection]
        if name == HOST:
            return ["--app-dir", str(self._app_dir)]
        return []

    def _environment(self, name: str) -> dict[str, str]:
        environment = dict(os.environ)
        if name != HOST:
            return environment
        if self._choice.stand_in_model:
            # Empty, not absent: local.settings.json gives way to whatever the environment has.
            environment.update(dict.fromkeys((*MODEL_SETTINGS, "AZURE_OPENAI_DEPLOYMENT"), ""))
        if self._choice.local_pool:
            for credential in _DEVELOPER_CREDENTIALS:
                environment.pop(credential, None)
        for ready in self._ready.values():
            environment.update(ready.get("env") or {})
        if self._pools:
            endpoints = [self._ready[pool]["env"][ENDPOINT] for pool in self._pools]
            environment[ENDPOINT] = ",".join(endpoints)
        environment.setdefault("PYTHON_THREADPOOL_THREAD_COUNT", "64")
        environment.update(_without_proxy(environment))
        return {**environment, **self._host_env}


def _without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that keep requests to this machine away from a proxy, where one is configured."""
    present = [environment.get(name, "") for name in ("NO_PROXY", "no_proxy")]
    value = ",".join([*filter(None, present), "127.0.0.1", "localhost"])
    return {"NO_PROXY": value, "no_proxy": value}


def watch(stack: Stack, *, interval_seconds: float = 0.5) -> None:
    """Waits until a part ends by itself, or until this process is interrupted.

    Raises:
        PartFailed: a part has ended.
    """
    while True:
        stack.check()
        time.sleep(interval_seconds)
