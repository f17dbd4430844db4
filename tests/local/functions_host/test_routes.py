from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.functions_host.routes import RouteError, decode_path, parse, preference

GUID = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        ("api/chat", "/api/chat", {}),
        ("api/chat", "/API/Chat/", {}),
        ("api/chat", "/api/chat/more", None),
        ("api/chat", "/api", None),
        ("api/{id}", "/api/a b", {"id": "a b"}),
        ("api/{id}", "/api/", None),
        ("api/{id}", "/api//", None),
        ("api/{id?}", "/api", {}),
        ("api/{id?}", "/api/5", {"id": "5"}),
        ("api/{id=5}", "/api", {"id": "5"}),
        ("api/{id:int=5}/", "/api/7", {"id": "7"}),
        ("api/{id:guid}", f"/api/{GUID}", {"id": GUID}),
        ("api/{id:guid}", f"/api/{{{GUID}}}", {"id": f"{{{GUID}}}"}),
        ("api/{id:guid}", f"/api/{{{GUID})", None),
        ("api/{id:guid}", f"/api/{GUID})", None),
        ("api/{id:guid}", "/api/5", None),
        ("api/{id:guid?}", "/api", {}),
        ("api/{n:int}", "/api/-7", {"n": "-7"}),
        ("api/{n:int}", "/api/2147483648", None),
        ("api/{n:int}", "/api/٣", None),
        ("api/{n:long}", "/api/2147483648", {"n": "2147483648"}),
        ("api/{n:int:min(1)}", "/api/0", None),
        ("api/{n:int:min(1)}", "/api/1", {"n": "1"}),
        ("api/{n:max(9)}", "/api/10", None),
        ("api/{n:range(1,3)}", "/api/3", {"n": "3"}),
        ("api/{n:range(1,3)}", "/api/4", None),
        ("api/{s:length(2)}", "/api/ab", {"s": "ab"}),
        ("api/{s:length(2,3)}", "/api/abcd", None),
        ("api/{s:minlength(2)}", "/api/a", None),
        ("api/{s:maxlength(2)}", "/api/abc", None),
        ("api/{s:alpha}", "/api/abc1", None),
        ("api/{s:bool}", "/api/True", {"s": "True"}),
        ("api/{s:double}", "/api/-1.5e3", {"s": "-1.5e3"}),
        ("api/{s:decimal}", "/api/x", None),
        ("api/{s:required}", "/api/x", {"s": "x"}),
        (r"api/{s:regex(^\d{{2}}$)}", "/api/12", {"s": "12"}),
        (r"api/{s:regex(^\d{{2}}$)}", "/api/123", None),
        ("api/{*rest}", "/api/a/b/c", {"rest": "a/b/c"}),
        ("api/{**rest}", "/api", {}),
        ("files/{name}.{ext}", "/files/a.b.c", {"name": "a.b", "ext": "c"}),
        ("files/{name}.{ext?}", "/files/report", {"name": "report"}),
        ("files/{name}.{ext?}", "/files/a.b.c", {"name": "a.b", "ext": "c"}),
        ("v{major}/x", "/V2/x", {"major": "2"}),
        ("a{{b}}", "/a{b}", {}),
        ("a.c", "/abc", None),
    ],
)
def test_match(template: str, path: str, expected: dict[str, str] | None) -> None:
    assert parse(template).match(path) == expected


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("api/{id:uuid}", "uuid"),
        ("api/{id:datetime}", "datetime"),
        ("api/{id:min(x)}", "min(x)"),
        ("api/{id:length(1,2,3)}", "length"),
        ("api/{id:regex([)}", "regex"),
        ("api/{id", "brace"),
        ("api/id}", "brace"),
        ("api//chat", "empty segment"),
        ("api/{}", "invalid parameter"),
        ("api/{a?}{b?}", "period"),
        ("api/{*rest}/more", "catch-all"),
        ("api/x{*rest}", "catch-all"),
        ("api/{id}/{ID}", "more than once"),
    ],
)
def test_bad_template(template: str, problem: str) -> None:
    with pytest.raises(RouteError, match=re.escape(problem)):
        parse(template)


def test_more_specific_route_comes_first() -> None:
    texts = ["api/{*rest}", "api/{id}", "api/{id:int}", "api/{id}/x", "api/b", "api/a"]
    ordered = sorted((parse(text) for text in texts), key=preference)
    assert [template.text for template in ordered] == [
        "api/a",
        "api/b",
        "api/{id:int}",
        "api/{id}/x",
        "api/{*rest}",
        "api/{id}",
    ]


def test_slash_in_a_segment_stays_encoded() -> None:
    path = decode_path(b"/api/a%2Fb%20%C3%A9")
    assert parse("api/{id}").match(path) == {"id": "a%2Fb é"}


@given(st.text(st.characters(blacklist_characters="/", blacklist_categories=["Cs"]), min_size=1))
def test_any_segment_comes_back(value: str) -> None:
    assert parse("api/{id}").match(f"/api/{value}") == {"id": value}


@given(st.text("abc{}:?*=()/.1", max_size=20), st.text("abc/.1", max_size=20))
def test_any_template_is_parsed_or_refused(template: str, path: str) -> None:
    try:
        parsed = parse(template)
    except RouteError:
        return
    matched = parsed.match(path)
    assert matched is None or all(isinstance(value, str) for value in matched.values())
