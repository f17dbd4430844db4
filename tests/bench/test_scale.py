"""Sizing on paper: the tables of docs/scale.md are the module's, and the module is right."""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scale import STEPS, Load, assumptions, at_most, costs, main, mean_within, steps, units
from shared import errors, pool_transport, retry, run_worker, session_pools
from shared.settings import table

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "scale.md").read_text("utf-8")
INFRASTRUCTURE = {
    name: int(value)
    for name, value in re.findall(r"^param (\w+) int = (\d+)$", (ROOT / "infra/main.bicep").read_text("utf-8"), re.M)
}
# The document speaks of these too.
STATUSES = {"deadline", "turn_limit", "budget", "failed", "queued"}


def cells(text: str, first: str) -> list[str]:
    """The row of a table that begins so."""
    return next(
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith(first)
    )


def test_the_document_holds_the_tables() -> None:
    load = Load()
    for generated in (assumptions(load), steps(load, STEPS), units(load), costs(load)):
        assert generated in DOCUMENT


def test_a_million_chats_a_day_by_hand() -> None:
    arrivals = 1_000_000 * 0.15 / 3600
    at_once = arrivals * (3 * 5 + 2 * 2 + 0.007)
    row = cells(steps(Load(), [1_000_000]), "| 1,000,000")
    assert row[1] == "41.7"
    assert row[2] == str(math.ceil(at_once + 3 * at_once**0.5)) == "877"
    assert row[3] == "28"
    assert row[6] == f"{arrivals * 60 * 7000:,.0f}" == "17,500,000"


def test_each_pool_has_room_for_its_share_and_one_fewer_would_not_do() -> None:
    load = Load()
    sessions = 1_000_000 * 0.15 / 3600 / 2 * (2 * 19.007 + 60 + 300)
    pools = load.pools(1_000_000)
    assert at_most(sessions / pools) <= 600 < at_most(sessions / (pools - 1))


@given(st.floats(1, 1e6))
def test_what_a_limit_carries_is_what_it_takes(limit: float) -> None:
    mean = mean_within(limit)
    assert mean + 3 * math.sqrt(mean) == pytest.approx(limit)


@given(st.integers(1, 10**7), st.integers(1, 10**7))
def test_more_chats_never_need_less(one: int, other: int) -> None:
    load = Load()
    low, high = sorted((one, other))
    assert load.pools(low) <= load.pools(high)
    assert load.sessions(low) <= load.sessions(high)


@pytest.mark.parametrize(
    ("load", "text"),
    [
        (Load(cooldown_seconds=3300), "134 pools"),
        (Load(), "`poolCount` 16"),
    ],
)
def test_pools_that_the_text_speaks_of_are_those_that_come_out(load: Load, text: str) -> None:
    assert text in " ".join(DOCUMENT.split())
    assert str(load.pools(1_000_000)) in text


def test_many_small_pools_are_counted_at_once() -> None:
    # One by one there would be a hundred thousand million to count.
    load = Load(pool_sessions=1)
    pools = load.pools(10**12)
    assert load.sessions(10**12) / pools == pytest.approx(mean_within(1))


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--pool-sessions", "0", "--pool-sessions is a number, 1 at least"),
        ("--http-concurrency", "0.5", "--http-concurrency is a number, 1 at least"),
        ("--chats-per-session", "0", "--chats-per-session is a number, 1 at least"),
        ("--run-seconds", "0", "--run-seconds is a number, 1 at least"),
        ("--peak-share", "0", "--peak-share is a number, 0.041667 at least"),
        ("--input-tokens", "nan", "--input-tokens is a number, 1 at least"),
        ("--model-seconds", "-1", "--model-seconds is a number, 0 at least"),
        ("--cooldown-seconds", "inf", "--cooldown-seconds is a number, 0 at least"),
        ("--chats", "-1", "--chats is 0 at least"),
    ],
)
def test_what_is_below_its_least_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str, value: str, told: str
) -> None:
    monkeypatch.setattr("sys.argv", ["scale", option, value])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_the_least_of_everything_is_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    least = [word for row in fields(Load) for word in (f"--{row.name.replace('_', '-')}", str(row.metadata["least"]))]
    monkeypatch.setattr("sys.argv", ["scale", *least, "--chats", "0"])
    main()
    assert "| together |" in capsys.readouterr().out


def test_costs_that_the_text_speaks_of_are_those_that_come_out() -> None:
    text = " ".join(DOCUMENT.split())
    for chats, price in ((1, "30"), (10, "3")):
        assert cells(costs(Load(chats_per_session=chats)), "| sessions")[2] == f"{price}.00"
    assert "cost 30 USD for a thousand chats, with 10 they cost 3" in text
    assert cells(costs(Load(cooldown_seconds=3600)), "| sessions")[2] == "30.00"


def test_the_assumptions_are_those_of_the_project() -> None:
    load = Load()
    queues = json.loads((ROOT / "host.json").read_text("utf-8"))["extensions"]["queues"]
    assert load.run_concurrency == queues["batchSize"] + queues["newBatchThreshold"]
    measured = re.search(r"own overhead of a chat, median \| ([0-9.]+) ms", (ROOT / "docs/benchmarks.md").read_text())
    assert measured is not None
    assert load.overhead_seconds * 1000 == pytest.approx(float(measured[1]), abs=0.5)


def test_the_assumptions_are_those_of_the_infrastructure() -> None:
    load = Load()
    assert load.http_concurrency == INFRASTRUCTURE["httpConcurrency"]
    assert load.cooldown_seconds == INFRASTRUCTURE["poolCooldownSeconds"]
    assert load.model_capacity == INFRASTRUCTURE["modelCapacity"]
    assert load.instance_gb * 1024 == INFRASTRUCTURE["instanceMemoryMB"]
    named = set(re.findall(r"`([a-z]+(?:[A-Z][a-zA-Z]+)+)`", DOCUMENT))
    assert named - set(INFRASTRUCTURE) == {"batchSize", "newBatchThreshold"}


def test_what_the_text_says_of_the_defaults_comes_out() -> None:
    text = " ".join(DOCUMENT.split())
    small = Load(pool_sessions=INFRASTRUCTURE["poolMaxSessions"])
    for load, unit in ((Load(), "| a deployment"), (small, "| a pool"), (Load(), "| a pool")):
        chats = float(cells(units(load), unit)[2].replace(",", ""))
        assert f"{float(f'{chats:.2g}'):,.0f} chats a day" in text


def test_waits_and_attempts_that_the_text_speaks_of_are_those_of_the_code() -> None:
    text = " ".join(DOCUMENT.split())
    words = {4: "four", 5: "five"}
    for said in (
        f"({run_worker.WAIT_SECONDS} seconds where it says nothing, {run_worker.WAIT_SECONDS_MAX} at most)",
        f"is tried {words[run_worker.ATTEMPTS]} times in all",
        f"only the last one has the usual {words[retry.ATTEMPTS]} attempts",
        f"where the connection hangs: {pool_transport.CONNECT_SECONDS:g} seconds",
        f"an equal share of the chat's time, {session_pools.TRY_SECONDS:g} seconds at most",
    ):
        assert said in text


def test_codes_and_settings_of_the_document_exist() -> None:
    known = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
    words = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", DOCUMENT))
    assert words - known - STATUSES == {"session_id"}
    names = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", DOCUMENT))
    assert names - {row.name for row in table()} == {"PYTHON_THREADPOOL_THREAD_COUNT"}
