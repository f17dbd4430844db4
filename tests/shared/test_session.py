"""A session against a scripted pool: its identifier, its files, its end, and how a loss is told.

With real sessions: tests/integration.
"""

from __future__ import annotations

import json
import re
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import errors
from shared.deadline import Deadline
from shared.session import FILE_BYTES_MAX, Session, session_identifier
from tests.scripted_pool import (
    Credential,
    Script,
    described,
    ended,
    identifiers,
    listing,
    operations,
    scripted_pool,
    uploaded,
)
from tests.scripted_server import Answer, ScriptedServer

OLDEST = "2024-10-02-preview"
NEW = {"x_ms_new_allocation": "true"}


def session(server: ScriptedServer, **options: object) -> Session:
    return Session(server.url + "/pool/", credential=Credential(), **options)  # type: ignore[arg-type]


def codes(server: ScriptedServer) -> list[str]:
    return [json.loads(request.body)["code"] for request in server.received if "/executions" in request.path]


def test_each_session_has_an_identifier_of_its_own() -> None:
    with scripted_pool(POST_executions=ended()) as server:
        session(server).run("1")
        session(server).run("1")
    assert len(set(identifiers(server))) == 2
    assert all(re.fullmatch("[0-9a-f]{64}", name) for name in identifiers(server))


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_two_callers_never_have_one_identifier(caller: str, name: str, other: str, other_name: str) -> None:
    same = (caller, name) == (other, other_name)
    one = session_identifier(caller, name)
    assert (one == session_identifier(other, other_name)) is same
    assert re.fullmatch("[0-9a-f]{64}", one)


def test_names_with_a_path_are_not_uploaded() -> None:
    with scripted_pool() as server, pytest.raises(ValueError, match="without a path"):
        session(server).upload_file("../a", b"")
    assert server.received == []


def test_a_file_of_more_than_128_megabytes_is_not_sent() -> None:
    with scripted_pool() as server, pytest.raises(errors.PoolLimitExceeded):
        session(server).upload_file("a", bytes(FILE_BYTES_MAX + 1))
    assert server.received == []


def test_an_execution_never_asks_for_more_than_the_service_gives() -> None:
    with scripted_pool(POST_executions=ended()) as server:
        session(server, execution_timeout_seconds=1000).run("1")
    assert json.loads(server.received[0].body)["timeoutInSeconds"] == 220


@pytest.mark.parametrize("second", [NEW, {"x_ms_session_guid": "other"}])
def test_a_loss_between_two_executions_is_noted_once(second: dict[str, str]) -> None:
    with scripted_pool(POST_executions=[ended(x_ms_session_guid="one", **NEW), ended(**second), ended()]) as server:
        lost = session(server)
        lost.run("x = 1")
        assert lost.take_notes() == []
        lost.run("print(x)")
        (note,) = lost.take_notes()
        lost.run("x = 2")
        assert lost.take_notes() == []
    assert "the session was lost" in note


@pytest.mark.parametrize("there", [True, False])
def test_a_resumed_session_is_noted_only_if_it_is_new(there: bool) -> None:
    found, first = (Answer(), ended()) if there else (Answer(404, b""), ended(**NEW))
    with scripted_pool(GET_session=found, POST_executions=first) as server:
        resumed = session(server, session_id="s")
        assert resumed.resume() is there
        resumed.run("1")
    assert ["this session is new" in note for note in resumed.take_notes()] == [True] * (not there)
    assert operations(server) == ["GET session", "POST executions"]


def test_a_resumed_session_that_is_lost_after_its_first_code_is_lost_and_not_new() -> None:
    with scripted_pool(GET_session=Answer(), POST_executions=[ended(), ended(**NEW)]) as server:
        resumed = session(server, session_id="s")
        resumed.resume()
        resumed.run("1")
        resumed.run("2")
    assert ["the session was lost" in note for note in resumed.take_notes()] == [True]


def test_a_session_that_is_lost_between_the_look_and_the_first_code_is_new() -> None:
    with scripted_pool(GET_session=Answer(), POST_executions=ended(**NEW)) as server:
        resumed = session(server, session_id="s")
        assert resumed.resume()
        resumed.run("1")
    assert ["this session is new" in note for note in resumed.take_notes()] == [True]


def test_files_that_start_a_session_do_not_hide_that_it_is_new() -> None:
    with scripted_pool(GET_session=Answer(404, b""), POST_files=uploaded("a.csv"), POST_executions=ended()) as server:
        resumed = session(server, session_id="s")
        resumed.resume()
        resumed.provide_files({"a.csv": b"1"})
        resumed.run("1")
    assert ["this session is new" in note for note in resumed.take_notes()] == [True]


