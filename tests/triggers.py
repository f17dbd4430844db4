"""The app's triggers as the worker tells the host of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import function_app


@dataclass(frozen=True)
class Trigger:
    """One function: what it is called, the binding that triggers it, and what runs."""

    name: str
    binding: dict[str, Any]
    entry: Callable[..., Any]

    @property
    def routes(self) -> set[tuple[str, str]]:
        """Its path and methods; none where it is not called by HTTP."""
        methods = self.binding["methods"] if self.binding["type"] == "httpTrigger" else []
        return {(self.binding["route"], method) for method in methods}


# The worker asks once, and the library answers once.
TRIGGERS = [
    Trigger(str(function.get_function_name()), json.loads(function.get_raw_bindings()[0]), function.get_user_function())
    for function in function_app.app.get_functions()
]
