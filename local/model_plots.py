"""The stand-in model's rule for plots of a function of x; it takes a plain question and gives code, or None."""

from __future__ import annotations

import re

from local.model_expressions import expression

FUNCTIONS = ("sin", "cos", "tan", "exp", "sqrt", "log")
_CHARACTERS_MAX = 300
_NAMES = "|".join((*FUNCTIONS, "pi", "x"))
_REQUEST = re.compile(
    r"(?:(?:plot|draw|graph|sketch|make|create)(?: me)? )?(?:(?:an? |the )?(?:plot|graph|curve) of )?"
    r"(?:the )?(?:function )?(?:(?:y|f\(x\)) ?= ?)?(?P<formula>.+?)"
    r"(?:,? (?:for )?(?:x )?(?:from|between) (?:x ?= ?)?(?P<low>.+?) (?:to|and) (?P<high>.+))?"
)
_WAVE = re.compile(r"(?:an? )?(sine|cosine|tangent)(?: wave| curve| function)?")


def plot(question: str) -> str | None:
    """Draws a function of x, from 0 to 10 unless the question says otherwise."""
    found = _REQUEST.fullmatch(question) if len(question) <= _CHARACTERS_MAX else None
    if found is None or not re.search(r"\b(?:plot|draw|graph|sketch|curve)\b", question):
        return None
    formula = _python(_WAVE.sub(lambda wave: f"{wave[1][:3]}(x)", found["formula"]), variables=["x"])
    low, high = _python(found["low"] or "0"), _python(found["high"] or "10")
    # Without x it is one number, which is no curve.
    if formula is None or low is None or high is None or not re.search(r"\bx\b", formula):
        return None
    name = formula.replace("np.", "").replace("**", "^")
    return (
        "import matplotlib.pyplot as plt\nimport numpy as np\n\n"
        f"x = np.linspace({low}, {high}, 500)\nfigure, axes = plt.subplots()\naxes.plot(x, {formula})\n"
        f"axes.set(title='{name}', xlabel='x', ylabel='{name}')\naxes.grid(True)\n"
        "figure.savefig('/mnt/data/plot.png', dpi=120)\nplt.close(figure)\nprint('saved as /mnt/data/plot.png')"
    )


def _python(formula: str, variables: tuple[str, ...] | list[str] = ()) -> str | None:
    spelled = _with_signs(formula)
    return None if spelled is None else expression(spelled, library="np", functions=FUNCTIONS, variables=variables)


def _with_signs(formula: str) -> str | None:
    """The formula with the multiplication signs that people leave out; None where it has two readings."""
    text = re.sub(rf"\b({'|'.join(FUNCTIONS)}) x(?= ?[+\-]|$)", r"\1(x)", formula)
    # 1/2x is a half of x for some, and for others one divided by 2x.
    if re.search(r"(?:[/^]|\*\*) ?-? ?(?:[0-9.]+ ?(?=[a-z(])|(?:x|pi) (?=[a-z(]))", text):
        return None
    text = re.sub(r"(?<![a-z])([0-9.]+) ?(?=[a-z(])", r"\1*", text)
    return re.sub(rf"\b(x|pi) (?=(?:{_NAMES})\b)", r"\1*", text)
