"""Files of several pools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.session_pool.config import POOLS_MAX, ConfigError, PoolConfig, read
from tests.local.session_pool.wire.bodies import JSON

FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.text(max_size=70) | JSON,
        "containerType": st.sampled_from(["PythonLTS", "Shell"]) | JSON,
        "maxConcurrentSessions": st.integers(-5, 700) | JSON,
        "cooldownPeriodInSeconds": st.floats() | JSON,
        "prewarmed": st.integers(-5, 10) | JSON,
        "egress": JSON,
    },
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pools.json"


def test_fields_and_defaults(file: Path) -> None:
    full = {
        "name": "shell",
        "containerType": "Shell",
        "maxConcurrentSessions": 10,
        "cooldownPeriodInSeconds": 0.5,
        "egress": True,
        "prewarmed": 0,
    }
    file.write_text(json.dumps({"pools": [{}, full]}), "utf-8")
    assert read(file) == [
        PoolConfig("local", "PythonLTS", 100, 300, 2, False),
        PoolConfig("shell", "Shell", 10, 0.5, 0, True),
    ]


def test_small_pool_keeps_fewer_sessions_ready(file: Path) -> None:
    file.write_text(json.dumps({"pools": [{"maxConcurrentSessions": 1}]}), "utf-8")
    assert read(file) == [PoolConfig(max_sessions=1, prewarmed=1)]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        *(({"name": name}, "name") for name in ("", "-a", "a b", "a/b", "a.b", "x" * 64, "ä")),
        *(({"containerType": kind}, "containerType") for kind in ("", "pythonLTS", "CustomContainer")),
        *(
            ({"maxConcurrentSessions": number}, "maxConcurrentSessions")
            for number in (0, -1, 601, 1.5, "5", True, None)
        ),
        *(({"cooldownPeriodInSeconds": number}, "cooldownPeriodInSeconds") for number in (0, -1, 3601, "5", True)),
        *(({"cooldownPeriodInSeconds": number}, "cooldownPeriodInSeconds") for number in (float("nan"), float("inf"))),
        *(({"prewarmed": number}, "prewarmed") for number in (-1, 101, 0.5, None)),
        *(({"egress": value}, "egress") for value in (0, "true", None)),
        ({"name": 5}, "name"),
        ({"maxSessions": 5}, "maxSessions"),
        ({"maxConcurrentSessions": 1, "prewarmed": 2}, "prewarmed"),
        ([], "object"),
        ("local", "object"),
        (None, "object"),
    ],
)
def test_row_of_another_form(file: Path, row: Any, said: str) -> None:
    file.write_text(json.dumps({"pools": [{"name": "first"}, row]}), "utf-8")
    with pytest.raises(ConfigError, match=said):
        read(file)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "5", "null", '"pools"', "{}", '{"pools": null}', '{"pools": {}}', '{"pools": []}'),
        json.dumps({"pools": [{"name": f"p{number}"} for number in range(POOLS_MAX + 1)]}),
        "[" * 100_000,
        "\udcff",
    ],
    ids=lambda text: text[:20].encode("ascii", "replace").decode(),
)
def test_file_of_another_form(file: Path, text: str) -> None:
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=r"pools\.json"):
        read(file)


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(ConfigError, match=path.name):
            read(path)


def test_names_differ_regardless_of_case(file: Path) -> None:
    file.write_text(json.dumps({"pools": [{"name": "Same"}, {"name": "same"}]}), "utf-8")
    with pytest.raises(ConfigError, match="same name"):
        read(file)


@given(content=JSON | st.fixed_dictionaries({"pools": JSON | st.lists(FIELDS | JSON, max_size=3)}))
def test_any_content_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    file = tmp_path_factory.mktemp("any") / "pools.json"
    file.write_text(json.dumps(content), "utf-8")
    pools: list[PoolConfig] = []
    said = ""
    try:
        pools = read(file)
    except ConfigError as error:
        said = str(error)
    assert bool(pools) is not bool(said)
    assert all(0 < pool.cooldown_seconds <= 3600 and 0 <= pool.prewarmed <= pool.max_sessions for pool in pools)
