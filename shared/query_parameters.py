"""Query parameters of other kinds than text."""

from __future__ import annotations

import re
from collections.abc import Mapping

from shared.errors import InvalidRequest


def number(
    query: Mapping[str, str], name: str, default: float, low: float, high: float, *, whole: bool = False
) -> float:
    """A number.

    Args:
        query: the parameters.
        name: of the parameter.
        default: where it is absent.
        low, high: the bounds, which it may reach.
        whole: without a fraction.

    Raises:
        InvalidRequest: it is no such number; the code is the parameter's name with `_out_of_range`.
    """
    text = query.get(name)
    if text is None:
        return default
    form = r"\d{1,9}" if whole else r"\d{1,9}(\.\d{1,9})?"
    if re.fullmatch(form, text, re.ASCII) and low <= float(text) <= high:
        return float(text)
    kind = "a whole number, " if whole else ""
    raise InvalidRequest(f"{name}_out_of_range", f"{name} may be {kind}{low:g} to {high:g}.", field=name)


def flag(query: Mapping[str, str], name: str) -> bool:
    """Whether a parameter is 1 or true; absent, it is neither.

    Raises:
        InvalidRequest: it is something else; the code is the parameter's name with `_invalid`.
    """
    text = query.get(name, "0").lower()
    if text not in ("0", "1", "false", "true"):
        raise InvalidRequest(f"{name}_invalid", f"{name} may be 1 or 0.", field=name)
    return text in ("1", "true")
