"""Formulas as people type them, as Python: understood as a whole and small enough to compute, or refused."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

CHARACTERS_MAX = 200
EXPONENT_MAX = 1000
# Python prints whole numbers of 4300 digits at most; the factors around the powers need some of them.
_POWER_DIGITS_MAX = 4000


def expression(text: str, *, library: str, functions: Sequence[str], variables: Sequence[str] = ()) -> str | None:
    """The Python for a formula, or None when it is none, or would not end in time.

    Args:
        text: such as `sin(x) / 2^x`; multiplication has to be written.
        library: the module that has the functions and pi.
        functions: what may be called, with one argument.
        variables: what may stand there besides numbers and pi.
    """
    source = re.sub(r"(?<![0-9.])0+(?=[0-9])", "", text.replace("^", "**").strip())
    known = "|".join([*functions, *variables, "pi"])
    bare = re.sub(rf"\b(?:{known})\b", "", source)
    # A % that belongs to the number before it is no division: `10% + 5` would be 10 modulo 5.
    if len(source) > CHARACTERS_MAX or re.search(r"[^0-9 .()+\-*/%]|[0-9)]%(?![0-9])", bare):
        return None
    try:
        tree = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    if not _is_formula(tree, functions) or _power_digits(tree) > _POWER_DIGITS_MAX:
        return None
    return re.sub(rf"\b({'|'.join([*functions, 'pi'])})\b", rf"{library}.\1", source)


def _is_formula(node: ast.expr, functions: Sequence[str]) -> bool:
    match node:
        case ast.Constant(value=int() | float()):
            return True
        case ast.Name(id=name):
            return name not in functions
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            return _is_formula(operand, functions)
        case ast.BinOp(left=left, right=right):
            return _is_formula(left, functions) and _is_formula(right, functions)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
            return name in functions and _is_formula(argument, functions)
    return False


def _power_digits(tree: ast.expr) -> float:
    """At most how many digits the whole-number powers in it have together."""
    powers = [node for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow)]
    # With a name it is computed with floats, which overflow at once instead of growing.
    whole = [node for node in powers if not any(isinstance(part, ast.Name) for part in ast.walk(node))]
    return sum(_digits(node) for node in whole)


def _digits(power: ast.BinOp) -> float:
    exponent = power.right.operand if isinstance(power.right, ast.UnaryOp) else power.right
    tower = any(isinstance(node, ast.Pow) for node in ast.walk(power.left))
    if tower or not isinstance(exponent, ast.Constant) or not isinstance(exponent.value, (int, float)):
        return float("inf")
    if exponent.value > EXPONENT_MAX:
        return float("inf")
    return len(ast.unparse(power.left)) * max(1, exponent.value)
