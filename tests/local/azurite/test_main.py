"""Azurite as a part: what it keeps, what it announces, how it ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueClient

from local.azurite import is_listening, missing
from local.azurite.__main__ import free_ports
from local.part import Part, PartFailed
from tests.local.commands import needs_azurite
from tests.processes import all_gone, descendants, family

ROOT = Path(__file__).parents[3]
BOUND_SECONDS = 30
COMMAND = [sys.executable, "-m", "local.azurite", "--with-parent"]


@contextmanager
def azurite(*options: str, **variables: str) -> Iterator[Part]:
    part = Part("azurite", [*COMMAND, *options], environment={**os.environ, **variables}, folder=ROOT, keep_log=True)
    try:
        yield part
    finally:
        part.stop()


def storage(part: Part) -> str:
    """The connection string of one that is ready."""
    return str(part.wait_ready(BOUND_SECONDS)["env"]["AzureWebJobsStorage"])


def blobs(connection: str) -> list[str]:
    with BlobServiceClient.from_connection_string(connection) as client:
        return [str(container.name) for container in client.list_containers()]


def make_container(connection: str, name: str) -> None:
    with BlobServiceClient.from_connection_string(connection) as client:
        client.create_container(name)


@needs_azurite
def test_blobs_and_queues_are_on_loopback_and_the_environment_changes_nothing() -> None:
    with azurite(AZURITE_ACCOUNTS="other:a2V5") as part:
        ready = part.wait_ready(BOUND_SECONDS)
        connection = ready["env"]["AzureWebJobsStorage"]
        make_container(connection, "one")
        assert blobs(connection) == ["one"]
        with QueueClient.from_connection_string(connection, "queue") as queue:
            queue.create_queue()
            queue.send_message("x")
            assert queue.receive_message() is not None
        assert f"BlobEndpoint={ready['url']}/" in connection
        assert ready["url"].startswith("http://127.0.0.1:")


@needs_azurite
def test_without_a_folder_everything_is_gone_and_with_one_it_stays(tmp_path: Path) -> None:
    for options, kept in [((), []), (("--location", str(tmp_path / "data")), ["one"])]:
        for expected in ([], kept):
            with azurite(*options) as part:
                connection = storage(part)
                assert blobs(connection) == expected
                if not expected:
                    make_container(connection, "one")


@needs_azurite
def test_two_never_write_the_same_folder(tmp_path: Path) -> None:
    with azurite("--location", str(tmp_path)) as first:
        make_container(storage(first), "one")
        with azurite("--location", str(tmp_path)) as second:
            assert blobs(storage(second)) == []
            assert "Another Azurite uses the folder" in second.log()


@needs_azurite
def test_it_comes_back_under_its_ports(tmp_path: Path) -> None:
    with azurite("--location", str(tmp_path)) as first:
        connection = storage(first)
        make_container(connection, "one")
        with pytest.raises(ResourceExistsError):
            make_container(connection, "one")
    port = first_port(connection)
    with azurite("--location", str(tmp_path), "--port", str(port)) as second:
        assert storage(second) == connection
        assert blobs(connection) == ["one"]


def first_port(connection: str) -> int:
    return int(connection.partition("BlobEndpoint=http://127.0.0.1:")[2].partition("/")[0])


@needs_azurite
def test_port_that_is_taken_is_told() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        azurite("--port", str(taken.getsockname()[1])) as part,
        pytest.raises(PartFailed, match=r"(?s)azurite ended with exit code 1.*EADDRINUSE"),
    ):
        part.wait_ready(BOUND_SECONDS)


@needs_azurite
def test_killed_part_leaves_no_node_process() -> None:
    with subprocess.Popen(
        COMMAND, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        children = descendants(process.pid)
        process.kill()
        process.wait(BOUND_SECONDS)
        assert len(children) >= 1
        assert all_gone(children)


@needs_azurite
def test_part_ends_with_its_parent() -> None:
    with subprocess.Popen(COMMAND, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline()
        pids = family([process.pid])
        process.stdin.close()
        assert process.wait(BOUND_SECONDS) == 0
        assert all_gone(pids)


def test_machine_without_node_is_told(tmp_path: Path) -> None:
    with azurite(PATH=str(tmp_path)) as part, pytest.raises(PartFailed, match=r"needs Node\.js with npm"):
        part.wait_ready(BOUND_SECONDS)


def test_emulator_that_listens_is_found_and_half_of_one_is_none() -> None:
    port = free_ports()
    with socket.create_server(("127.0.0.1", port)):
        assert not is_listening(port)
        with socket.create_server(("127.0.0.1", port + 1)):
            assert is_listening(port)
    assert not is_listening(port)


@needs_azurite
def test_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        azurite("--location", str(tmp_path / "file")) as part,
        pytest.raises(PartFailed, match="exit code 1") as caught,
    ):
        part.wait_ready(BOUND_SECONDS)
    assert "File exists" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_installation_that_has_failed_is_told_from_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("node", "npm"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("local.azurite.SCRIPT", tmp_path / "azurite.js")
    monkeypatch.setattr("local.azurite.LOG", tmp_path / "npm.log")
    assert "is not installed: run `python3 dev.py up`" in missing()
    (tmp_path / "npm.log").write_text("npm error")
    assert "has failed: see .azurite/npm.log" in missing()
    (tmp_path / "azurite.js").write_text("")
    assert missing() == ""


def test_lock_file_names_no_registry() -> None:
    lock = (ROOT / "local/azurite/package-lock.json").read_text()
    assert '"node_modules/azurite"' in lock
    assert '"resolved"' not in lock
