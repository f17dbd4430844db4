from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.answer_files import safe_name, save

PNG = b"\x89PNG\r\n\x1a\n"


def row(name: str, content: bytes = PNG, content_type: str = "image/png") -> dict[str, str]:
    return {"name": name, "content_type": content_type, "content": base64.b64encode(content).decode()}


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "answers"
    first = save({"pictures": [row("picture-1.png", b"one")]}, folder)
    second = save({"pictures": [row("picture-1.png", b"two")]}, folder)
    assert [path.name for path in first.paths + second.paths] == ["picture-1.png", "picture-1-2.png"]
    assert [path.read_bytes() for path in first.paths + second.paths] == [b"one", b"two"]


@pytest.mark.skipif(not hasattr(Path, "symlink_to"), reason="needs links")
def test_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (tmp_path / "picture.png").symlink_to(victim)
    save({"pictures": [row("picture.png")]}, tmp_path)
    assert not victim.exists()


def test_nothing_to_save_makes_no_folder(tmp_path: Path) -> None:
    assert save({"pictures": [], "files": [{"name": "a", "size_bytes": 1}]}, tmp_path / "answers").paths == []
    assert not (tmp_path / "answers").exists()


def test_picture_file_is_saved_once_and_other_files_too(tmp_path: Path) -> None:
    reply = {"pictures": [row("plot.png")], "files": [row("plot.png"), row("sub/table.csv", b"a,b", "text/csv")]}
    assert sorted(path.name for path in save(reply, tmp_path).paths) == ["plot.png", "table.csv"]


def test_unreadable_content_is_told(tmp_path: Path) -> None:
    saved = save({"pictures": [{"name": "p.png", "content": "%%%"}, row("q.png")]}, tmp_path)
    assert [path.name for path in saved.paths] == ["q.png"]
    assert "p.png" in saved.problems[0]


def test_unwritable_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    saved = save({"pictures": [row("p.png")]}, tmp_path / "file")
    assert saved.paths == []
    assert len(saved.problems) == 1


@pytest.mark.parametrize(
    ("name", "content_type", "expected"),
    [
        ("../../etc/passwd", "", "passwd"),
        ("C:\\Users\\me\\x.png", "image/png", "x.png"),
        ("plot.exe", "image/png", "plot.png"),
        ("photo.jpeg", "image/jpeg", "photo.jpeg"),
        (".bashrc", "text/plain", "bashrc"),
        ("con.txt", "", "_con.txt"),
        ("", "image/png", "file.png"),
        ("..", "", "file"),
    ],
)
def test_names(name: str, content_type: str, expected: str) -> None:
    assert safe_name(name, content_type) == expected


@given(st.text(max_size=300), st.sampled_from(["", "image/png", "image/jpeg", "image/svg+xml", "text/csv"]))
def test_any_name_stays_in_its_folder(name: str, content_type: str) -> None:
    safe = safe_name(name, content_type)
    assert safe == Path(safe).name
    assert safe.isascii()
    assert not safe.startswith((".", "-/"))
    assert 0 < len(safe) <= 110
