"""Where runs are found, and whom their tokens let in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.errors import SettingError
from shared.run_links import ROUTE_PREFIX, RunLinks, base_url
from shared.settings import Settings

RUN, OTHER = "0" * 32, "1" * 32
LINKS = RunLinks("https://app.example.com", b"k" * 32)
SPOOFED = {"host": "evil.example.com", "x-forwarded-host": "evil.example.com", "x-original-host": "evil.example.com"}


def test_a_token_opens_its_own_run_only() -> None:
    token = LINKS.token(RUN)
    assert LINKS.opens(token, RUN)
    assert not LINKS.opens(token, OTHER)
    assert not LINKS.opens("", RUN)
    assert not LINKS.opens(token + "x", RUN)
    assert not LINKS.opens("\ud800", RUN)
    assert not RunLinks(LINKS.base, b"l" * 32).opens(token, RUN)


def test_a_token_has_256_bits_and_needs_no_escape_in_an_address() -> None:
    token = LINKS.token(RUN)
    assert len(token) == 43
    assert token.replace("-", "").replace("_", "").isalnum()
    assert LINKS.status_url(RUN) == f"https://app.example.com/api/runs/{RUN}?token={token}"
    assert LINKS.cancel_url(RUN) == f"https://app.example.com/api/runs/{RUN}/cancel?token={token}"


def test_the_secret_is_not_in_the_repr() -> None:
    assert "kkk" not in repr(LINKS)


def test_addresses_have_the_route_prefix_of_the_host() -> None:
    host = json.loads((Path(__file__).parents[2] / "host.json").read_text("utf-8"))
    assert host["extensions"]["http"]["routePrefix"] == ROUTE_PREFIX


def test_in_azure_no_header_chooses_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBSITE_HOSTNAME", "app.azurewebsites.net")
    assert base_url(SPOOFED, Settings()) == "https://app.azurewebsites.net"
    assert base_url({"host": "localhost:7071"}, Settings()) == "https://app.azurewebsites.net"


def test_a_public_address_counts_before_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBSITE_HOSTNAME", "app.azurewebsites.net")
    assert base_url(SPOOFED, Settings(public_url="https://api.example.com/agents/")) == "https://api.example.com/agents"
    assert base_url({}, Settings(public_url="http://localhost:9000")) == "http://localhost:9000"


@pytest.mark.parametrize("host", ["localhost:7071", "127.0.0.1:40123", "[::1]:7071", "LOCALHOST"])
def test_on_a_developers_machine_the_requests_own_port_counts(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    # Core Tools sets the name with the port that it was started on, and a container may map another one.
    monkeypatch.setenv("WEBSITE_HOSTNAME", "localhost:7071")
    assert base_url({"host": host}, Settings()) == f"http://{host}"


def test_behind_another_name_the_local_host_gives_its_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBSITE_HOSTNAME", "localhost:7071")
    assert base_url(SPOOFED, Settings()) == "http://localhost:7071"


@pytest.mark.parametrize("headers", [SPOOFED, {}, {"host": "localhost.evil.example.com"}, {"host": "127.0.0.1@evil"}])
def test_without_a_name_that_can_be_trusted_there_is_no_address(
    monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    monkeypatch.delenv("WEBSITE_HOSTNAME", raising=False)
    with pytest.raises(SettingError, match="PUBLIC_URL"):
        base_url(headers, Settings())


@pytest.mark.parametrize(
    "url", ["agents.example.com", "ftp://x", "http://agents.example.com", "https://x/?a=b", "https://x y"]
)
def test_a_public_address_is_https(url: str) -> None:
    with pytest.raises(SettingError, match="PUBLIC_URL"):
        base_url({}, Settings(public_url=url))
