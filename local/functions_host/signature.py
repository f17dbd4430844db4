"""Checks a function's parameters against its bindings, with the official worker's rules and texts.

Contract: azure-functions-runtime 1.3.0, `functions.Registry`.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import azure.functions as func

Binding = Mapping[str, Any]


class FunctionLoadError(RuntimeError):
    """A function that does not fit its bindings.

    Args:
        function: its name.
        problem: what is wrong.
    """

    def __init__(self, function: str, problem: str) -> None:
        super().__init__(f"cannot load the {function} function: {problem}")


@dataclass(frozen=True)
class Signature:
    """What the parameters and the result of a function stand for.

    Args:
        inputs: names of the parameters that bindings fill.
        outputs: names of the parameters that are `func.Out`.
        wants_context: whether it takes `context`.
        has_return: whether what it returns goes somewhere.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    wants_context: bool
    has_return: bool


def check_signature(
    function: str,
    *,
    parameters: Mapping[str, inspect.Parameter],
    annotations: Mapping[str, Any],
    bindings: Sequence[Binding],
) -> Signature:
    """What the parameters stand for.

    Raises:
        FunctionLoadError: a parameter without binding, a binding without parameter, or an annotation that
            does not fit.
    """
    bound = {binding["name"]: binding for binding in bindings if binding["name"] != "$return"}
    names = list(parameters)
    wants_context = "context" in names and "context" not in bound
    if wants_context:
        names.remove("context")
        _check_context(function, annotations)
    _check_names(function, set(names), set(bound))
    for name in names:
        if name in annotations:
            _check_parameter(function, bound[name], annotations[name])
    returns = next((binding for binding in bindings if binding["name"] == "$return"), None)
    if returns is not None and "return" in annotations:
        _check_return(function, returns, annotations["return"])
    return Signature(
        inputs=tuple(name for name in names if not _is_output(bound[name])),
        outputs=tuple(name for name in names if _is_output(bound[name])),
        wants_context=wants_context,
        has_return=returns is not None or any(_implicit_output(binding["type"]) for binding in bound.values()),
    )


def _check_context(function: str, annotations: Mapping[str, Any]) -> None:
    if "context" in annotations:
        annotation = annotations["context"]
        if not isinstance(annotation, type) or annotation.__name__ != "Context":
            raise FunctionLoadError(
                function,
                f'the "context" parameter is expected to be of type azure.functions.Context, got "{annotation!r}"',
            )


def _check_names(function: str, parameters: set[str], bound: set[str]) -> None:
    if parameters - bound:
        raise FunctionLoadError(
            function,
            "the following parameters are declared in Python but not in the function definition "
            f"(function.json or function decorators):  {parameters - bound!r}",
        )
    if bound - parameters:
        raise FunctionLoadError(
            function,
            "Extra parameters in binding definition — the following parameters are declared as bindings but are "
            f"not present in Python: {bound - parameters!r}",
        )


def _check_parameter(function: str, binding: Binding, annotation: Any) -> None:
    name = binding["name"]
    origin = typing.get_origin(annotation) or annotation
    is_out = isinstance(origin, type) and origin.__name__ == "Out"
    wanted = annotation
    if is_out:
        arguments = typing.get_args(annotation)
        if len(arguments) != 1:
            raise FunctionLoadError(function, f"binding {name} has invalid Out annotation {annotation!r}")
        wanted = arguments[0]
    if not isinstance(wanted, type) and typing.get_origin(wanted) is None:
        raise FunctionLoadError(function, f"binding {name} has invalid non-type annotation {annotation!r}")
    if _is_output(binding) and not is_out:
        raise FunctionLoadError(
            function,
            f'binding {name} is declared to have the "out" direction, but its annotation in Python is not a '
            "subclass of azure.functions.Out",
        )
    if is_out and not _is_output(binding):
        raise FunctionLoadError(
            function,
            f'binding {name} is declared to have the "in" direction in the binding decorator, but its annotation '
            "is azure.functions.Out in Python",
        )
    if not _fits(binding, wanted, is_out=is_out):
        raise FunctionLoadError(
            function,
            f'binding type "{name!r}" and dataType "{binding["type"]}" in the binding decorator do not match the '
            f"corresponding function parameter's Python type annotation {getattr(wanted, '__name__', wanted)}",
        )


def _check_return(function: str, binding: Binding, annotation: Any) -> None:
    origin = typing.get_origin(annotation)
    if isinstance(origin, type) and origin.__name__ == "Out":
        raise FunctionLoadError(function, "return annotation should not be azure.functions.Out")
    if not isinstance(annotation, type):
        raise FunctionLoadError(function, f"has invalid non-type return annotation {annotation!r}")
    converter = _converter(binding["type"])
    if converter is not None and not converter.check_output_type_annotation(annotation):
        raise FunctionLoadError(
            function,
            f'Python return annotation "{annotation.__name__}" does not match binding type "{binding["type"]}"',
        )


def _fits(binding: Binding, wanted: Any, *, is_out: bool) -> bool:
    # The worker takes text and bytes for every binding, except where the binding's result is implicit.
    if wanted in (str, bytes) and not _implicit_output(binding["type"]):
        return True
    converter = _converter(binding["type"])
    if converter is None:
        return True
    check = converter.check_output_type_annotation if is_out else converter.check_input_type_annotation
    return bool(check(wanted))


def _is_output(binding: Binding) -> bool:
    return bool(binding["direction"] == "OUT")


def _implicit_output(binding_type: str) -> bool:
    converter = _converter(binding_type)
    if converter is None:
        return binding_type != "durableClient"
    return bool(getattr(converter, "has_implicit_output", bool)())


def _converter(binding_type: str) -> Any:
    return func.get_binding_registry().get(binding_type)  # type: ignore[no-untyped-call]  # as the library has it
