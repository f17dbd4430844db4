"""Which tests carry which requirements, read from their source: no test has to run for it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
CHECK = "test_requirements.py"


@dataclass(frozen=True)
class MarkedTest:
    """One test function.

    Attributes:
        name: with its file's.
        ids: the requirements that it carries.
        local_only: it is skipped against a real pool.
    """

    name: str
    ids: tuple[str, ...]
    local_only: bool


def marked_tests() -> Iterator[MarkedTest]:
    """All tests of this folder but those of the requirements themselves."""
    for path in sorted(FOLDER.glob("test_*.py")):
        if path.name == CHECK:
            continue
        tree = ast.parse(path.read_text("utf-8"))
        everywhere = any(isinstance(node, ast.Assign) and "local_only" in ast.unparse(node) for node in tree.body)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                ids = tuple(_arguments(node, "pytest.mark.parity"))
                local = everywhere or bool(list(_arguments(node, "pytest.mark.local_only")))
                yield MarkedTest(f"{path.name}::{node.name}", ids, local)


def _arguments(function: ast.FunctionDef, marker: str) -> Iterator[str]:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == marker:
            yield from (str(ast.literal_eval(argument)) for argument in decorator.args)
