"""The part of Logic Apps' expression language that the example definitions use; anything else is refused.

`@parameters('x')` keeps its type, `@{...}` inside a text becomes text, `@@` at the start stands for one `@`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

Functions = Mapping[str, Callable[..., Any]]

_TOKEN = re.compile(
    r"\s*(?:(?P<name>[A-Za-z_$][A-Za-z0-9_$]*)|(?P<number>-?\d+(?:\.\d+)?)|'(?P<text>(?:[^']|'')*)'|(?P<sign>\?\.|\?\[|[()\[\],.]))"
)
_CONSTANTS: Mapping[str, Any] = {"true": True, "false": False, "null": None}


class NotPlayed(Exception):
    """A definition holds something that the player does not know: it has to learn it, or the file has to change."""


class InvalidTemplate(Exception):
    """An expression failed on the values that it met, as it would in Logic Apps: its action fails."""


def evaluate(template: Any, functions: Functions) -> Any:
    """A value of a definition with its expressions replaced, through lists and objects.

    Args:
        template: any JSON value of a definition.
        functions: what its expressions may call, beside the functions that depend on nothing.

    Raises:
        NotPlayed: an expression is not in the part of the language that the player knows.
        InvalidTemplate: an expression asks for something that is not there.
    """
    if isinstance(template, Mapping):
        return {name: evaluate(value, functions) for name, value in template.items()}
    if isinstance(template, list):
        return [evaluate(value, functions) for value in template]
    if not isinstance(template, str):
        return template
    if template.startswith("@@"):
        return template[1:]
    if template.startswith("@") and not template.startswith("@{"):
        return _Expression(template[1:], functions).whole()
    return _interpolated(template, functions)


def names_called(template: Any) -> set[str]:
    """The functions that the expressions of a value call: to check a definition before it is played."""
    called: set[str] = set()

    class Every(dict[str, Callable[..., Any]]):
        def __missing__(self, name: str) -> Callable[..., Any]:
            def note(*_: Any) -> Any:
                called.add(name)
                return _Anything()

            return note

        def __contains__(self, name: object) -> bool:
            return True

    evaluate(template, Every())
    return called


class _Anything:
    """Stands for every value while a definition is only checked."""

    def __str__(self) -> str:
        return ""


def as_text(value: Any) -> str:
    """A value as it looks inside a text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "True" if value else "False"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _interpolated(template: str, functions: Functions) -> str:
    text, rest = "", template
    while "@{" in rest:
        before, _, rest = rest.partition("@{")
        if before.endswith("@"):
            raise NotPlayed(f"an escaped expression inside a text: {template}")
        end = _end(rest, template)
        text += before + as_text(_Expression(rest[:end], functions).whole())
        rest = rest[end + 1 :]
    return text + rest


def _end(rest: str, template: str) -> int:
    quoted = False
    for index, character in enumerate(rest):
        if character == "'":
            quoted = not quoted
        elif character == "}" and not quoted:
            return index
    raise NotPlayed(f"an expression without an end: {template}")


class _Expression:
    def __init__(self, source: str, functions: Functions) -> None:
        self._source = source
        self._functions = functions
        self._tokens = list(self._split())
        self._next = 0

    def whole(self) -> Any:
        value = self._value()
        if self._next != len(self._tokens):
            raise NotPlayed(f"the end of the expression {self._source}")
        return value

    def _split(self) -> list[tuple[str, str]]:
        tokens, at = [], 0
        source = self._source.rstrip()
        while at < len(source):
            match = _TOKEN.match(source, at)
            if match is None:
                raise NotPlayed(f"{source[at:]!r} in the expression {self._source}")
            kind = str(match.lastgroup)
            tokens.append((kind, match.group(kind)))
            at = match.end()
        return tokens

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._next] if self._next < len(self._tokens) else ("end", "")

    def _take(self, sign: str | None = None) -> tuple[str, str]:
        token = self._peek()
        if sign is not None and token != ("sign", sign):
            raise NotPlayed(f"the expression {self._source}: expected {sign}")
        self._next += 1
        return token

    def _value(self) -> Any:
        kind, text = self._take()
        if kind == "text":
            return text.replace("''", "'")
        if kind == "number":
            return float(text) if "." in text else int(text)
        if kind != "name":
            raise NotPlayed(f"the expression {self._source}")
        if self._peek() != ("sign", "("):
            if text not in _CONSTANTS:
                raise NotPlayed(f"the word {text} in the expression {self._source}")
            return _CONSTANTS[text]
        return self._selected(self._call(text))

    def _call(self, name: str) -> Any:
        self._take("(")
        arguments: list[Any] = []
        while self._peek() != ("sign", ")"):
            if arguments:
                self._take(",")
            arguments.append(self._value())
        self._take(")")
        if name in self._functions:
            return self._functions[name](*arguments)
        if name in PURE:
            return PURE[name](*arguments)
        raise NotPlayed(f"the function {name}() in the expression {self._source}")

    def _selected(self, value: Any) -> Any:
        while self._peek() in (("sign", "["), ("sign", "?["), ("sign", "."), ("sign", "?.")):
            sign = self._take()[1]
            if sign.endswith("["):
                key = self._value()
                self._take("]")
            else:
                key = self._take()[1]
            value = self._property(value, key, optional=sign.startswith("?"))
        return value

    def _property(self, value: Any, key: Any, *, optional: bool) -> Any:
        if isinstance(value, _Anything):
            return value
        if isinstance(value, Mapping) and key in value:
            return value[key]
        if isinstance(value, list) and isinstance(key, int) and -1 < key < len(value):
            return value[key]
        # In Logic Apps, too, the question mark forgives an absent property, but not a value that can have none.
        if optional and (value is None or isinstance(value, Mapping)):
            return None
        raise InvalidTemplate(f"{self._source}: {key!r} cannot be selected")


def _unless_checking(function: Callable[..., Any]) -> Callable[..., Any]:
    def called(*arguments: Any) -> Any:
        if any(isinstance(argument, _Anything) for argument in arguments):
            return _Anything()
        return function(*arguments)

    return called


def _base64_to_string(text: Any) -> str:
    if not isinstance(text, str):
        raise InvalidTemplate("base64ToString() takes a text")
    return base64.b64decode(text).decode("utf-8")


PURE: Functions = {
    "base64ToString": _unless_checking(_base64_to_string),
    "coalesce": _unless_checking(lambda *values: next((value for value in values if value is not None), None)),
    "concat": _unless_checking(lambda *values: "".join(map(as_text, values))),
    "encodeURIComponent": _unless_checking(lambda text: quote(str(text), safe="")),
    "equals": _unless_checking(lambda one, other: one == other),
}
