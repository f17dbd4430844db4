"""Which of several pools has a session, and what a new one does where it has no room. Real pools: tests/integration."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import errors, session, session_pool, session_pools
from shared.deadline import Deadline
from shared.errors import DeadlineReached, PoolFull, PoolOutcomeUnknown, SettingError
from shared.identity import BearerTokens
from shared.session import Session, session_identifier
from shared.session_pools import SessionPools, endpoints_of, place_of
from tests.scripted_pool import Credential, Script, ended, identifiers, listing, operations, scripted_pool, uploaded
from tests.scripted_server import Answer, ScriptedServer

EAST = "https://eastus.dynamicsessions.io/subscriptions/s/resourceGroups/g/sessionPools/a"
WEST = "https://westus.dynamicsessions.io/subscriptions/s/resourceGroups/g/sessionPools/b"
HERE = "http://127.0.0.1:8080/pool"
IDENTIFIERS = [session_identifier("caller", str(number)) for number in range(2000)]

names = st.lists(st.from_regex(r"[a-z0-9-]{1,12}", fullmatch=True), min_size=2, max_size=8, unique=True)
pools = names.map(lambda given: [f"https://{name}.example/sessionPools/p" for name in given])
callers_and_ids = st.tuples(st.text(max_size=10), st.text(max_size=10))


def test_one_endpoint_is_a_list_of_one() -> None:
    assert endpoints_of(EAST) == (EAST,)


def test_blanks_and_slashes_around_an_endpoint_do_not_count() -> None:
    assert endpoints_of(f" {EAST}/ ,\n{WEST}//,{HERE} ") == (EAST, WEST, HERE)


@pytest.mark.parametrize(
    "setting",
    ["", ",", f"{EAST},", f",{EAST}", f"{EAST},pool", f"{EAST},http://pool.example/secret"],
)
def test_every_endpoint_has_to_be_https_or_on_this_machine(setting: str) -> None:
    with pytest.raises(SettingError) as caught:
        endpoints_of(setting)
    assert caught.value.name == "POOL_MANAGEMENT_ENDPOINT"
    assert "POOL_MANAGEMENT_ENDPOINT" in caught.value.detail
    assert not any(part in caught.value.detail for part in ("dynamicsessions", "secret", "pool.example"))


@pytest.mark.parametrize("again", [EAST, EAST + "/", EAST.upper().replace("HTTPS", "https")])
def test_no_pool_is_named_twice(again: str) -> None:
    with pytest.raises(SettingError, match="POOL_MANAGEMENT_ENDPOINT") as caught:
        SessionPools(f"{EAST},{WEST},{again}", tokens=BearerTokens("scope", credential=Credential()))
    assert "twice" in caught.value.detail
    assert "dynamicsessions" not in caught.value.detail


def test_a_session_has_the_same_place_in_every_release() -> None:
    # Another hash would move the sessions that people have open.
    placed = [place_of(identifier, [EAST, WEST, HERE]) for identifier in IDENTIFIERS[:8]]
    assert placed == [WEST, HERE, HERE, EAST, EAST, EAST, WEST, WEST]


@given(callers_and_ids, pools, st.randoms(use_true_random=False))
def test_the_order_of_the_pools_does_not_matter(session: tuple[str, str], given: list[str], random: object) -> None:
    identifier = session_identifier(*session)
    mixed = sorted(given, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert place_of(identifier, mixed) == place_of(identifier, given)


@given(callers_and_ids, pools)
def test_how_an_endpoint_is_written_does_not_matter(session: tuple[str, str], given: list[str]) -> None:
    identifier = session_identifier(*session)
    written = endpoints_of(" , ".join(f"{pool.replace('sessionPools', 'SESSIONPOOLS')}/" for pool in given))
    assert place_of(identifier, written).lower() == place_of(identifier, given).lower()


@given(callers_and_ids, pools)
def test_where_a_pool_is_taken_away_only_its_sessions_move(session: tuple[str, str], given: list[str]) -> None:
    identifier = session_identifier(*session)
    place = place_of(identifier, given)
    for gone in given:
        left = [pool for pool in given if pool != gone]
        assert (place_of(identifier, left) == place) is (gone != place)


@given(callers_and_ids, pools)
def test_where_a_pool_is_added_sessions_move_to_it_alone(session: tuple[str, str], given: list[str]) -> None:
    identifier = session_identifier(*session)
    before = place_of(identifier, given)
    assert place_of(identifier, [*given, HERE]) in (before, HERE)


@settings(max_examples=25)
@given(pools)
def test_pools_have_about_as_many_sessions_each(given: list[str]) -> None:
    counts = Counter(place_of(identifier, given) for identifier in IDENTIFIERS)
    share = 1 / len(given)
    expected, deviation = len(IDENTIFIERS) * share, math.sqrt(len(IDENTIFIERS) * share * (1 - share))
    # Seven standard deviations: by chance in one of 10^11 cases.
    assert all(abs(counts[pool] - expected) < 7 * deviation for pool in given), counts


# A day is more than any deadline here: nobody waits for another attempt.
LATER = {"Retry-After": "86400"}
FULL = Answer(429, b'{"code": "SessionsCountExceedsLimit"}', LATER)
FULL_FOR_NOW = Answer(429, b'{"code": "SessionsCountExceedsLimit"}', {"Retry-After": "0"})
WORKING: dict[str, Script] = {"POST_executions": ended("42"), "POST_files": uploaded("a.csv"), "GET_files": listing()}


@dataclass
class Scene:
    """Two scripted pools.

    Attributes:
        setting: names them.
        first, second: the pools.
    """

    setting: str
    first: ScriptedServer
    second: ScriptedServer

    def session(self, session_id: str | None = None, **options: Any) -> Session:
        """A session whose place is the first pool, with options of `Session`."""
        for _ in range(1 if session_id else 100):
            made = Session(self.setting, credential=Credential(), session_id=session_id, **options)
            if self.place(made) == self.first.url:
                return made
            made.close()
        raise AssertionError("no session has its place in the first pool")

    def place(self, made: Session) -> str:
        """The address of the pool that has a session."""
        return place_of(session_identifier("", made.session_id), endpoints_of(self.setting)).removesuffix("/pool")

    def known_id(self) -> str:
        """A session_id that leads to the first pool."""
        with self.session() as made:
            self.first.received.clear()
        return made.session_id


@contextmanager
def two_pools(**first: Script) -> Iterator[Scene]:
    """The first answers as a test says, the second works."""
    with ExitStack() as stack:
        one = stack.enter_context(scripted_pool(**{"DELETE_session": Answer(404, b""), **first}))
        two = stack.enter_context(scripted_pool(**WORKING))
        yield Scene(f"{one.url}/pool,{two.url}/pool", one, two)


def test_sessions_are_where_their_identifiers_say() -> None:
    with two_pools(**WORKING) as scene:
        for _ in range(20):
            made = Session(scene.setting, credential=Credential())
            made.run("1")
            made.list_files()
            own = scene.first if scene.place(made) == scene.first.url else scene.second
            assert identifiers(own)[-2:] == [session_identifier("", made.session_id)] * 2
        assert scene.first.received
        assert scene.second.received


@pytest.mark.parametrize(
    "refusal",
    [FULL, Answer(503, b"", LATER), Answer(404, b'{"code": "SessionsCountExceedsLimit"}')],
)
def test_a_new_session_goes_to_another_pool_where_its_own_has_no_room(refusal: Answer) -> None:
    with two_pools(POST_executions=refusal) as scene:
        made = scene.session()
        asked_first = made.session_id
        assert made.run("6 * 7").stdout == "42"
        assert made.session_id != asked_first
        assert scene.place(made) == scene.second.url
        # From the session_id alone it is found again, and the full pool is not asked.
        assert Session(scene.setting, credential=Credential(), session_id=made.session_id).run("1").stdout == "42"
    assert len(scene.first.received) == 1
    assert identifiers(scene.second) == [session_identifier("", made.session_id)] * 2


def test_a_new_session_goes_to_another_pool_where_its_own_cannot_be_reached() -> None:
    with scripted_pool() as gone:
        pass
    with scripted_pool(**WORKING) as second:
        scene = Scene(f"{gone.url}/pool,{second.url}/pool", gone, second)
        made = scene.session()
        assert made.run("6 * 7").stdout == "42"
        assert scene.place(made) == second.url


def test_files_that_come_first_and_the_code_are_in_one_session() -> None:
    with two_pools(POST_files=FULL) as scene:
        made = scene.session()
        made.provide_files({"a.csv": b"1"})
        made.run("1")
    assert operations(scene.first) == ["POST files"]
    assert operations(scene.second) == ["POST files", "POST executions"]
    assert len(set(identifiers(scene.second))) == 1


def test_a_session_that_is_known_stays_and_its_user_gets_the_error() -> None:
    with two_pools(POST_executions=FULL) as scene:
        known = scene.known_id()
        with pytest.raises(PoolFull):
            scene.session(known).run("1")
        # A run's session_id was told before the session was there.
        told = Session(scene.setting, credential=Credential())
        told.session_id = known
        with pytest.raises(PoolFull):
            told.run("1")
        assert told.session_id == known
    assert scene.second.received == []


def test_a_session_in_which_code_may_have_run_stays() -> None:
    with two_pools(POST_executions=[Answer(hang_up=True), FULL]) as scene:
        made = scene.session()
        with pytest.raises(PoolOutcomeUnknown):
            made.run("1")
        with pytest.raises(PoolFull):
            made.run("2")
    assert scene.second.received == []


def test_a_session_in_which_code_has_run_stays() -> None:
    with two_pools(POST_executions=[ended("42"), FULL]) as scene:
        made = scene.session()
        made.run("1")
        with pytest.raises(PoolFull):
            made.run("2")
    assert scene.second.received == []


def test_a_missing_role_is_told_and_not_gone_around() -> None:
    with two_pools(POST_executions=Answer(403, b"")) as scene, pytest.raises(errors.PoolForbidden):
        scene.session().run("1")
    assert scene.second.received == []


def test_where_all_pools_are_full_each_is_asked_once() -> None:
    with (
        scripted_pool(POST_executions=FULL) as one,
        scripted_pool(POST_executions=FULL) as two,
        scripted_pool(POST_executions=FULL) as three,
    ):
        setting = ",".join(f"{server.url}/pool" for server in (one, two, three))
        with pytest.raises(PoolFull):
            Session(setting, credential=Credential()).run("1")
    assert [len(server.received) for server in (one, two, three)] == [1, 1, 1]


def test_only_the_last_pool_is_asked_again() -> None:
    with two_pools(POST_executions=[FULL_FOR_NOW] * 3 + [ended("42")]) as scene:
        assert scene.session().run("1").stdout == "42"
        assert operations(scene.first) == ["POST executions"]
    busy = [scripted_pool(POST_executions=FULL_FOR_NOW) for _ in range(3)]
    with ExitStack() as stack:
        servers = [stack.enter_context(server) for server in busy]
        with pytest.raises(PoolFull):
            Session(",".join(f"{server.url}/pool" for server in servers), credential=Credential()).run("1")
    assert sorted(len(server.received) for server in servers) == [1, 1, 4]


def test_a_session_that_is_known_has_all_attempts_in_its_pool() -> None:
    with two_pools(POST_executions=[FULL_FOR_NOW] * 3 + [ended("42")]) as scene:
        assert scene.session(scene.known_id()).run("1").stdout == "42"
    assert operations(scene.first).count("POST executions") == 4


def test_a_pool_that_does_not_answer_an_upload_has_its_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with two_pools(POST_files=Answer(silent=True)) as scene:
        made = scene.session(deadline=Deadline.after(2))
        made.provide_files({"a.csv": b"1"})
        assert scene.place(made) == scene.second.url
        monkeypatch.setattr(session_pools, "TRY_SECONDS", 0.2)
        long = Deadline.after(60)
        patient = scene.session(deadline=long)
        patient.provide_files({"a.csv": b"1"})
        assert scene.place(patient) == scene.second.url
        # The silent server would hang up after ten.
        assert long.remaining() > 52
    assert operations(scene.first) == ["POST files"] * 2


def test_code_that_a_pool_has_is_waited_for_and_runs_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_pools, "TRY_SECONDS", 0.1)
    slow = ended("42")
    with two_pools(POST_executions=[replace(slow, drip_seconds=0.4 / len(slow.body)), Answer(silent=True)]) as scene:
        assert scene.session().run("1").stdout == "42"
        with pytest.raises(DeadlineReached):
            scene.session(deadline=Deadline.after(0.4)).run("1")
    assert scene.second.received == []


def test_code_that_a_pool_has_taken_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_pool, "POLL_SECONDS", 0.0)
    taken = Answer(202, b'{"id": "e", "status": "Running"}')
    away = Answer(503, b"", {"Retry-After": "0"})
    with two_pools(POST_executions=taken, GET_executions=[away, ended("42")]) as scene:
        assert scene.session(api_version="2024-10-02-preview").run("1").stdout == "42"
    assert operations(scene.first) == ["POST executions", "GET executions", "GET executions"]
    assert scene.second.received == []


def test_a_new_session_that_no_pool_had_room_for_asks_all_of_them_again() -> None:
    with (
        scripted_pool(POST_executions=[FULL, ended("42")]) as first,
        scripted_pool(POST_executions=FULL) as second,
    ):
        made = Scene(f"{first.url}/pool,{second.url}/pool", first, second).session()
        with pytest.raises(PoolFull):
            made.run("1")
        assert made.run("1").stdout == "42"
    assert [len(first.received), len(second.received)] == [2, 2]


def test_one_bound_is_for_all_pools_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "DEFAULT_CALL_SECONDS", 0.6)
    slow = replace(FULL, drip_seconds=0.4 / len(FULL.body))
    with (
        scripted_pool(POST_executions=slow) as first,
        scripted_pool(POST_executions=slow) as second,
        pytest.raises(DeadlineReached),
    ):
        Session(f"{first.url}/pool,{second.url}/pool", credential=Credential()).run("1")


def test_one_pool_alone_gives_its_own_error() -> None:
    with scripted_pool(POST_executions=FULL) as server, pytest.raises(PoolFull):
        Session(f"{server.url}/pool", credential=Credential()).run("1")
    assert operations(server) == ["POST executions"]