@pytest.mark.parametrize(("headers", "there"), [({}, True), (NEW, False)])
def test_the_oldest_version_tells_with_an_empty_execution_whether_a_session_is_new(
    headers: dict[str, str], there: bool
) -> None:
    with scripted_pool(POST_executions=[ended(**headers), ended()]) as server:
        resumed = session(server, session_id="s", api_version=OLDEST)
        assert resumed.resume() is there
        assert not resumed.started
        resumed.run("1")
    assert ["this session is new" in note for note in resumed.take_notes()] == [True] * (not there)
    assert codes(server) == ["pass", "1"]


@pytest.mark.parametrize("status", ["Succeeded", "Failed"])
def test_a_session_lost_between_upload_and_code_gets_its_files_again(status: str) -> None:
    with scripted_pool(
        POST_files=[uploaded("a.csv", 4, "first"), uploaded("a.csv", 4, "again")],
        POST_executions=ended(status=status, **NEW),
        GET_files=listing(described("other")),
    ) as server:
        lost = session(server)
        lost.provide_files({"a.csv": b"data"})
        lost.run("1")
        (note,) = lost.take_notes()
    assert operations(server) == ["POST files", "POST executions", "GET files", "POST files"]
    assert b"data" in server.received[-1].body
    assert lost.provided_files["a.csv"].modified_at == "again"
    assert "did not have the files" in note
    assert "a.csv" in note


def test_files_that_are_there_after_a_loss_stay_as_the_code_has_written_them() -> None:
    with scripted_pool(
        POST_files=uploaded("a.csv"), POST_executions=ended(**NEW), GET_files=listing(described("a.csv"))
    ) as server:
        lost = session(server)
        lost.provide_files({"a.csv": b"data"})
        lost.run("1")
    assert operations(server) == ["POST files", "POST executions", "GET files"]
    assert lost.take_notes() == []


@pytest.mark.parametrize(
    ("broken", "again"),
    [
        ({"GET_files": Answer(403, b"")}, []),
        ({"POST_files": [uploaded("a"), uploaded("b"), uploaded("a"), Answer(403)]}, ["a"]),
    ],
)
def test_files_that_cannot_be_put_again_do_not_cost_the_result(broken: dict[str, Script], again: list[str]) -> None:
    answers = {"POST_files": uploaded("a"), "POST_executions": ended("42", **NEW), "GET_files": listing(), **broken}
    with scripted_pool(**answers) as server:
        lost = session(server)
        lost.provide_files({"a": b"1", "b": b"2"})
        assert lost.run("send_the_mail()").stdout == "42"
    notes = lost.take_notes()
    assert ["there now: " + name in notes[0] for name in again] == [True] * len(again)
    left = {"a", "b"}.difference(again)
    assert f"could not be put into the new session: {', '.join(sorted(left))}." in notes[-1]


def test_a_session_counts_as_started_before_its_first_code_has_answered() -> None:
    with scripted_pool(POST_executions=Answer(hang_up=True)) as server:
        begun = session(server)
        assert not begun.started
        with pytest.raises(errors.PoolOutcomeUnknown):
            begun.run("1")
    assert begun.started


def test_a_session_that_nothing_was_sent_to_does_not_count_as_started() -> None:
    with scripted_pool() as server:
        late = session(server, deadline=Deadline.after(0))
        with pytest.raises(errors.DeadlineReached):
            late.run("1")
        with pytest.raises(errors.DeadlineReached):
            late.upload_file("a", b"")
    assert not late.started
    assert server.received == []


def test_restart_ends_the_session_and_puts_the_files_into_the_next() -> None:
    with scripted_pool(
        DELETE_session=Answer(204, b""), POST_files=[uploaded("a.csv"), uploaded("a.csv", 1, "later")]
    ) as server:
        used = session(server)
        used.provide_files({"a.csv": b"data"})
        used.restart()
    assert operations(server) == ["POST files", "DELETE session", "POST files"]
    assert len(set(identifiers(server))) == 1
    assert used.provided_files["a.csv"].modified_at == "later"


def test_a_new_session_after_a_restart_is_no_loss() -> None:
    with scripted_pool(POST_executions=ended(**NEW), DELETE_session=Answer(204, b"")) as server:
        used = session(server)
        used.run("1")
        used.restart()
        used.run("1")
    assert used.take_notes() == []


