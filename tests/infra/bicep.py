"""Reads the Bicep files of `infra/` as data, with pycep, for the tests to ask questions about them.

What pycep does not tell apart is told apart here: a text in quotes is a `str`, a name is a `Name`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from lark import Token
from pycep import BicepParser
from pycep.transformer import BicepToJson

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
MAIN = "main.bicep"


class Name(str):
    """A name in an expression, as against a text in quotes."""


class _Reader(BicepToJson):  # type: ignore[misc]  # pycep has no types
    def string(self, arg: tuple[Token]) -> str:
        text = str(arg[0])
        return str(super().string(arg)) if text.startswith("'") else Name(text)


@lru_cache(maxsize=64)
def parsed(text: str) -> dict[str, Any]:
    """A Bicep file's declarations by kind and name.

    Raises:
        lark.exceptions.UnexpectedInput: it is no Bicep.
    """
    content: dict[str, Any] = _Reader(add_line_numbers=False).transform(_parser().lark_parser.parse(text))
    return content


@lru_cache(maxsize=1)
def _parser() -> BicepParser:
    return BicepParser()


@dataclass(frozen=True)
class File:
    """A Bicep file.

    Attributes:
        path: relative to `infra`, with slashes.
        text: all of it.
    """

    path: str
    text: str

    def declared(self, kind: str) -> dict[str, Any]:
        """What it declares of one kind: parameters, variables, resources, modules, outputs."""
        found: dict[str, Any] = parsed(self.text).get(kind, {})
        return found

    @cached_property
    def resources(self) -> dict[str, Any]:
        """Its resources by name, those that exist already aside."""
        return {name: node for name, node in self.declared("resources").items() if not node["existing"]}

    def module_path(self, name: str) -> str:
        """Where a module of it is, relative to `infra`."""
        path: str = self.declared("modules")[name]["detail"]["path"]
        return posixpath.normpath(posixpath.join(posixpath.dirname(self.path), path))


@dataclass(frozen=True)
class Infrastructure:
    """All Bicep files, as they are or with a change.

    Attributes:
        files: by their paths.
    """

    files: Mapping[str, File]

    @classmethod
    def of_project(cls) -> Infrastructure:
        """The project's own."""
        paths = sorted(INFRA.rglob("*.bicep"))
        files = (File(path.relative_to(INFRA).as_posix(), path.read_text("utf-8")) for path in paths)
        return cls({file.path: file for file in files})

    def changed(self, path: str, old: str, new: str) -> Infrastructure:
        """A copy in which every `old` of one file is `new`."""
        file = self.files[path]
        assert old in file.text, f"{path} has no {old!r}"
        return Infrastructure({**self.files, path: File(path, file.text.replace(old, new))})

    def resources(self) -> Iterator[tuple[File, str, dict[str, Any]]]:
        """Every resource that is made: its file, its name there, and its declaration."""
        for file in self.files.values():
            for name, node in file.resources.items():
                yield file, name, node


def body(node: dict[str, Any]) -> dict[str, Any]:
    """The properties of a declared resource or module, out of its loop or condition."""
    config: dict[str, Any] = node["config"]
    while "condition" in config and "config" in config:
        config = config["config"]
    return config


def key(text: str) -> str:
    """A property's name without the quotes that pycep leaves on it."""
    return text.strip("'")


def descriptions(node: dict[str, Any]) -> list[str]:
    """What `@description` says of a declaration."""
    return [row["argument"] for row in node["decorators"] if row["type"] == "description"]


def values(node: Any) -> Iterator[Any]:
    """A node and everything below it."""
    yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from values(child)


def references(node: Any) -> Iterator[str]:
    """The names that an expression uses; not those of properties, nor those that its own loops bring."""
    if isinstance(node, Name):
        yield str(node)
    elif isinstance(node, str):
        for expression in re.findall(r"\$\{([^}]*)\}", node):
            yield from re.findall(r"(?<![\w.'])([A-Za-z_]\w*)(?![\w('])", expression)
    elif isinstance(node, list):
        for item in node:
            yield from references(item)
    elif isinstance(node, dict):
        yield from _references_of(node)


def _references_of(node: dict[str, Any]) -> Iterator[str]:
    if node.get("type") == "property_accessor":
        yield from references(node["operands"]["operand_1"])
        return
    own = set()
    if "loop_type" in node:
        own = {str(node["loop_type"]["detail"].get(part)) for part in ("item_name", "index_name")}
    for name, child in node.items():
        if name not in ("item_name", "index_name"):
            yield from (used for used in (*references(key(name)), *references(child)) if used not in own)
