"""Where callbacks may go, and how they are delivered to a real https server that answers as a test says."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from local.session_pool import tls as local_tls
from shared import callbacks, errors
from shared.callbacks import Network, check_url, deliver
from shared.runs import Callback, Run
from shared.settings import Settings
from tests.scripted_server import Answer, Received, ScriptedServer, scripted_server

HOST = "prod-07.westeurope.logic.azure.com"
URL = f"https://{HOST}:443/workflows/1/run?api-version=2016-10-01&sig=secret-signature"
PUBLIC = "20.50.1.2"
SETTINGS = Settings()
KEY = bytes(range(32))
SIGNED = Settings(callback_secret=f"whsec_{base64.b64encode(KEY).decode()}")
BODY = '{"result": "é"}'.encode()


def run(url: str = URL) -> Run:
    return Run(
        run_id="f" * 32,
        owner="",
        caller="",
        created_at=0,
        expires_at=0,
        message="",
        session_id="s",
        max_turns=1,
        callback=Callback(url),
    )


def certificate_for(host: str, folder: Path) -> tuple[Path, Path, Path]:
    """The session pool's certificate, in another host's name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_tls, "_NAMES", (host,))
        return local_tls.write_certificate(folder)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    return certificate_for(HOST, tmp_path_factory.mktemp("tls"))


@dataclass
class Hook:
    """An https server that the host's name leads to.

    Attributes:
        server: what it received.
        resolved: how often the name was looked up.
        connected: the addresses that were connected to.
        slept: the pauses between attempts, in seconds.
        addresses: what the name leads to, look-up by look-up; the last one repeats.
    """

    server: ScriptedServer
    trust: ssl.SSLContext
    addresses: Sequence[Sequence[str]] = ((PUBLIC,),)
    refused: int = 0
    resolved: int = 0
    connected: list[str] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    def resolve(self, host: str) -> Sequence[str]:
        assert host == HOST
        self.resolved += 1
        return self.addresses[min(self.resolved, len(self.addresses)) - 1]

    def connect(self, address: str, port: int, seconds: float) -> socket.socket:
        assert (port, 0 < seconds <= 20) == (443, True)
        self.connected.append(address)
        if len(self.connected) <= self.refused:
            raise ConnectionRefusedError
        return socket.create_connection(("127.0.0.1", int(self.server.url.rpartition(":")[2])), seconds)

    def deliver(self, settings: Settings = SETTINGS, of: Run | None = None) -> Callback:
        network = Network(self.resolve, self.connect, self.trust)
        return deliver(of or run(), BODY, settings, network=network, sleep=self.slept.append, clock=lambda: 1700.9)

    @property
    def posts(self) -> int:
        return len(self.server.received)


HookFactory = Callable[..., Hook]


@pytest.fixture
def hook(certificates: tuple[Path, Path, Path]) -> Iterator[HookFactory]:
    authority, certificate, key = certificates
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with ExitStack() as opened:

        def make(*statuses: int | Answer) -> Hook:
            def answer(number: int, request: Received) -> Answer:
                told = statuses[min(number, len(statuses) - 1)]
                return told if isinstance(told, Answer) else Answer(told, b"")

            server = opened.enter_context(scripted_server(answer, tls=tls))
            return Hook(server, ssl.create_default_context(cafile=str(authority)))

        yield make


def is_allowed(url: str, settings: Settings = SETTINGS) -> bool:
    try:
        check_url(url, settings)
    except errors.InvalidRequest:
        return False
    return True


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "https://prod-07.westeurope.logic.azure.com",
        "HTTPS://PROD-07.WestEurope.Logic.Azure.COM/x",
        "https://a.logic.azure.com/%0d%0a?x=y#fragment",
        "https://a.logic.azure.com/".ljust(4096, "x"),
    ],
)
def test_logic_apps_own_addresses_are_allowed(url: str) -> None:
    assert is_allowed(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://a.logic.azure.com/",
        "ftp://a.logic.azure.com/",
        "//a.logic.azure.com/",
        "a.logic.azure.com",
        "https://",
        "https:///path",
        "https://logic.azure.com/",
        "https://evillogic.azure.com/",
        "https://a.logic.azure.com.evil.example/",
        "https://a.logic.azure.com./",
        "https://evil.example/?.logic.azure.com",
        "https://evil.example#.logic.azure.com",
        "https://evil.example\\.logic.azure.com/",
        "https://user@a.logic.azure.com/",
        "https://a.logic.azure.com@evil.example/",
        "https://:@a.logic.azure.com/",
        "https://a.logic.azure.com:80/",
        "https://a.logic.azure.com:8443/",
        "https://a.logic.azure.com:99999/",
        "https://a.logic.azure.com:x/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://2130706433/",
        "https://.logic.azure.com/",
        "https://a..logic.azure.com/",
        "https://a_b.logic.azure.com/",
        "https://-a.logic.azure.com/",
        "https://ä.logic.azure.com/",
        "https://a.logic.azure.com/ä",
        "https://a.logic.azure.com/a b",
        "https://a.logic.azure.com/\r\nX: y",
        "https://a.logic.azure.com/\n",
        "https://a.logic.azure.com/".ljust(4097, "x"),
        "https://" + "a" * 64 + ".logic.azure.com/",
    ],
)
def test_any_other_address_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        check_url(url, SETTINGS)
    assert (caught.value.code, caught.value.field) == ("callback_url_invalid", "callback_url")
    assert len(url) < 10 or url not in caught.value.detail


