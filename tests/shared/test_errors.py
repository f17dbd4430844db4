"""What every error tells its caller."""

from __future__ import annotations

import re

import pytest

from shared import errors


def kinds(kind: type[errors.ServiceError]) -> list[type[errors.ServiceError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in kinds(child))]


@pytest.mark.parametrize("kind", kinds(errors.ServiceError))
def test_every_error_has_a_code_a_title_and_a_remedy(kind: type[errors.ServiceError]) -> None:
    assert re.fullmatch("[a-z_]+", kind.code)
    assert kind.title
    assert not kind.title.endswith(".")
    assert kind.remedy.endswith(".")
    assert kind.__doc__


def test_the_tree_at_the_top_names_every_error_with_its_status() -> None:
    tree = errors.__doc__ or ""
    for kind in kinds(errors.ServiceError):
        row = re.search(rf"\b{kind.__name__} +(\S+)", tree)
        assert row, kind.__name__
        if row.group(1).rstrip(":").isdigit():
            assert int(row.group(1).rstrip(":")) == kind.status, kind.__name__


def test_the_setting_is_always_named() -> None:
    assert errors.SettingError("A_NAME", "It is malformed.").detail == "A_NAME: It is malformed."
    assert errors.SettingError("A_NAME", "A_NAME is malformed.").detail == "A_NAME is malformed."


def test_without_a_detail_the_title_is_told() -> None:
    assert errors.PoolFull().detail == "The session pool has no free session."
