"""What the management libraries' models say of a resource: property names, types, values of enumerations, API version.

Two generations of these libraries are read: the older ones list their properties in `_attribute_map`, the newer ones
in `_attr_to_rest_field`. In both the docstrings name the types.
"""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

from tests.infra.bicep import Name, key

SIMPLE = {"str": str, "int": int, "bool": bool}


@dataclass(frozen=True)
class Property:
    """A property of a model.

    Attributes:
        type: as the docstring writes it.
        required: it has to be given.
        read_only: it cannot be given.
    """

    type: str
    required: bool
    read_only: bool


@dataclass(frozen=True)
class Model:
    """A model of a library.

    Attributes:
        package: that has the model, such as `azure.mgmt.web`.
        name: of its class.
    """

    package: str
    name: str

    @property
    def api_version(self) -> str:
        """The version that the library speaks."""
        source = inspect.getsource(import_module(f"{self.package}._configuration"))
        [version] = set(re.findall(r"kwargs.pop\(.api_version., .([\d-]+(?:preview)?).\)", source))
        return str(version)

    def find(self, type_: str) -> Model | type[enum.Enum] | None:
        """The model or enumeration that a docstring's type names; None for one that is neither."""
        names = re.findall(r"~[\w.]*\.(\w+)", type_)
        found = getattr(import_module(f"{self.package}.models"), names[-1], None) if names else None
        if inspect.isclass(found) and issubclass(found, enum.Enum):
            return found
        return Model(self.package, names[-1]) if found else None

    def properties(self) -> dict[str, Any]:
        """Its properties by their names on the wire; a dict where the library has flattened an object."""
        tree: dict[str, Any] = {}
        for path, row in _properties(self.package, self.name).items():
            *above, last = re.split(r"(?<!\\)\.", path)
            level = tree
            for part in above:
                level = level.setdefault(part, {})
            level[last.replace("\\.", ".")] = row
        return tree


@lru_cache(maxsize=256)
def _properties(package: str, name: str) -> dict[str, Property]:
    class_ = getattr(import_module(f"{package}.models"), name)
    types, texts = _documented(class_)
    if hasattr(class_, "_attribute_map"):
        rules = class_._validation
        return {
            row["key"]: Property(
                types.get(attribute, row["type"]),
                bool(rules.get(attribute, {}).get("required")),
                bool(rules.get(attribute, {}).get("readonly")),
            )
            for attribute, row in class_._attribute_map.items()
        }
    class_({})  # only then does it know its fields
    return {
        field._rest_name: Property(
            types.get(attribute, ""), texts.get(attribute, "").endswith("Required."), field._visibility == ["read"]
        )
        for attribute, field in class_._attr_to_rest_field.items()
    }


def _documented(class_: type) -> tuple[dict[str, str], dict[str, str]]:
    """The types and the texts of the attributes, from the docstrings of a class and its bases."""
    types: dict[str, str] = {}
    texts: dict[str, str] = {}
    for base in reversed(class_.__mro__):
        text = " ".join((base.__doc__ or "").split())
        types |= dict(re.findall(r":vartype (\w+): (.+?)(?= :ivar|$)", text))
        texts |= {name: what.strip() for name, what in re.findall(r":ivar (\w+): (.*?)(?= :vartype)", text)}
    return types, texts


def faults(model: Model, value: Any, where: str) -> Iterator[str]:
    """What of a Bicep value does not fit a model: names, types, required properties, values of enumerations."""
    yield from _object_faults(model, model.properties(), value, where)


def _object_faults(model: Model, known: dict[str, Any], value: Any, where: str) -> Iterator[str]:
    if not isinstance(value, dict) or value.keys() & {"operator", "function"}:
        return
    for name, child in value.items():
        row = known.get(key(name))
        path = f"{where}.{key(name)}"
        if row is None:
            yield f"{path} is not known"
        elif isinstance(row, dict):
            yield from _object_faults(model, row, child, path)
        elif row.read_only:
            yield f"{path} cannot be set"
        else:
            yield from _faults(model, row.type, child, path)
    required = {name for name, row in known.items() if isinstance(row, Property) and row.required}
    yield from (f"{where}.{name} is required" for name in required - {key(name) for name in value})


def _faults(model: Model, type_: str, value: Any, where: str) -> Iterator[str]:
    for plain in _plain(value):
        inner = re.fullmatch(r"(list\[|dict\[str, )(.*)\]", type_)
        if inner:
            yield from _collection_faults(model, inner[1] == "list[", inner[2], plain, where)
        else:
            yield from _value_faults(model, type_, plain, where)


def _plain(value: Any) -> Iterator[Any]:
    """The values that an expression can have, as far as they are written there."""
    if isinstance(value, dict) and "operator" in value:
        if value["operator"]["type"] == "conditional":
            for branch in ("true_value", "false_value"):
                yield from _plain(value["operator"]["operands"][branch])
    elif not isinstance(value, Name) and not (isinstance(value, dict) and "function" in value):
        yield value


def _value_faults(model: Model, type_: str, value: Any, where: str) -> Iterator[str]:
    target = model.find(type_)
    if isinstance(target, Model):
        yield from _object_faults(target, target.properties(), value, where)
    elif target is not None:
        allowed = [member.value for member in target]
        if value not in allowed:
            yield f"{where} is {value!r}, which is none of {', '.join(map(str, allowed))}"
    elif type_ in SIMPLE and type(value) is not SIMPLE[type_]:
        yield f"{where} is no {type_}"


def _collection_faults(model: Model, is_list: bool, type_: str, value: Any, where: str) -> Iterator[str]:
    if is_list and isinstance(value, list):
        children = value
    elif not is_list and isinstance(value, dict):
        children = list(value.values())
    else:
        yield f"{where} is no {'list' if is_list else 'object'}"
        return
    for child in children:
        yield from _faults(model, type_, child, where)


def readable(model: Model, path: list[str]) -> bool:
    """Whether a reply has what a path of property names leads to."""
    known: dict[str, Any] = model.properties()
    for part in path:
        row = known.get(part)
        if row is None:
            return False
        if isinstance(row, dict):
            known = row
            continue
        target = model.find(row.type)
        known = target.properties() if isinstance(target, Model) else {}
    return True