@pytest.mark.parametrize(
    ("hosts", "url", "allowed"),
    [
        ("hooks.example.com", "https://hooks.example.com/", True),
        ("hooks.example.com", "https://a.hooks.example.com/", False),
        ("hooks.example.com", "https://other-hooks.example.com/", False),
        (" .logic.azure.com , Hooks.Example.com ", "https://hooks.example.com/", True),
        (".", "https://hooks.example.com/", False),
        (",", "https://hooks.example.com/", False),
        ("example.com,", "https://hooks.example.com/", False),
    ],
)
def test_the_setting_says_which_hosts(hosts: str, url: str, allowed: bool) -> None:
    assert is_allowed(url, Settings(callback_hosts=hosts)) is allowed


@pytest.mark.parametrize(
    "secret", ["plain", "whsec_", "whsec_AAAA", "whsec_!!!!", base64.b64encode(KEY).decode(), "whsec_" + "A" * 100]
)
def test_a_secret_that_cannot_sign_is_a_fault_of_its_setting(secret: str, hook: HookFactory) -> None:
    settings = Settings(callback_secret=secret)
    with pytest.raises(errors.SettingError) as caught:
        check_url(URL, settings)
    assert secret == "whsec_" or secret not in caught.value.detail
    hooked = hook(200)
    assert hooked.deliver(settings) == replace(run().callback or Callback(""), state="given_up")
    assert hooked.posts == 0


def test_a_reply_is_posted_once(hook: HookFactory) -> None:
    hooked = hook(202)
    assert hooked.deliver() == Callback(URL, "delivered", 1, 202)
    (request,) = hooked.server.received
    assert request.method == "POST"
    assert request.path == "/workflows/1/run?api-version=2016-10-01&sig=secret-signature"
    assert request.body == BODY
    assert request.headers["host"] == HOST
    assert request.headers["content-type"] == "application/json"
    assert "webhook-signature" not in request.headers
    assert hooked.connected == [PUBLIC]


def test_a_signature_is_that_of_standard_webhooks(hook: HookFactory) -> None:
    hooked = hook(500, 200)
    hooked.deliver(SIGNED)
    assert {request.headers["webhook-id"] for request in hooked.server.received} == {"run_" + "f" * 32}
    headers = hooked.server.received[-1].headers
    assert headers["webhook-timestamp"] == "1700"
    signed = f"run_{'f' * 32}.1700.".encode() + BODY
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 413])
def test_a_caller_that_does_not_want_it_is_not_asked_again(status: int, hook: HookFactory) -> None:
    hooked = hook(status)
    assert hooked.deliver() == Callback(URL, "given_up", 1, status)
    assert hooked.slept == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(status: int, hook: HookFactory) -> None:
    hooked = hook(Answer(status, b"", {"Location": "https://169.254.169.254/"}))
    assert hooked.deliver() == Callback(URL, "given_up", 1, status)
    assert (hooked.posts, hooked.resolved) == (1, 1)


@pytest.mark.parametrize("trouble", [429, 500, 502, 503, 504, Answer(hang_up=True)])
def test_a_service_that_fails_is_asked_again_later(trouble: int | Answer, hook: HookFactory) -> None:
    hooked = hook(trouble, trouble, 200)
    assert hooked.deliver() == Callback(URL, "delivered", 3, 200)
    assert hooked.slept == [4, 8]


def test_a_connection_that_is_refused_is_tried_again(hook: HookFactory) -> None:
    hooked = hook(200)
    hooked.refused = 2
    assert hooked.deliver() == Callback(URL, "delivered", 3, 200)


def test_a_service_that_keeps_failing_is_given_up_within_two_minutes(hook: HookFactory) -> None:
    hooked = hook(503)
    assert hooked.deliver() == Callback(URL, "given_up", 5, 503)
    assert sum(hooked.slept) <= 120


def test_the_service_says_when_to_come_back(hook: HookFactory) -> None:
    hooked = hook(Answer(503, b"", {"Retry-After": "7"}), 200)
    hooked.deliver()
    assert hooked.slept == [7]


@pytest.mark.parametrize("seconds", ["120", "900", "86400"])
def test_a_service_that_wants_to_be_asked_after_our_time_is_given_up(seconds: str, hook: HookFactory) -> None:
    hooked = hook(Answer(503, b"", {"Retry-After": seconds}), 200)
    assert hooked.deliver() == Callback(URL, "given_up", 1, 503)
    assert hooked.slept == []


