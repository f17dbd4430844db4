"""Route templates of ASP.NET Core, as the `route` of an HTTP trigger may use them.

Literals, `{id}`, `{id?}`, `{id=5}`, `{id:guid}`, `{n:int:min(1)}`, `{name}.{ext?}` and `{*rest}`; literals
match without regard to case. Order of preference: the host's WebJobsRouteBuilder. The constraint
`datetime` is not supported: it depends on .NET's date parser.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

_PARAMETER = re.compile(
    r"(?P<star>\*{0,2})(?P<name>[^/{}*?:=]+)(?P<constraints>(?::\w+(?:\(.*?\))?)*?)"
    r"(?:=(?P<default>[^?]*))?(?P<optional>\??)",
    re.DOTALL,
)
_CONSTRAINT = re.compile(r":(\w+)(?:\((.*?)\)(?=:|$))?", re.DOTALL)
_PIECE = re.compile(r"\{(?!\{)(?P<parameter>(?:[^{}]|\{\{|\}\})*)\}(?!\})|(?P<text>(?:[^{}/]|\{\{|\}\})+)|(?P<slash>/)")
_NUMBER = r"[+-]?(?:[0-9][0-9,]*\.?[0-9]*|\.[0-9]+)"
_GUID = re.compile(r"[0-9a-f]{32}|(?P<open>[{(]?)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}[)}]?", re.IGNORECASE)
_SIMPLE = {
    "bool": re.compile(r"true|false", re.IGNORECASE),
    "decimal": re.compile(_NUMBER),
    "double": re.compile(_NUMBER + r"(?:e[+-]?[0-9]+)?", re.IGNORECASE),
    "float": re.compile(_NUMBER + r"(?:e[+-]?[0-9]+)?", re.IGNORECASE),
    "guid": _GUID,
    "alpha": re.compile(r"[a-z]*", re.IGNORECASE),
    "required": re.compile(r".+", re.DOTALL),
}
_CLOSING = {"": "", "{": "}", "(": ")"}

Check = Callable[[str], bool]


class RouteError(Exception):
    """A route template that cannot be used; the text says why."""


@dataclass(frozen=True)
class _Parameter:
    name: str
    checks: tuple[Check, ...]
    optional: bool
    default: str | None
    catch_all: bool

    def accepts(self, value: str) -> bool:
        return all(check(value) for check in self.checks)


@dataclass(frozen=True)
class _Segment:
    pattern: re.Pattern[str]
    parameters: tuple[_Parameter, ...]
    starts_with: str | _Parameter

    @property
    def may_be_absent(self) -> bool:
        if len(self.parameters) != 1 or not isinstance(self.starts_with, _Parameter):
            return False
        only = self.parameters[0]
        return only.optional or only.catch_all or only.default is not None


@dataclass(frozen=True)
class RouteTemplate:
    """A parsed template; make it with `parse`."""

    text: str
    _segments: tuple[_Segment, ...]

    def match(self, path: str) -> dict[str, str] | None:
        """The route parameters in `path`, or None when it is another route.

        Args:
            path: the decoded path of a URL, see `decode_path`; leading slash and one trailing slash are free.
        """
        parts = path.removeprefix("/").removesuffix("/").split("/")
        if parts == [""]:
            parts = []
        values: dict[str, str] = {}
        for index, segment in enumerate(self._segments):
            if segment.parameters and segment.parameters[0].catch_all:
                return values if _take(segment, "/".join(parts[index:]), values) else None
            part = parts[index] if index < len(parts) else ""
            if not _take(segment, part, values):
                return None
        return values if len(parts) <= len(self._segments) else None

    def comes_before(self, other: RouteTemplate) -> int:
        """Negative when this route is tried before `other`, positive when after, 0 when in order of definition."""
        for mine, theirs in zip(self._segments, other._segments, strict=False):
            order = _compare(mine.starts_with, theirs.starts_with)
            if order:
                return order
        return len(other._segments) - len(self._segments)


preference = functools.cmp_to_key(RouteTemplate.comes_before)
"""Sort key for templates: the route to try first comes first."""


def decode_path(raw_path: bytes) -> str:
    """A URL's path as ASP.NET Core hands it to its routes: all but `%2F` decoded."""
    return unquote(re.sub(rb"%2[fF]", b"%252F", raw_path))


def parse(template: str) -> RouteTemplate:
    """Parses a template.

    Raises:
        RouteError: syntax error, unknown constraint, or a name that comes twice.
    """
    segments = [_segment(pieces, template) for pieces in _split(template)]
    parameters = [parameter for segment in segments for parameter in segment.parameters]
    names = [parameter.name.lower() for parameter in parameters]
    if len(set(names)) != len(names):
        raise RouteError(f"The route template '{template}' has a parameter name more than once.")
    if any(segment.parameters[0].catch_all for segment in segments[:-1] if segment.parameters):
        raise RouteError(f"The route template '{template}' has a catch-all parameter that is not its last segment.")
    return RouteTemplate(template, tuple(segments))


def _split(template: str) -> Iterator[list[re.Match[str]]]:
    pieces: list[re.Match[str]] = []
    position = 0
    while position < len(template):
        match = _PIECE.match(template, position)
        if match is None:
            raise RouteError(f"The route template '{template}' has a brace without its partner.")
        position = match.end()
        if match["slash"] is None:
            pieces.append(match)
        elif not pieces:
            raise RouteError(f"The route template '{template}' has an empty segment.")
        else:
            yield pieces
            pieces = []
    if pieces:
        yield pieces


