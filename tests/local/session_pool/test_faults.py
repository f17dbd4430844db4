"""Rules for faults: how they are read, and which request each meets."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.session_pool.faults import KINDS, RULES_MAX, Fault, Faults, parse_rule, rule_of
from local.session_pool.wire import Operation
from tests.local.session_pool.pools import A, B, Client, Made, with_app

CONTROL = "http://pool/.local/faults"
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.lists(st.integers())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("status=503", Fault("status", status=503)),
        ("status=503,retry_after=1,count=2", Fault("status", status=503, retry_after=1, count=2)),
        ("status", Fault("status", status=500)),
        ("drop", Fault("drop")),
        ("drop,after=true,operation=execute", Fault("drop", after=True, operation="execute")),
        ("latency,seconds=0.5,rate=0.25", Fault("latency", seconds=0.5, rate=0.25)),
        (" slow_body , seconds=2 ", Fault("slow_body", seconds=2)),
        ("kind=cut_body,session=abcd", Fault("cut_body", session="abcd")),
        ("token_life,seconds=60", Fault("token_life", seconds=60)),
        ("session_loss,count=0", Fault("session_loss", count=0)),
    ],
)
def test_rule_from_text(text: str, fault: Fault) -> None:
    assert parse_rule(text) == fault


@pytest.mark.parametrize(
    "text",
    [
        *("", ",", "nothing", "status=", "status=x", "status=99", "status=200", "status=600", "status=503,,"),
        *("retry_after=1", "status=503,retry_after=-1", "status=503,retry_after=soon"),
        *("drop,count=-1", "drop,count=1.5", "drop,operation=dance", "drop,color=red", "drop,after=maybe"),
        *("latency,seconds=-1", "latency,seconds=nan", "latency,seconds=inf", "latency,seconds=3601"),
        *("drop,rate=2", "drop,rate=-0.1", "drop,rate=nan"),
    ],
)
def test_text_that_is_no_rule(text: str) -> None:
    with pytest.raises(ValueError, match=r"ha(s|ve) to|a rule has|not of its type|invalid literal|could not convert"):
        parse_rule(text)


def test_rule_from_json_has_values_of_their_types() -> None:
    rule = rule_of({"kind": "status", "status": 429, "retry_after": 5, "rate": 0.5, "count": 3, "operation": "upload"})
    assert rule == parse_rule("status=429,retry_after=5,rate=0.5,count=3,operation=upload")
    assert rule_of({"kind": "drop", "after": True}).after
    assert not rule_of({"kind": "drop", "after": False}).after


@given(values=st.dictionaries(st.sampled_from(["kind", *Fault.__dataclass_fields__]) | st.text(max_size=5), VALUES))
def test_any_values_are_a_rule_or_refused(values: dict[str, Any]) -> None:
    rule = None
    try:
        rule = rule_of({"kind": "drop", **values})
    except ValueError as error:
        said = str(error)
    if rule is None:
        assert said
    else:
        assert rule.kind in KINDS
        assert 400 <= rule.status <= 599
        assert 0 <= rule.rate <= 1
        assert math.isfinite(rule.seconds)


def test_first_rule_that_fits_meets_the_request() -> None:
    upload, everything = parse_rule("status=503,operation=upload"), parse_rule("status=500")
    faults = Faults([upload, everything])
    assert faults.take(Operation.UPLOAD, A) is upload
    assert faults.take(Operation.EXECUTE, A) is everything


def test_rule_for_one_session_and_one_operation() -> None:
    faults = Faults([parse_rule(f"drop,session={A},operation=list_files")])
    assert faults.take(Operation.LIST_FILES, A) is not None
    assert faults.take(Operation.LIST_FILES, B) is None
    assert faults.take(Operation.UPLOAD, A) is None


def test_rule_is_used_up() -> None:
    faults = Faults([parse_rule("drop,count=2"), parse_rule("status=500")])
    taken = [faults.take(Operation.EXECUTE, A) for _ in range(3)]
    assert [fault.kind if fault else "" for fault in taken] == ["drop", "drop", "status"]
    assert [row.get("count") for row in faults.listing()] == [0, None]


def test_rate_meets_its_part_and_the_seed_repeats_it() -> None:
    def met(seed: int, rate: str) -> list[bool]:
        faults = Faults([parse_rule(f"drop,rate={rate}")], seed)
        return [faults.take(Operation.EXECUTE, A) is not None for _ in range(1000)]

    assert 250 < sum(met(1, "0.3")) < 350
    assert met(1, "0.3") == met(1, "0.3")
    assert met(1, "0.3") != met(2, "0.3")
    assert sum(met(1, "0")) == 0
    assert sum(met(1, "1")) == 1000


def test_count_is_of_the_requests_that_were_met() -> None:
    faults = Faults([parse_rule("drop,rate=0.5,count=5")])
    assert sum(faults.take(Operation.EXECUTE, A) is not None for _ in range(1000)) == 5


def test_life_of_tokens_is_the_shortest() -> None:
    faults = Faults()
    assert faults.token_life() == math.inf
    faults.add([parse_rule("token_life,seconds=60"), parse_rule("token_life,seconds=30")])
    assert faults.token_life() == 30
    # It is not one of a request.
    assert faults.take(Operation.EXECUTE, A) is None


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, None),
        (403, {"error": {"code": "Forbidden"}}),
        (404, {"error": {"code": "NotFound"}}),
        (429, {"code": "SessionsCountExceedsLimit"}),
        (500, {"error": {"code": "InternalServerError"}}),
        (503, {"error": {"code": "InternalServerError"}}),
    ],
)
def test_refusal_has_the_services_form(status: int, body: dict[str, Any] | None) -> None:
    refusal = parse_rule(f"status={status},retry_after=7").refusal()
    assert (refusal.status, refusal.headers) == (status, {"retry-after": "7"})
    said = refusal.body()
    for row in (said or {}, (said or {}).get("error", {})):
        row.pop("message", None)
    assert said == body
    assert parse_rule(f"status={status}").refusal().headers == {}


def test_rules_over_http() -> None:
    async def use(call: Client) -> None:
        assert (await call.http.get(CONTROL)).json() == {"faults": []}
        one = await call.http.post(CONTROL, json={"kind": "status", "status": 503, "count": 1})
        two = await call.http.post(CONTROL, json=[{"kind": "drop", "session": A}, {"kind": "latency", "seconds": 0}])
        assert (one.status_code, len(one.json()["faults"])) == (200, 1)
        kinds = [row["kind"] for row in two.json()["faults"]]
        assert kinds == ["status", "drop", "latency"]
        assert (await call("GET", "/listSessions")).status_code == 503
        assert (await call.http.get(CONTROL)).json()["faults"][0]["count"] == 0
        assert (await call("GET", "/listSessions")).status_code == 200
        assert (await call.http.delete(CONTROL)).json() == {"faults": []}
        # What it lists can be sent again.
        again = await call.http.post(CONTROL, json=two.json()["faults"])
        assert again.json() == two.json()

    with_app(use, Made(sessions=False))


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"null", b"5", b'"drop"', b"{}", b"[5]", b"[[]]", b'{"kind": "dance"}'),
        b'{"kind": "status", "status": "x"}',
        b'{"kind": "status", "status": null}',
        b'{"kind": "latency", "seconds": NaN}',
        b'{"kind": "drop", "rate": {}}',
        b'{"kind": "drop", "color": 1}',
        b'[{"kind": "drop"}, {"kind": "dance"}]',
        b"[" + b'{"kind": "drop"},' * RULES_MAX + b'{"kind": "drop"}]',
    ],
    ids=lambda body: body[:30].decode(),
)
def test_rules_of_another_form_are_refused_as_a_whole(body: bytes) -> None:
    async def use(call: Client) -> None:
        assert (await call.http.post(CONTROL, content=body)).status_code == 400
        assert (await call.http.get(CONTROL)).json() == {"faults": []}

    with_app(use, Made(sessions=False))


def test_rules_may_not_become_too_many() -> None:
    async def use(call: Client) -> None:
        rule = {"kind": "drop", "count": 0}
        assert (await call.http.post(CONTROL, json=[rule] * RULES_MAX)).status_code == 200
        more = await call.http.post(CONTROL, json=rule)
        assert more.status_code == 400
        assert str(RULES_MAX) in more.json()["error"]["message"]
        assert len((await call.http.get(CONTROL)).json()["faults"]) == RULES_MAX

    with_app(use, Made(sessions=False))


def test_control_is_at_the_root_and_takes_three_methods() -> None:
    async def use(call: Client) -> None:
        for method in ("PUT", "PATCH"):
            assert (await call.http.request(method, CONTROL)).status_code == 404
        assert (await call("GET", "/.local/faults")).status_code == 404

    with_app(use, Made(sessions=False))


@pytest.mark.parametrize("more", ["rate=0.5", "count=1", "session=abcd", "operation=execute"])
def test_a_tokens_life_is_the_same_for_all(more: str) -> None:
    with pytest.raises(ValueError, match="for all requests"):
        parse_rule(f"token_life,seconds=60,{more}")