def test_attempts_of_an_earlier_delivery_count(hook: HookFactory) -> None:
    earlier = replace(run(), callback=Callback(URL, attempts=3, last_status=503))
    assert hook(200).deliver(of=earlier) == Callback(URL, "delivered", 4, 200)


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["::1"], ["::ffff:10.0.0.1"], [PUBLIC, "10.0.0.1"]]
)
def test_a_name_that_leads_inside_is_never_connected_to(addresses: list[str], hook: HookFactory) -> None:
    hooked = hook(200)
    hooked.addresses = [addresses]
    assert hooked.deliver() == Callback(URL, "given_up", 1, None)
    assert (hooked.connected, hooked.posts) == ([], 0)


def test_a_name_that_moves_inside_between_attempts_is_caught(hook: HookFactory) -> None:
    hooked = hook(503)
    hooked.addresses = [[PUBLIC], ["127.0.0.1"]]
    assert hooked.deliver() == Callback(URL, "given_up", 2, None)
    assert hooked.connected == [PUBLIC]


def test_each_attempt_looks_the_name_up_once_and_goes_where_that_led(hook: HookFactory) -> None:
    hooked = hook(503, 200)
    hooked.addresses = [[PUBLIC], ["20.50.1.3"]]
    hooked.deliver()
    assert (hooked.resolved, hooked.connected) == (2, [PUBLIC, "20.50.1.3"])


def test_another_address_of_the_name_is_tried_where_the_first_is_dead(hook: HookFactory) -> None:
    hooked = hook(200)
    hooked.refused = 1
    hooked.addresses = [["2a00:1450:4001:80b::200e", PUBLIC]]
    assert hooked.deliver() == Callback(URL, "delivered", 1, 200)
    assert hooked.connected == ["2a00:1450:4001:80b::200e", PUBLIC]


def test_a_name_without_an_address_is_looked_up_again(hook: HookFactory) -> None:
    hooked = hook(200)
    hooked.addresses = [[], [PUBLIC]]
    assert hooked.deliver() == Callback(URL, "delivered", 2, 200)


def test_a_server_that_cannot_show_the_hosts_certificate_gets_nothing(hook: HookFactory, tmp_path: Path) -> None:
    hooked = hook(200)
    (tmp_path / "other").mkdir()
    authority, _, _ = certificate_for("other.logic.azure.com", tmp_path / "other")
    hooked.trust = ssl.create_default_context(cafile=str(authority))
    assert hooked.deliver() == Callback(URL, "given_up", 1, None)
    assert hooked.posts == 0


def test_a_certificate_of_another_name_is_none_of_the_hosts(hook: HookFactory) -> None:
    hooked = hook(200)
    other = "https://other.logic.azure.com/"
    network = Network(lambda host: [PUBLIC], hooked.connect, hooked.trust)
    posted = deliver(run(other), BODY, SETTINGS, network=network, sleep=hooked.slept.append)
    assert posted == Callback(other, "given_up", 1, None)
    assert hooked.posts == 0


def test_an_answer_without_end_is_not_waited_for(hook: HookFactory) -> None:
    hooked = hook(Answer(200, b"x" * 100, {"Content-Length": "1000000000"}, drip_seconds=1.0))
    assert hooked.deliver() == Callback(URL, "delivered", 1, 200)


def test_a_server_that_never_answers_is_left_in_time(hook: HookFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "ATTEMPT_SECONDS", 0.3)
    hooked = hook(Answer(silent=True), 200)
    assert hooked.deliver() == Callback(URL, "delivered", 2, 200)


DRIPPING = Answer(200, b"", drip_seconds=0.05, drips_head=True)


def test_a_server_that_answers_byte_by_byte_is_left_in_time(hook: HookFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each byte comes in time for a socket.
    monkeypatch.setattr(callbacks, "ATTEMPT_SECONDS", 0.4)
    assert hook(DRIPPING, 200).deliver() == Callback(URL, "delivered", 2, 200)


def test_all_attempts_together_have_their_time(hook: HookFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "DELIVERY_SECONDS", 0.4)
    hooked = hook(DRIPPING, 200)
    assert hooked.deliver() == Callback(URL, "given_up", 1, None)
    assert hooked.slept == []


def test_a_host_that_is_no_longer_allowed_gets_nothing(hook: HookFactory) -> None:
    hooked = hook(200)
    assert hooked.deliver(Settings(callback_hosts="hooks.example.com")).state == "given_up"
    assert (hooked.resolved, hooked.posts) == (0, 0)


@pytest.mark.parametrize("status", [200, 404, 503])
def test_the_url_is_in_no_log_and_no_text(status: int, hook: HookFactory, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    result = hook(status).deliver(SIGNED)
    for secret in ("secret-signature", HOST, "whsec_"):
        assert secret not in caplog.text + repr(result) + repr(SIGNED) + repr(run())


def test_a_run_without_a_callback_has_none_to_deliver() -> None:
    with pytest.raises(ValueError, match="no callback"):
        deliver(replace(run(), callback=None), BODY, SETTINGS)
