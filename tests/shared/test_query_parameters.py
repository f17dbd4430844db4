"""Which texts are numbers and flags."""

from __future__ import annotations

import pytest

from shared.errors import InvalidRequest
from shared.query_parameters import flag, number


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("20", 20), ("0.5", 0.5), ("007", 7)])
def test_numbers_within_their_bounds_are_taken(text: str, value: float) -> None:
    assert number({"wait": text}, "wait", 3, 0, 20) == value


@pytest.mark.parametrize("text", ["", " 1", "+1", "-1", "1e1", "inf", "nan", "20.1", "1_0", "1,2", "1.", "9" * 400])
def test_other_texts_are_refused_with_the_parameters_name(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        number({"wait": text}, "wait", 3, 0, 20)
    assert (caught.value.code, caught.value.field) == ("wait_out_of_range", "wait")


def test_a_whole_number_has_no_fraction() -> None:
    with pytest.raises(InvalidRequest, match="a whole number, 0 to 20"):
        number({"limit": "1.0"}, "limit", 3, 0, 20, whole=True)


def test_what_is_absent_has_its_default() -> None:
    assert number({}, "wait", 3, 0, 20) == 3
    assert not flag({}, "fail_status")


@pytest.mark.parametrize(("text", "value"), [("1", True), ("TRUE", True), ("0", False), ("false", False)])
def test_flags(text: str, value: bool) -> None:
    assert flag({"fail_status": text}, "fail_status") is value


def test_a_flag_is_nothing_else() -> None:
    with pytest.raises(InvalidRequest) as caught:
        flag({"fail_status": "yes"}, "fail_status")
    assert caught.value.code == "fail_status_invalid"
