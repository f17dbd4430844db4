"""The kinds of pool (`containerType`): what runs their sessions' code."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from local.session_pool import shell
from local.session_pool.container import Container
from local.session_pool.kernel import Kernel
from local.session_pool.node import NodeContext
from local.session_pool.outcome import Interpreter

PYTHON, NODE, SHELL = "PythonLTS", "NodeLTS", "Shell"


@dataclass(frozen=True)
class Kind:
    """One kind of pool.

    Attributes:
        name: its `containerType`.
        start: makes a new interpreter in a container.
        programs: what has to be in the container, Python first.
        takes_commands: requests bring a `shellCommand` instead of code.
    """

    name: str
    start: Callable[[Container], Awaitable[Interpreter]]
    programs: tuple[str, ...]
    takes_commands: bool = False


def kind_of(name: str, python: str) -> Kind:
    """The kind of that name.

    Args:
        name: `PythonLTS`, `NodeLTS` or `Shell`.
        python: interpreter of the sessions, with ipykernel.

    Raises:
        ValueError: there is no such kind, or what it needs is not installed.
    """
    if name == PYTHON:
        return Kind(name, partial(Kernel.start, python=python), (python,))
    if name == SHELL:
        return Kind(name, shell.start, (python,), takes_commands=True)
    if name != NODE:
        raise ValueError(f"There is no kind of pool {name[:40]!r}: it may be {PYTHON}, {NODE} or {SHELL}.")
    node = shutil.which("node")
    if node is None:
        raise ValueError(f"A pool of kind {NODE} needs node, which is not installed.")
    return Kind(name, partial(NodeContext.start, node=node), (python, node))
