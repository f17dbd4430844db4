"""Files of a session, in the versions since 2024-10."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests

from tests.parity.pool import SCOPE, Pool, error_code

MEGABYTE = 1 << 20
NAMES = ("plain.txt", "a b.csv", "ünïcode-文.txt", "UPPER_lower-1.2.tar.gz", "@$&=;,#%^().x", "no_ending")


def listed(pool: Pool, identifier: str, **query: str) -> list[dict[str, Any]]:
    reply = pool.request("GET", "/files", identifier, query=query)
    assert reply.status_code == 200, reply.text
    return list(reply.json()["value"])


def content(pool: Pool, identifier: str, name: str, **query: str) -> requests.Response:
    return pool.request("GET", f"/files/{quote(name, safe='')}/content", identifier, query=query)


@pytest.mark.parity("FILE-01", "FILE-08")
def test_an_upload_is_answered_with_the_file(pool: Pool, session: str) -> None:
    reply = pool.upload("sales.csv", b"city,sales\n", session)
    assert reply.status_code == 200
    file = reply.json()
    modified = datetime.fromisoformat(file.pop("lastModifiedAt")[:19])
    assert modified.year >= 2024
    expected = {"name": "sales.csv", "directory": ".", "type": "file", "contentType": "text/csv", "sizeInBytes": 11}
    assert file == expected
    again = pool.request("GET", "/files/sales.csv", session)
    assert (again.status_code, again.json()) == (200, reply.json())


@pytest.mark.parity("FILE-02")
def test_code_finds_an_upload_in_mnt_data(pool: Pool, session: str) -> None:
    pool.upload("in.txt", b"from outside", session)
    assert pool.result("open('/mnt/data/in.txt').read()", session)["executionResult"] == "from outside"


@pytest.mark.parity("FILE-02", "FILE-09")
def test_what_code_writes_can_be_downloaded(pool: Pool, session: str) -> None:
    pool.result("open('/mnt/data/out.bin', 'wb').write(bytes(range(256)))", session)
    reply = content(pool, session, "out.bin")
    assert (reply.status_code, reply.content) == (200, bytes(range(256)))
    assert reply.headers["content-type"] == "application/octet-stream"


@pytest.mark.parity("FILE-03")
@pytest.mark.parametrize("path", ["", "/", "/mnt/data", "/mnt/data/"])
def test_the_root_has_several_names(pool: Pool, session: str, path: str) -> None:
    assert pool.upload("root.txt", b"1", session, path=path).json()["directory"] == "."
    assert "root.txt" in [item["name"] for item in listed(pool, session, path=path)]
    assert content(pool, session, "root.txt", path=path).content == b"1"


@pytest.mark.parity("FILE-04")
def test_directories_are_made_by_uploads_and_named_by_path(pool: Pool, session: str) -> None:
    assert pool.upload("deep.txt", b"deep", session, path="one/two").json()["directory"] == "one/two"
    assert [item["name"] for item in listed(pool, session, path="/one/two")] == ["deep.txt"]
    assert content(pool, session, "deep.txt", path="one/two").content == b"deep"
    assert content(pool, session, "deep.txt").status_code == 404
    assert pool.result("open('/mnt/data/one/two/deep.txt').read()", session)["executionResult"] == "deep"
    assert pool.request("DELETE", "/files/deep.txt", session, query={"path": "one/two"}).status_code == 204


@pytest.mark.parity("FILE-05")
def test_a_new_session_has_no_files_and_exists_once_they_are_listed(pool: Pool, fresh: str) -> None:
    reply = pool.request("GET", "/files", fresh)
    assert (reply.status_code, reply.json()["value"], reply.json().get("nextLink")) == (200, [], None)
    assert pool.request("GET", "/session", fresh).status_code == 200


@pytest.mark.parity("FILE-06", "FILE-07")
def test_directories_are_listed_and_looked_into_when_asked(pool: Pool, fresh: str) -> None:
    pool.upload("top.txt", b"1", fresh)
    pool.upload("inner.txt", b"22", fresh, path="dir/sub")
    flat = [(item["name"], item["type"]) for item in listed(pool, fresh)]
    assert sorted(flat) == [("dir", "directory"), ("top.txt", "file")]
    deep = [(item["directory"], item["name"], item["type"]) for item in listed(pool, fresh, recursive="true")]
    expected = [(".", "dir", "directory"), (".", "top.txt", "file")]
    expected += [("dir", "sub", "directory"), ("dir/sub", "inner.txt", "file")]
    assert sorted(deep) == sorted(expected)


@pytest.mark.parity("FILE-10")
def test_a_deleted_file_is_gone(pool: Pool, session: str) -> None:
    pool.upload("gone.txt", b"1", session)
    reply = pool.request("DELETE", "/files/gone.txt", session)
    assert (reply.status_code, reply.content) == (204, b"")
    assert pool.request("GET", "/files/gone.txt", session).status_code == 404
    assert pool.result("import os; os.path.exists('/mnt/data/gone.txt')", session)["executionResult"] is False


@pytest.mark.parity("FILE-11")
@pytest.mark.parametrize("path", ["/files/none.txt", "/files/none.txt/content"])
def test_a_missing_file_is_not_found(pool: Pool, session: str, path: str) -> None:
    reply = pool.request("GET", path, session)
    assert (reply.status_code, error_code(reply)) == (404, "FileNotFound")


@pytest.mark.parity("FILE-11")
def test_a_missing_directory_is_not_found(pool: Pool, session: str) -> None:
    assert pool.request("GET", "/files", session, query={"path": "none"}).status_code == 404


@pytest.mark.parity("FILE-12")
def test_deleting_a_missing_file_has_a_code_of_its_own(pool: Pool, session: str) -> None:
    reply = pool.request("DELETE", "/files/none.txt", session)
    assert (reply.status_code, error_code(reply)) == (404, "DeleteFileError")


@pytest.mark.parity("FILE-13")
@pytest.mark.parametrize("name", NAMES)
def test_names_may_have_these_characters(pool: Pool, session: str, name: str) -> None:
    assert pool.upload(name, name.encode(), session).json()["name"] == name
    assert name in [item["name"] for item in listed(pool, session)]
    assert content(pool, session, name).content == name.encode()


@pytest.mark.parity("FILE-14")
@pytest.mark.parametrize(
    "name", ["a:b.txt", "a*b", "a?b", "a<b>", "a|b", "a'b", "a{b}", "~home", "back\\slash", "..", "."]
)
def test_other_names_are_invalid(pool: Pool, session: str, name: str) -> None:
    quoted = name.replace(".", "%2E") if set(name) == {"."} else quote(name, safe="")
    reply = pool.request("GET", f"/files/{quoted}/content", session)
    assert (reply.status_code, error_code(reply)) == (400, "FilePathInvalid")


@pytest.mark.parity("FILE-15")
@pytest.mark.parametrize("path", ["..", "a/../../etc", ".hidden", "v1.2", "/mnt/data/../x"])
def test_directories_have_no_dots(pool: Pool, session: str, path: str) -> None:
    listing = pool.request("GET", "/files", session, query={"path": path})
    assert (listing.status_code, error_code(listing)) == (400, "FilePathInvalid")
    assert error_code(pool.upload("x.txt", b"1", session, path=path)) == "FilePathInvalid"


@pytest.mark.parity("FILE-16")
@pytest.mark.local_only("129 MB over the internet")
def test_more_than_128_megabytes_are_refused_while_they_arrive(pool: Pool, session: str) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="big"\r\n\r\n'
        for _ in range(128):
            yield bytes(MEGABYTE)
        yield bytes(128 << 10)

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    reply = pool.request("POST", "/files", session, data=pieces(), headers=headers)
    assert reply.status_code == 413
    assert "big" not in [item["name"] for item in listed(pool, session)]


@pytest.mark.parity("FILE-16")
@pytest.mark.local_only("what stands before a real pool may read the whole request first")
def test_an_announced_size_is_refused_at_once(pool: Pool, session: str) -> None:
    url = urlsplit(pool.endpoint)
    assert url.hostname
    assert pool.tokens
    lines = [
        f"POST {url.path}/files?api-version=2025-10-02-preview&identifier={session} HTTP/1.1",
        f"Host: {url.netloc}",
        f"Authorization: Bearer {pool.tokens(SCOPE)}",
        "Content-Type: multipart/form-data; boundary=b",
        f"Content-Length: {129 * MEGABYTE}",
    ]
    with socket.create_connection((url.hostname, url.port or 80), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.parity("FILE-17")
def test_an_upload_replaces_a_file_of_its_name(pool: Pool, session: str) -> None:
    pool.upload("twice.txt", b"the first one", session)
    pool.upload("twice.txt", b"second", session)
    assert content(pool, session, "twice.txt").content == b"second"


@pytest.mark.parity("FILE-18")
@pytest.mark.parametrize("files", [{"other": ("a.txt", b"1")}, {"file": (None, b"1")}])
def test_an_upload_without_a_file_is_invalid(pool: Pool, session: str, files: dict[str, Any]) -> None:
    assert pool.request("POST", "/files", session, files=files).status_code == 400


@pytest.mark.parity("FILE-19")
@pytest.mark.parametrize("name", ["/mnt/data/report.csv", "mnt/data/report.csv"])
def test_the_directorys_path_in_a_files_name_is_dropped(pool: Pool, fresh: str, name: str) -> None:
    assert pool.upload(name, b"1", fresh).json()["name"] == "report.csv"
    assert [item["name"] for item in listed(pool, fresh)] == ["report.csv"]


@pytest.mark.parity("FILE-20")
def test_an_upload_may_come_in_pieces_of_unknown_number(pool: Pool, session: str) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="pieces.txt"\r\n\r\nab\r\n--b--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    reply = pool.request("POST", "/files", session, data=iter([form[:70], form[70:]]), headers=headers)
    assert (reply.status_code, reply.json()["sizeInBytes"]) == (200, 2)


@pytest.mark.parity("FILE-21")
@pytest.mark.local_only("looks for a file of this machine")
def test_links_lead_nowhere(pool: Pool, fresh: str) -> None:
    code = "import os; os.symlink('/etc/hostname', '/mnt/data/link'); os.symlink('/etc', '/mnt/data/dir')"
    pool.result(code, fresh)
    assert listed(pool, fresh, recursive="true") == []
    assert content(pool, fresh, "link").status_code == 404
    assert content(pool, fresh, "hostname", path="dir").status_code == 404
    assert pool.upload("x", b"1", fresh, path="dir").status_code == 404


@pytest.mark.parity("FILE-07")
@pytest.mark.local_only("older versions may be retired")
def test_older_versions_name_no_directory(pool: Pool, session: str) -> None:
    pool.upload("older.txt", b"1", session)
    reply = pool.request("GET", "/files/older.txt", session, version="2025-02-02-preview")
    assert set(reply.json()) == {"name", "type", "contentType", "sizeInBytes", "lastModifiedAt"}


@pytest.mark.parity("FILE-01")
def test_a_large_file_comes_back_whole(pool: Pool, session: str) -> None:
    size = 5 * MEGABYTE
    reply = pool.request("POST", "/files", session, files={"file": ("large.bin", io.BytesIO(b"x" * size))})
    assert reply.json()["sizeInBytes"] == size
    assert content(pool, session, "large.bin").content == b"x" * size