def _segment(pieces: list[re.Match[str]], template: str) -> _Segment:
    pattern = ""
    parameters: list[_Parameter] = []
    starts_with: str | _Parameter = ""
    for piece in pieces:
        if piece["text"] is not None:
            part: str | _Parameter = _unescape(piece["text"])
        else:
            part = _parameter(_unescape(piece["parameter"]), template)
        if not pattern:
            starts_with = part
        if isinstance(part, _Parameter):
            pattern = _with_parameter(pattern, part, len(parameters), template)
            parameters.append(part)
        else:
            pattern += re.escape(part)
    if len(pieces) > 1 and any(parameter.catch_all for parameter in parameters):
        raise RouteError(f"The route template '{template}' mixes a catch-all parameter with other text.")
    return _Segment(re.compile(pattern, re.IGNORECASE | re.DOTALL), tuple(parameters), starts_with)


def _with_parameter(pattern: str, parameter: _Parameter, index: int, template: str) -> str:
    if not pattern or not parameter.optional:
        return f"{pattern}(?P<p{index}>.+)"
    # The period goes with an optional extension: `{name}.{ext?}` also matches `report`.
    if not pattern.endswith(r"\."):
        raise RouteError(f"The route template '{template}' has an optional part that does not follow a period.")
    return pattern[:-2].replace(">.+)", ">.+?)") + rf"(?:\.(?P<p{index}>[^.]+))?"


def _take(segment: _Segment, part: str, values: dict[str, str]) -> bool:
    if not part:
        if not segment.may_be_absent:
            return False
        only = segment.parameters[0]
        if only.default is not None:
            values[only.name] = only.default
        return True
    match = segment.pattern.fullmatch(part)
    if match is None:
        return False
    for index, parameter in enumerate(segment.parameters):
        value = match[f"p{index}"]
        if value is None:
            continue
        if not parameter.accepts(value):
            return False
        values[parameter.name] = value
    return True


def _compare(mine: str | _Parameter, theirs: str | _Parameter) -> int:
    if isinstance(mine, _Parameter) != isinstance(theirs, _Parameter):
        return 1 if isinstance(mine, _Parameter) else -1
    if isinstance(mine, _Parameter) and isinstance(theirs, _Parameter):
        return len(theirs.checks) - len(mine.checks)
    left, right = str(mine).lower(), str(theirs).lower()
    return (left > right) - (left < right)


def _parameter(content: str, template: str) -> _Parameter:
    match = _PARAMETER.fullmatch(content)
    if match is None:
        raise RouteError(f"The route template '{template}' has an invalid parameter '{{{content}}}'.")
    checks = tuple(
        _check(constraint[1], constraint[2], template) for constraint in _CONSTRAINT.finditer(match["constraints"])
    )
    return _Parameter(match["name"], checks, bool(match["optional"]), match["default"], bool(match["star"]))


def _check(name: str, argument: str | None, template: str) -> Check:
    try:
        check = _simple_check(name) if argument is None else _check_with_argument(name, argument)
    except (ValueError, re.error):
        check = None
    if check is None:
        shown = name if argument is None else f"{name}({argument})"
        raise RouteError(f"The route template '{template}' has a constraint that this host does not know: '{shown}'.")
    return check


def _simple_check(name: str) -> Check | None:
    if name == "int":
        return lambda value: _is_integer(value, -(2**31), 2**31 - 1)
    if name == "long":
        return lambda value: _is_integer(value, -(2**63), 2**63 - 1)
    if name == "guid":
        return _is_guid
    pattern = _SIMPLE.get(name)
    return None if pattern is None else lambda value: pattern.fullmatch(value) is not None


def _check_with_argument(name: str, argument: str) -> Check | None:
    if name == "regex":
        pattern = re.compile(argument, re.IGNORECASE)
        return lambda value: pattern.search(value) is not None
    numbers = [int(part) for part in argument.split(",")]
    low, high = numbers[0], numbers[-1]
    if len(numbers) > (2 if name in ("length", "range") else 1) or (name == "range" and len(numbers) != 2):
        return None
    checks: dict[str, Check] = {
        "min": lambda value: _is_integer(value, low, 2**63 - 1),
        "max": lambda value: _is_integer(value, -(2**63), high),
        "range": lambda value: _is_integer(value, low, high),
        "minlength": lambda value: len(value) >= low,
        "maxlength": lambda value: len(value) <= high,
        "length": lambda value: low <= len(value) <= high,
    }
    return checks.get(name)


def _is_integer(value: str, low: int, high: int) -> bool:
    # 20 characters hold every 64-bit number; more would only make int() slow.
    return re.fullmatch(r"[+-]?[0-9]{1,20}", value) is not None and low <= int(value) <= high


def _is_guid(value: str) -> bool:
    match = _GUID.fullmatch(value)
    if match is None:
        return False
    opening = match["open"] or ""
    return value.endswith(_CLOSING[opening]) if opening else value[-1] not in ")}"


def _unescape(text: str) -> str:
    return text.replace("{{", "{").replace("}}", "}")
