"""What blobs are called: names sort as lists need them, and nothing foreign gets into one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import run_names
from tests.kept_runs import new_run

TIMES = st.floats(0, 9_999_999_999)
IDS = st.uuids().map(lambda name: name.hex)


@given(TIMES, TIMES)
def test_entries_sort_from_the_newest_to_the_oldest(one: float, other: float) -> None:
    older, newer = sorted((one, other))
    entries = [run_names.list_entry(new_run(created_at=time)) for time in (newer, older)]
    assert entries == sorted(entries) or int(newer * 1000) == int(older * 1000)


@pytest.mark.parametrize("time", [-1.0, 0.0, 1e300])
def test_a_time_that_none_is_still_gives_an_entry_of_the_same_length(time: float) -> None:
    assert len(run_names.list_entry(new_run(created_at=time))) == len(run_names.list_entry(new_run()))


@given(IDS)
def test_every_blob_of_a_run_and_its_entry_tell_its_id(run_id: str) -> None:
    run = new_run(run_id=run_id)
    own = [run_names.record(run_id), run_names.reply(run_id), run_names.lease(run_id), run_names.file(run_id, 7)]
    for name in [*own, run_names.list_entry(run)]:
        assert run_names.run_id_of(name) == run_id
    assert len(set(own)) == 4
    assert all(name.startswith(run_names.RUNS) for name in own)
    assert run_names.list_entry(run).startswith(run_names.list_prefix(run.owner))


@pytest.mark.parametrize("name", ["", "secret", "runs/0/record", "keys/" + "0" * 64, "owners/x/1-2"])
def test_other_names_tell_no_id(name: str) -> None:
    assert run_names.run_id_of(name) == ""


@given(st.sampled_from("ab"), st.text(max_size=3), st.sampled_from("ab"), st.text(max_size=3))
def test_two_keys_have_one_name_only_where_owner_and_key_are_the_same(a: str, b: str, c: str, d: str) -> None:
    assert (run_names.claim(a * 64, b) == run_names.claim(c * 64, d)) == ((a, b) == (c, d))
