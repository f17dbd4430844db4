"""A run's record: what is written is what is read, also by an earlier or a later version."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.runs import ENDED, QUEUED, RUNNING, Callback, Run, is_run_id, owner_of
from shared.session_wire import SessionFile
from shared.steps import Step, Usage

ROOT = Path(__file__).parents[2]
# Any text that JSON can bring, lone surrogates too.
TEXT = st.text(st.characters(exclude_categories=()), max_size=30)
TIME = st.floats(allow_nan=False, allow_infinity=False)
NUMBER = st.integers(0, 2**53)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
RUNS = st.builds(
    Run,
    run_id=st.uuids().map(lambda name: name.hex),
    owner=TEXT.map(owner_of),
    caller=TEXT,
    created_at=TIME,
    expires_at=TIME,
    message=TEXT,
    session_id=TEXT,
    max_turns=NUMBER,
    token_budget=st.none() | NUMBER,
    files=st.lists(TEXT, max_size=3).map(tuple),
    status=st.sampled_from(sorted({QUEUED, RUNNING} | ENDED)),
    steps=st.lists(
        st.builds(Step, NUMBER, TEXT, TEXT, st.none() | st.integers(), st.lists(TEXT, max_size=2).map(tuple)),
        max_size=3,
    ).map(tuple),
    usage=st.builds(Usage, TEXT, NUMBER, NUMBER, NUMBER),
    known_files=st.dictionaries(TEXT, st.builds(SessionFile, TEXT, NUMBER, TEXT, TEXT), max_size=2),
    cancel_requested=st.booleans(),
    attempts=NUMBER,
    pending=st.sampled_from(["", "execution"]),
    problem=st.none() | st.dictionaries(TEXT, JSON, max_size=3),
    callback=st.none()
    | st.builds(Callback, TEXT, st.sampled_from(["pending", "delivered", "given_up"]), NUMBER, st.none() | NUMBER),
)


def a_run() -> Run:
    return Run(
        run_id="0" * 32,
        owner=owner_of("somebody"),
        caller="somebody",
        created_at=1000.0,
        expires_at=2200.0,
        message="Plot it",
        session_id="s",
        max_turns=10,
        callback=Callback("https://example.com/signed"),
    )


@given(RUNS)
def test_a_record_that_is_read_is_the_run_that_was_written(run: Run) -> None:
    assert Run.from_json(run.to_json()) == run


@given(RUNS, st.dictionaries(TEXT.map(lambda name: f"new_{name}"), JSON, min_size=1, max_size=3))
def test_what_a_later_version_has_added_is_ignored_everywhere(run: Run, added: dict[str, Any]) -> None:
    row = json.loads(run.to_json())
    nested = [row["usage"], *row["steps"], *row["known_files"].values(), *filter(None, [row["callback"]])]
    for place in (row, *nested):
        place.update(added)
    assert Run.from_json(json.dumps(row).encode("ascii")) == run


def test_what_an_earlier_version_did_not_write_has_its_default() -> None:
    row = json.loads(a_run().to_json())
    needed = {name: row[name] for name in list(row)[: list(row).index("token_budget")]}
    assert Run.from_json(json.dumps(needed).encode("ascii")) == replace(a_run(), callback=None)


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b"{}", b'{"run_id": 1}', b"\xff", b"[" * 100_000], ids=lambda data: repr(data[:20])
)
def test_what_is_no_record_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"record|Expecting|codec"):
        Run.from_json(data)


@pytest.mark.parametrize("part", ["usage", "steps", "known_files", "callback", "files"])
def test_a_record_with_a_part_of_another_form_is_a_value_error(part: str) -> None:
    row = {**json.loads(a_run().to_json()), part: 7}
    with pytest.raises(ValueError, match="no record of a run"):
        Run.from_json(json.dumps(row).encode("ascii"))


@pytest.mark.parametrize("status", [QUEUED, RUNNING, *sorted(ENDED)])
def test_only_waiting_and_working_runs_have_not_ended(status: str) -> None:
    assert replace(a_run(), status=status).is_ended == (status not in ("queued", "running"))


def test_a_new_run_waits() -> None:
    assert a_run().status == "queued"
    assert not a_run().is_ended


def test_callers_have_owners_of_their_own_that_do_not_show_them() -> None:
    owners = {owner_of(caller) for caller in ("", "somebody", "somebody else", "\ud800")}
    assert len(owners) == 4
    assert all(len(owner) == 64 and "somebody" not in owner for owner in owners)


def test_nothing_secret_is_in_a_runs_repr() -> None:
    text = repr(a_run())
    assert "signed" not in text
    assert "somebody" not in text
    assert "Plot it" not in text


def test_the_data_of_a_run_comes_without_the_libraries_of_the_chat_or_the_storage() -> None:
    code = "import sys, shared.runs; print([n for n in ('autogen', 'openai', 'httpx', 'azure') if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("text", "good"), [("0af" * 10 + "00", True), ("", False), ("0" * 31, False), ("A" * 32, False)]
)
def test_only_an_id_is_an_id(text: str, good: bool) -> None:
    assert is_run_id(text) == good
