"""langchain-azure-dynamic-sessions' SessionsBashBackend for deepagents, unmodified, on the emulator of a Shell pool."""

from __future__ import annotations

import pytest
from langchain_azure_dynamic_sessions.backends import SessionsBashBackend

pytestmark = pytest.mark.parametrize("pool", [pytest.param(("--kind", "Shell"), id="shell")], indirect=True)


@pytest.fixture
def backend(pool: str) -> SessionsBashBackend:
    return SessionsBashBackend(pool)


def test_a_command_gives_its_output_and_exit_code(backend: SessionsBashBackend) -> None:
    response = backend.execute("echo hello; echo trouble >&2; exit 3")
    assert (response.output, response.exit_code, response.truncated) == ("hello\ntrouble\n", 3, False)


def test_a_file_is_written_read_and_edited(backend: SessionsBashBackend) -> None:
    assert backend.write("/mnt/data/sub/note.txt", "one\ntwo\n").error is None
    assert backend.edit("/mnt/data/sub/note.txt", "two", "three").occurrences == 1
    assert str(backend.read("/mnt/data/sub/note.txt")).split() == ["1", "one", "2", "three"]


def test_a_file_that_exists_is_not_overwritten(backend: SessionsBashBackend) -> None:
    backend.write("/mnt/data/note.txt", "one\n")
    assert "already exists" in (backend.write("/mnt/data/note.txt", "two\n").error or "")


def test_a_file_that_is_not_there_cannot_be_edited(backend: SessionsBashBackend) -> None:
    assert "not found" in (backend.edit("/mnt/data/missing.txt", "a", "b").error or "")


def test_directories_are_listed(backend: SessionsBashBackend) -> None:
    # deepagents has called `ls` since 0.5; the client overrides the older `ls_info`, so this one runs python3.
    backend.write("/mnt/data/sub/note.txt", "one\n")
    entries = backend.ls("/mnt/data").entries or []
    assert [(entry["path"], entry.get("is_dir")) for entry in entries] == [("/mnt/data/sub", True)]


def test_text_is_found(backend: SessionsBashBackend) -> None:
    backend.write("/mnt/data/note.txt", "one\nneedle\n")
    matches = backend.grep("needle", path="/mnt/data").matches or []
    assert [(match["path"], match["line"], match["text"]) for match in matches] == [("/mnt/data/note.txt", 2, "needle")]


def test_files_are_uploaded_and_downloaded(backend: SessionsBashBackend) -> None:
    assert [response.error for response in backend.upload_files([("/mnt/data/a b.bin", b"\0\xff")])] == [None]
    assert [response.content for response in backend.download_files(["/mnt/data/a b.bin"])] == [b"\0\xff"]


def test_every_failed_download_is_called_a_missing_file(pool: str) -> None:
    # The client's doing: download_files takes any exception, a refused token too, for file_not_found.
    backend = SessionsBashBackend(pool, access_token_provider=lambda: "forged")
    assert [response.error for response in backend.download_files(["note.txt"])] == ["file_not_found"]


def test_a_forged_token_is_refused(pool: str) -> None:
    backend = SessionsBashBackend(pool, access_token_provider=lambda: "forged")
    with pytest.raises(RuntimeError, match="401"):
        backend.execute("true")
