"""Finds the functions of an app, by the rules and with the texts of the official Python worker.

Contract: azure-functions-runtime 1.3.0, `loader` and `functions`; the same rules as the worker for <= 3.12.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import sys
import traceback
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import azure.functions as func

from local.functions_host.signature import Signature, check_signature

_SCRIPT_SETTING = "PYTHON_SCRIPT_FILE_NAME"
_SCRIPT_NAME = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_\-]*\.py")
_MODULE_NOT_FOUND = (
    "Cannot find module. Please check the requirements.txt file for the missing module. For more info, please "
    "refer the troubleshooting guide: https://aka.ms/functions-modulenotfound."
)
HTTP_TRIGGER, QUEUE_TRIGGER, TIMER_TRIGGER = "httpTrigger", "queueTrigger", "timerTrigger"
_RUN = (HTTP_TRIGGER, QUEUE_TRIGGER, TIMER_TRIGGER)


class IndexingError(Exception):
    """The app has no usable functions; the text is what the worker would report."""


@dataclass(frozen=True)
class HostedFunction:
    """One function of the app.

    Args:
        name: unique in the app.
        entry: what the developer wrote.
        directory: folder of the file that it is in.
        trigger: type of its trigger, for example `httpTrigger`.
        bindings: its bindings as the worker reports them to the host.
        signature: what its parameters and its result stand for.
    """

    name: str
    entry: Callable[..., Any]
    directory: str
    trigger: str
    bindings: tuple[Mapping[str, Any], ...]
    signature: Signature

    @property
    def is_async(self) -> bool:
        """Whether it runs on the event loop rather than in a thread."""
        return inspect.iscoroutinefunction(self.entry)

    @property
    def not_run_because(self) -> str | None:
        """Why this host cannot run the function, whatever the settings; None when it can."""
        if self.trigger not in _RUN:
            return f"this host does not run {self.trigger} functions yet"
        inputs = [
            binding["type"]
            for binding in self.bindings
            if binding["direction"] == "IN" and binding["type"] != self.trigger
        ]
        return f"this host does not provide {inputs[0]} inputs yet" if inputs else None

    @property
    def trigger_binding(self) -> Mapping[str, Any]:
        """The binding of its trigger, for example name, methods, authLevel and route of an HTTP trigger."""
        return next(binding for binding in self.bindings if binding["type"] == self.trigger)

    def is_disabled(self, environment: Mapping[str, str]) -> bool:
        """Whether the setting `AzureWebJobs.<name>.Disabled` switches it off."""
        value = environment.get(f"AzureWebJobs.{self.name}.Disabled") or environment.get(
            f"AzureWebJobs_{self.name}_Disabled", ""
        )
        return value.lower() in ("1", "true")


def index_functions(app_dir: Path) -> tuple[HostedFunction, ...]:
    """Imports the app's script and indexes its functions.

    Args:
        app_dir: the folder with `function_app.py`, or what PYTHON_SCRIPT_FILE_NAME names; it is put on `sys.path`.

    Raises:
        IndexingError: anything that makes the official worker refuse the app.
    """
    script = os.environ.get(_SCRIPT_SETTING) or "function_app.py"
    try:
        if not _SCRIPT_NAME.fullmatch(script):
            raise ValueError(f"Invalid file name: {script}")
        if not (app_dir / script).is_file():
            raise FileNotFoundError(f"There is no {script} in the app's folder.")
        module = _import(app_dir, Path(script).stem)
        return tuple(_hosted(function) for function in _only_app(module, script).get_functions())
    except Exception as error:
        stack = traceback.format_exc()
        raise IndexingError(
            "Worker failed to index functions\nResult: Failure\n"
            f"Exception: {type(error).__name__}: {_message(error)}\nStack: {stack}"
        ) from error


def _import(app_dir: Path, name: str) -> ModuleType:
    folder = str(app_dir.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    # Always read anew: the module of an app hosted here before has the same name, and can be indexed only once.
    sys.modules.pop(name, None)
    importlib.invalidate_caches()
    return importlib.import_module(name)


def _only_app(module: ModuleType, script: str) -> func.FunctionRegister:
    apps = [value for name in dir(module) if isinstance(value := getattr(module, name, None), func.FunctionRegister)]
    if not apps:
        raise ValueError(f"Could not find top level function app instances in {script}.")
    if len(apps) > 1:
        raise ValueError(
            f"More than one {type(apps[0]).__name__} or other top level function app instances are defined."
        )
    return apps[0]


def _hosted(function: Any) -> HostedFunction:
    entry = function.get_user_function()
    name = str(function.get_function_name())
    bindings = tuple(json.loads(raw) for raw in function.get_raw_bindings())
    return HostedFunction(
        name=name,
        entry=entry,
        directory=str(Path(inspect.getfile(entry)).parent),
        trigger=str(function.get_trigger().type),
        bindings=bindings,
        signature=check_signature(
            name,
            parameters=inspect.signature(entry).parameters,
            annotations=typing.get_type_hints(entry),
            bindings=bindings,
        ),
    )


def _message(error: Exception) -> str:
    return f"{error}. {_MODULE_NOT_FOUND}" if isinstance(error, ImportError) else str(error)
