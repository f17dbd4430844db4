"""Which names a file in a session may have."""

from __future__ import annotations

import pytest

from shared.file_names import check_file_name


@pytest.mark.parametrize("name", ["a", "a.csv", ".env", "é 1.csv", "A-b_c @$&=;,#%^().x", "報告.pdf", "x" * 255])
def test_plain_names_are_taken_up_to_the_first_fault(name: str) -> None:
    check_file_name(name)
    with pytest.raises(ValueError, match="without a path"):
        check_file_name(name + "/")


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "..", "a/b", "../a", "a\\b", "a:b", "a\nb", "a\n", "a\0", " a.csv", "a.csv ", "a.csv.", "\ud800"],
)
def test_other_names_and_paths_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="without a path"):
        check_file_name(name)


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128])
def test_a_name_has_no_more_bytes_than_a_file_system_takes(name: str) -> None:
    with pytest.raises(ValueError, match="255 bytes"):
        check_file_name(name)
