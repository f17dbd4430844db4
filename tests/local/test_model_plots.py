"""What the stand-in model draws, and what it leaves alone."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from local.model_tasks import reply_to
from tests.local.conversation import code_for, printed, user


class Drawing:
    """What code draws, in place of matplotlib, at one point of the span."""

    def __init__(self, code: str) -> None:
        axes = SimpleNamespace(plot=self._plot, set=lambda **labels: None, grid=lambda shown: None)
        figure = SimpleNamespace(savefig=self._save)
        pyplot = SimpleNamespace(subplots=lambda: (figure, axes), close=lambda figure: None)
        functions = {name: getattr(math, name) for name in ("sin", "cos", "tan", "exp", "sqrt", "log", "pi")}
        modules = {
            "numpy": SimpleNamespace(linspace=self._span, **functions),
            "matplotlib": SimpleNamespace(pyplot=pyplot),
            "matplotlib.pyplot": pyplot,
        }
        with pytest.MonkeyPatch.context() as patch:
            for name, module in modules.items():
                patch.setitem(sys.modules, name, module)
            printed(code)

    def _span(self, low: float, high: float, points: int) -> float:
        self.low, self.high = low, high
        return low + 0.7 * (high - low)

    def _plot(self, x: float, y: float) -> None:
        self.x, self.y = x, y

    def _save(self, path: str, dpi: int) -> None:
        self.saved = path


PI = math.pi
TO_10 = (0, 10)


@pytest.mark.parametrize(
    ("question", "function", "span"),
    [
        ("Plot sin(x) from 0 to 10", math.sin, TO_10),
        ("Draw a sine wave", math.sin, TO_10),
        ("Plot x^2 from -3 to 3.5", lambda x: x**2, (-3, 3.5)),
        ("plot y = x^2 + 3x", lambda x: x**2 + 3 * x, TO_10),
        ("plot exp(-x)", lambda x: math.exp(-x), TO_10),
        ("plot 1/x", lambda x: 1 / x, TO_10),
        ("Plot 2 sin x + 1 from -pi to 2pi", lambda x: 2 * math.sin(x) + 1, (-PI, 2 * PI)),
        ("Show me a plot of x cos(2x) for x between 0 and 4", lambda x: x * math.cos(2 * x), (0, 4)),
        ("Draw the graph of f(x) = sqrt(x) * log(x + 1)", lambda x: math.sqrt(x) * math.log(x + 1), TO_10),
        ("plot 2^x - x", lambda x: 2**x - x, TO_10),
    ],
)
def test_plot_is_of_the_whole_function(
    question: str, function: Callable[[float], float], span: tuple[float, float]
) -> None:
    drawing = Drawing(code_for(user(question)))
    assert (drawing.low, drawing.high) == pytest.approx(span)
    assert drawing.y == pytest.approx(function(drawing.x))
    assert drawing.saved == "/mnt/data/plot.png"


@pytest.mark.parametrize(
    "question",
    [
        "Draw a picture of a cat",
        "Plot a bar chart of 1, 2, 3",
        "Simulate rolling two dice 1000 times and draw a histogram",
        "plot sin(x) and cos(x)",
        "plot y = a x + b",
        "plot sin(y)",
        "plot x(x + 1)",
        "plot 1/2x",
        "plot x^2x",
        "plot 5",
        "plot x.real",
        "plot x * 10^9999999",
        "plot x from a to b",
    ],
)
def test_plot_of_anything_else_is_refused(question: str) -> None:
    assert reply_to([user(question)]).startswith("I cannot do this.")
