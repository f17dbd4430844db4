"""The expression language as the examples use it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.logic_apps.expressions import Functions, InvalidTemplate, NotPlayed, evaluate

KNOWN: Functions = {
    "triggerBody": lambda: {"id": "7", "rows": [1, 2], "nothing": None, "flag": True, "deep": {"er": "x"}},
    "parameters": {"baseUrl": "https://app.invalid", "count": 3}.__getitem__,
    "workflow": lambda: {"run": {"name": "0858"}},
}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("plain text", "plain text"),
        ("a@b.example", "a@b.example"),
        ("@@parameters('x')", "@parameters('x')"),
        ("@parameters('count')", 3),
        ("@{parameters('count')}", "3"),
        ("@{parameters('baseUrl')}/api/runs", "https://app.invalid/api/runs"),
        ("@triggerBody()?['rows']", [1, 2]),
        ("@{triggerBody()?['rows']}", "[1, 2]"),
        ("@triggerBody()['rows'][1]", 2),
        ("@triggerBody()?['absent']", None),
        ("@triggerBody()?['absent']?['more']", None),
        ("@triggerBody()?['deep']?['er']", "x"),
        ("-@{triggerBody()?['nothing']}-", "--"),
        ("@{triggerBody()?['flag']}", "True"),
        ("@{workflow().run.name}-Ask", "0858-Ask"),
        ("@concat('it''s', ' ', triggerBody()?['id'])", "it's 7"),
        ("@{concat('}', '{')}", "}{"),
        ("@coalesce(triggerBody()?['absent'], 'else')", "else"),
        ("@equals(triggerBody()?['id'], '7')", True),
        ("@encodeURIComponent('a b/c')", "a%20b%2Fc"),
        ("@base64ToString('aGk=')", "hi"),
        ({"list": ["@parameters('count')", None, 1.5]}, {"list": [3, None, 1.5]}),
    ],
)
def test_values(template: Any, value: Any) -> None:
    assert evaluate(template, KNOWN) == value


@pytest.mark.parametrize(
    "template",
    [
        "@triggerBody()['absent']",
        "@triggerBody()?['id']['x']",
        "@triggerBody()?['id']?['x']",
        "@triggerBody()['rows'][2]",
    ],
)
def test_what_is_not_there_fails_the_action(template: str) -> None:
    with pytest.raises(InvalidTemplate):
        evaluate(template, KNOWN)


@pytest.mark.parametrize(
    "template",
    [
        "@utcNow()",
        "@parameters('count') + 1",
        "@{parameters('count')",
        "@parameters",
        "@parameters('count'",
        "@parameters('count'))",
        "text @@{parameters('count')}",
        '@parameters("count")',
        "@",
    ],
)
def test_what_the_player_does_not_know_is_refused(template: str) -> None:
    with pytest.raises(NotPlayed):
        evaluate(template, KNOWN)
