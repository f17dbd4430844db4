"""What becomes of the last expression's value and of the output, in the versions since 2024-10."""

from __future__ import annotations

import base64

import pytest

from tests.parity.pool import PNG, Pool


@pytest.mark.parity("RES-01")
@pytest.mark.parametrize("code", ["print(1)", "x = 5", "def f(): return 1", "5;"])
def test_no_value_is_an_empty_text(pool: Pool, session: str, code: str) -> None:
    assert pool.result(code, session)["executionResult"] == ""


@pytest.mark.parity("RES-02")
def test_none_is_null(pool: Pool, session: str) -> None:
    assert pool.result("None", session)["executionResult"] is None


@pytest.mark.parity("RES-03")
def test_not_a_number_is_a_text(pool: Pool, session: str) -> None:
    assert pool.result("float('nan')", session)["executionResult"] == "nan"


@pytest.mark.parity("RES-04")
@pytest.mark.parametrize(("code", "value"), [("2", 2), ("1 / 4", 0.25), ("True", True), ("'é'", "é"), ("''", "")])
def test_simple_values_are_their_json(pool: Pool, session: str, code: str, value: object) -> None:
    found = pool.result(code, session)["executionResult"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parity("RES-05")
@pytest.mark.parametrize(
    ("code", "value"), [("[1, 'a', None]", [1, "a", None]), ("{'a': {'b': [1.5]}}", {"a": {"b": [1.5]}}), ("[]", [])]
)
def test_lists_and_dictionaries_are_their_json(pool: Pool, session: str, code: str, value: object) -> None:
    assert pool.result(code, session)["executionResult"] == value


@pytest.mark.parity("RES-06")
def test_a_figure_is_a_picture(pool: Pool, session: str) -> None:
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 4, 9])\nplt.show()"
    picture = pool.result(code, session)["executionResult"]
    assert (picture["type"], picture["format"]) == ("image", "png")
    assert base64.b64decode(picture["base64_data"], validate=True).startswith(b"\x89PNG")


@pytest.mark.parity("RES-06", "RES-07")
def test_of_several_pictures_the_last_one_comes(pool: Pool, session: str) -> None:
    code = (
        "import base64\nfrom IPython.display import Image, display\n"
        f"png = base64.b64decode('{PNG}')\ndisplay(Image(data=png + b'1'))\ndisplay(Image(data=png + b'22'))"
    )
    picture = pool.result(code, session)["executionResult"]
    assert base64.b64decode(picture["base64_data"], validate=True).endswith(b"22")


@pytest.mark.parity("RES-08")
@pytest.mark.parametrize(
    ("code", "text"),
    [("{1}", "{1}"), ("1 + 2j", "(1+2j)"), ("b'x'", "b'x'"), ("[float('nan')]", "[nan]"), ("range(3)", "range(0, 3)")],
)
def test_values_without_a_json_form_are_what_they_print(pool: Pool, session: str, code: str, text: str) -> None:
    assert pool.result(code, session)["executionResult"] == text


@pytest.mark.parity("RES-09")
def test_output_and_error_output_are_apart_and_neither_means_failure(pool: Pool, session: str) -> None:
    result = pool.result("import sys; print('out'); print('warned', file=sys.stderr)", session)
    assert (result["stdout"], result["stderr"]) == ("out\n", "warned\n")