def test_files_put_again_by_a_restart_are_not_looked_for() -> None:
    with scripted_pool(
        POST_files=uploaded("a.csv"),
        POST_executions=[ended(x_ms_session_guid="one", **NEW), ended(x_ms_session_guid="two")],
        GET_files=listing(described("a.csv")),
        DELETE_session=Answer(204, b""),
    ) as server:
        used = session(server)
        used.run("1")
        used.provide_files({"a.csv": b"data"})
        used.restart()
        used.run("1")
    assert used.take_notes() == []
    assert "GET files" not in operations(server)


def test_the_oldest_version_restarts_in_another_session(caplog: pytest.LogCaptureFixture) -> None:
    with scripted_pool(POST_executions=ended(), POST_files=uploaded("a.csv")) as server:
        used = session(server, api_version=OLDEST, session_id="s")
        used.run("x = 1")
        used.restart()
        used.run("print(x)")
        used.restart()
        used.run("print(x)")
    assert len(set(identifiers(server))) == 3
    assert session_identifier("", used.session_id) == identifiers(server)[-1]
    assert "cannot end a session" in caplog.text


def test_the_context_manager_ends_the_session() -> None:
    with scripted_pool(POST_executions=ended(), DELETE_session=Answer(204, b"")) as server, session(server) as used:
        used.run("1")
    assert operations(server) == ["POST executions", "DELETE session"]


def test_the_callers_own_error_leaves_the_context_manager(caplog: pytest.LogCaptureFixture) -> None:
    with scripted_pool(DELETE_session=Answer(403, b"")) as server:
        with pytest.raises(KeyError, match="own"), session(server):
            raise KeyError("own")
        with pytest.raises(errors.PoolForbidden), session(server):
            pass
    assert "PoolForbidden" in caplog.text
    assert identifiers(server)[0] not in caplog.text


def test_connections_of_its_own_are_closed_at_the_end() -> None:
    closed: list[bool] = []
    body = b'{"status": "Succeeded", "result": {}}'

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            while connection.recv(65536):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            closed.append(True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        with Session(f"http://127.0.0.1:{listener.getsockname()[1]}", credential=Credential()) as used:
            used.resume()
            assert closed == []
        thread.join(10)
    assert closed == [True]
    assert used.session_id


@pytest.mark.parametrize(("ran", "words"), [(True, "the session was lost"), (False, "this session is new")])
def test_a_session_that_is_gone_when_it_is_taken_up_is_told_and_has_its_files_again(ran: bool, words: str) -> None:
    with scripted_pool(GET_session=Answer(404, b""), POST_files=uploaded("a.csv"), POST_executions=ended()) as server:
        taken = session(server, session_id="s")
        assert taken.take_up({"a.csv": b"1"}, code_has_run=ran) is False
        assert taken.started
        taken.run("1")
    assert [words in note for note in taken.take_notes()] == [True]
    assert operations(server) == ["GET session", "POST files", "POST executions"]


def test_a_session_that_is_there_when_it_is_taken_up_has_its_files_until_it_is_lost() -> None:
    with scripted_pool(
        GET_session=Answer(),
        POST_executions=[ended(), ended(**NEW)],
        GET_files=listing(),
        POST_files=uploaded("a.csv"),
    ) as server:
        taken = session(server, session_id="s")
        assert taken.take_up({"a.csv": b"1"}, code_has_run=True) is True
        taken.run("1")
        assert operations(server) == ["GET session", "POST executions"]
        assert not taken.has_notes
        taken.run("2")
    assert operations(server)[2:] == ["POST executions", "GET files", "POST files"]
    assert ["the session was lost" in note for note in taken.take_notes()] == [True, False]


def test_what_another_process_has_found_is_noted_once() -> None:
    with scripted_pool(POST_executions=ended(**NEW)) as server:
        taken = session(server, session_id="s")
        taken.note_new()
        taken.run("1")
    assert ["this session is new" in note for note in taken.take_notes()] == [True]


def test_an_execution_that_is_found_counts_as_one_that_a_loss_takes_away() -> None:
    with scripted_pool(GET_executions=ended("42"), POST_executions=ended(**NEW)) as server:
        taken = session(server, session_id="s")
        execution = taken.find_execution("id")
        assert execution is not None
        assert execution.stdout == "42"
        taken.run("1")
    assert ["the session was lost" in note for note in taken.take_notes()] == [True]


def test_an_execution_that_is_found_in_another_container_tells_of_the_loss() -> None:
    with scripted_pool(
        POST_executions=ended(x_ms_session_guid="one"), GET_executions=ended("42", x_ms_session_guid="two")
    ) as server:
        lost = session(server)
        lost.run("x = 1")
        lost.find_execution("id")
    assert ["the session was lost" in note for note in lost.take_notes()] == [True]
