"""What a chat says and costs, as data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from shared.steps import Step, Usage

ROOT = Path(__file__).parents[2]
USAGES = st.builds(Usage, st.sampled_from(["", "a", "b", "a, b"]), *[st.integers(0, 1000)] * 3)


def test_a_step_that_reports_on_no_code_has_neither_exit_code_nor_pictures() -> None:
    step = Step(1, "CodeWriter", "I will compute it.")
    assert (step.exit_code, step.pictures) == (None, ())


def test_usages_add_up_and_name_each_model_once() -> None:
    both = Usage("a", 1, 2, 3).plus(Usage("a, b", 10, 20, 30))
    assert both == Usage("a, b", 11, 22, 33)


@given(USAGES, USAGES, USAGES)
def test_usages_add_up_the_same_however_they_are_grouped(one: Usage, two: Usage, three: Usage) -> None:
    assert one.plus(two).plus(three) == one.plus(two.plus(three))
    assert one.plus(Usage()) == Usage().plus(one) == one


def test_steps_come_without_autogen() -> None:
    code = "import sys, shared.steps; print([n for n in ('autogen', 'openai', 'httpx') if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
