"""`python -m local.session_pool`, as a process."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.part import Part
from local.session_pool.__main__ import main
from tests.local.session_pool.kernels import isolation, kernel_python
from tests.local.session_pool.pools import NEWEST, WRAPPED, asked
from tests.needs import give_up
from tests.processes import all_gone, family

ROOT = Path(__file__).parents[3]
BOUND_SECONDS = 60
# The commands of these tests are their own.
TRUSTED = "--trusted-code-only"
SHELL = ("--kind", "Shell", "--prewarmed", "0")
OTHER = {"identifier": "session-b"}
QUERY = {"api-version": NEWEST, "identifier": "session-a"}


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "local.session_pool", "--kernel-python", kernel_python(), *options]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


@contextmanager
def emulator(folder: Path, *options: str) -> Iterator[tuple[Part, dict[str, Any]]]:
    """A running emulator, and its ready line."""
    part = Part(
        "session_pool",
        command("--with-parent", *options),
        environment=environment(),
        folder=folder,
        keep_log=True,
    )
    try:
        yield part, part.wait_ready(BOUND_SECONDS)
    finally:
        part.stop(BOUND_SECONDS)


def ended(*options: str, **more: str) -> tuple[int, str, str]:
    """Exit code, output and errors of one that is to end by itself."""
    ran = subprocess.run(
        command(*options),
        cwd=ROOT,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BOUND_SECONDS,
        check=False,
    )
    return ran.returncode, ran.stdout, ran.stderr


def token(
    variables: Mapping[str, str], resource: str = "https://dynamicsessions.io", verify: Any = True
) -> dict[str, str]:
    """The header that a client sends which has found the identity endpoint."""
    reply = httpx.get(
        variables["IDENTITY_ENDPOINT"],
        params={"api-version": "2019-08-01", "resource": resource},
        headers={"X-IDENTITY-HEADER": variables["IDENTITY_HEADER"]},
        trust_env=False,
        verify=verify,
    )
    return {"Authorization": f"Bearer {reply.json()['access_token']}"}


def post(
    endpoint: str, body: Any, headers: Mapping[str, str] | None = None, query: Mapping[str, str] | None = None
) -> httpx.Response:
    url = f"{endpoint}/executions"
    return httpx.post(
        url, params={**QUERY, **(query or {})}, json=body, headers=headers, trust_env=False, timeout=BOUND_SECONDS
    )


def shell(endpoint: str, text: str, headers: Mapping[str, str] | None = None) -> str:
    reply = post(endpoint, {"shellCommand": text}, headers)
    assert reply.status_code == 200, reply.text
    said: str = reply.json()["result"]["stdout"]
    return said


def test_ready_line_leads_a_client_to_the_pool(tmp_path: Path) -> None:
    with emulator(tmp_path, TRUSTED, "--prewarmed", "1") as (part, ready):
        variables = ready["env"]
        assert set(variables) == {"POOL_MANAGEMENT_ENDPOINT", "IDENTITY_ENDPOINT", "IDENTITY_HEADER"}
        endpoint = variables["POOL_MANAGEMENT_ENDPOINT"]
        assert endpoint.startswith(ready["url"] + "/subscriptions/")
        assert ready["endpoints"] == {"local": endpoint}
        refused = post(endpoint, asked("1"))
        assert (refused.status_code, refused.content) == (401, b"")
        reply = post(endpoint, asked("6 * 7"), token(variables))
        assert (reply.status_code, reply.json()["result"]["executionResult"]) == (200, 42)
        # Semantic Kernel asks for the service's former name.
        assert post(endpoint, asked("1"), token(variables, "https://acasessions.io")).status_code == 200
        assert post(endpoint, asked("1"), token(variables, "https://example.com")).status_code == 401
        processes = family([part.pid])
        assert len(processes) > 2
    assert not part.running
    assert all_gone(processes)
    # Once: with a token, code and identifiers of others would be in it.
    assert part.log() == "Note: without a sandbox, code in the session pool runs as you, on this machine.\n"


def read_until(process: subprocess.Popen[str], last: str) -> list[str]:
    """The lines that a process prints, up to one that starts with `last`."""
    lines: list[str] = []
    timer = threading.Timer(BOUND_SECONDS, process.kill)
    timer.start()
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if line.startswith(last):
            break
    timer.cancel()
    return lines


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "pools.json"
    pools = [
        {"name": "First", "containerType": "Shell", "prewarmed": 0, "maxConcurrentSessions": 1},
        {"name": "second", "containerType": "Shell", "prewarmed": 0},
    ]
    path.write_text(json.dumps({"pools": pools}), "utf-8")
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_person_reads_what_to_export_and_ends_it(config: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        command(TRUSTED, "--config", str(config)),
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        lines = read_until(process, "Ctrl-C")
        exported = [line for line in lines if line.startswith("export ")]
        variables = dict(shlex.split(line)[1].split("=", 1) for line in exported)
        assert set(variables) == {"POOL_MANAGEMENT_ENDPOINT", "IDENTITY_ENDPOINT", "IDENTITY_HEADER"}
        header = token(variables)
        assert shell(variables["POOL_MANAGEMENT_ENDPOINT"], "echo here", header) == "here\n"
        endpoints = dict(line.split(": ") for line in lines if line.startswith("  "))
        assert list(endpoints) == ["  First", "  second"]
        assert endpoints["  First"] == variables["POOL_MANAGEMENT_ENDPOINT"]
        processes = family([process.pid])
        process.send_signal(number)
        output, errors = process.communicate(timeout=BOUND_SECONDS)
    assert (process.returncode, output) == (0, "")
    assert "Traceback" not in errors
    assert all_gone(processes)


def test_json_line_without_a_parent() -> None:
    with subprocess.Popen(
        command(TRUSTED, "--json", *SHELL),
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        (line,) = read_until(process, "{")
        assert shell(json.loads(line)["env"]["POOL_MANAGEMENT_ENDPOINT"], "echo here", token(json.loads(line)["env"]))
        process.send_signal(signal.SIGINT)
        assert process.wait(BOUND_SECONDS) == 0


def test_pools_of_a_file(tmp_path: Path, config: Path) -> None:
    with emulator(tmp_path, TRUSTED, "--auth", "none", "--config", str(config)) as (_, ready):
        first, second = ready["endpoints"].values()
        assert list(ready["endpoints"]) == ["First", "second"]
        shell(first, "echo first > /mnt/data/name")
        assert shell(second, "ls /mnt/data") == ""
        assert shell(first, "cat /mnt/data/name") == shell(ready["url"], "cat /mnt/data/name") == "first\n"
        # The first one has room for one session.
        assert post(first, {"shellCommand": "true"}, query=OTHER).status_code == 429
        assert post(second, {"shellCommand": "true"}, query=OTHER).status_code == 200


def test_without_tokens(tmp_path: Path) -> None:
    with emulator(tmp_path, TRUSTED, "--auth", "none", *SHELL) as (_, ready):
        assert list(ready["env"]) == ["POOL_MANAGEMENT_ENDPOINT"]
        assert shell(ready["env"]["POOL_MANAGEMENT_ENDPOINT"], "echo here") == "here\n"


def test_node_pool(tmp_path: Path) -> None:
    if shutil.which("node") is None:
        give_up("node is not installed")
    with emulator(tmp_path, TRUSTED, "--auth", "none", "--kind", "NodeLTS", "--prewarmed", "0") as (_, ready):
        reply = post(ready["env"]["POOL_MANAGEMENT_ENDPOINT"], asked("6 * 7"))
        assert reply.json()["result"]["executionResult"] == 42


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a pool without tokens."""
    with emulator(tmp_path_factory.mktemp("plain"), TRUSTED, "--auth", "none", *SHELL) as (_, ready):
        yield ready["url"]


def test_options_of_the_pool(tmp_path: Path) -> None:
    options = (
        "--auth",
        "none",
        "--name",
        "mine",
        "--max-sessions",
        "1",
        "--cooldown-seconds",
        "0.2",
        "--full-status",
        "404",
    )
    faults = ("--fault", "status=503,count=1,retry_after=7", "--fault", "latency,seconds=0")
    with emulator(tmp_path, TRUSTED, *SHELL, *options, *faults, "--loose") as (_, ready):
        endpoint = ready["env"]["POOL_MANAGEMENT_ENDPOINT"]
        assert endpoint.endswith("/sessionPools/mine")
        failed = post(endpoint, {"shellCommand": "true"})
        assert (failed.status_code, failed.headers["retry-after"]) == (503, "7")
        assert shell(endpoint, "echo here") == "here\n"
        # Nobody calls the session: the pool is full for as long as its cooldown lasts.
        deadline = time.monotonic() + BOUND_SECONDS
        statuses = []
        while time.monotonic() < deadline and 200 not in statuses:
            statuses.append(post(endpoint, {"shellCommand": "true"}, query=OTHER).status_code)
        assert set(statuses) <= {404, 200}
        assert statuses[-1] == 200
        unknown = {"api-version": "2099-01-01"}
        assert post(endpoint, {"shellCommand": "true"}, query={**OTHER, **unknown}).status_code == 200


def test_https(tmp_path: Path) -> None:
    with emulator(tmp_path, TRUSTED, "--tls", *SHELL) as (_, ready):
        variables = ready["env"]
        assert ready["url"].startswith("https://127.0.0.1:")
        assert variables["IDENTITY_ENDPOINT"].startswith(ready["url"])
        assert variables["SSL_CERT_FILE"] == variables["REQUESTS_CA_BUNDLE"]
        # As a client that has exported them: these variables are what httpx and requests look at by themselves.
        code = "import httpx, requests, os\n"
        code += "url = os.environ['POOL_MANAGEMENT_ENDPOINT'] + '/listSessions'\n"
        code += "print(httpx.get(url).status_code, requests.get(url).status_code)"
        ran = subprocess.run(
            [sys.executable, "-c", code],
            env={**variables, "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=BOUND_SECONDS,
            check=False,
        )
        assert (ran.stdout, ran.stderr) == ("401 401\n", "")
        with pytest.raises(httpx.ConnectError):
            httpx.get(ready["url"], trust_env=False)
    # The certificate was for this run.
    assert not Path(variables["SSL_CERT_FILE"]).exists()


def test_keys_of_another_identity_endpoint(tmp_path: Path) -> None:
    identity = Part(
        "identity",
        [sys.executable, "-m", "local.identity", "--with-parent"],
        environment=environment(),
        folder=tmp_path,
        keep_log=True,
    )
    try:
        known = identity.wait_ready(BOUND_SECONDS)
        options = ("--jwks-url", str(known["jwks_url"]), "--audience", "https://example.com")
        with emulator(tmp_path, TRUSTED, *SHELL, *options) as (_, ready):
            assert list(ready["env"]) == ["POOL_MANAGEMENT_ENDPOINT"]
            endpoint = ready["env"]["POOL_MANAGEMENT_ENDPOINT"]
            assert shell(endpoint, "echo here", token(known["env"], "https://example.com")) == "here\n"
            refused = post(endpoint, {"shellCommand": "true"}, token(known["env"]))
            assert refused.status_code == 401
    finally:
        identity.stop(BOUND_SECONDS)


def test_sandbox_is_the_default(tmp_path: Path) -> None:
    isolation(True)
    with emulator(tmp_path, "--auth", "none", *SHELL) as (part, ready):
        endpoint = ready["env"]["POOL_MANAGEMENT_ENDPOINT"]
        assert (
            shell(endpoint, "id -un; pwd; ls /mnt/data; test -e /etc/shadow && echo seen") == "session\n/home/session\n"
        )
        assert part.log() == ""


def test_sandbox_that_cannot_be_had_needs_a_word(tmp_path: Path) -> None:
    # A PATH without bubblewrap.
    code, output, errors = ended(*SHELL, PATH=str(tmp_path))
    assert (code, output) == (2, "")
    assert "bwrap is not installed" in errors
    assert "--unsafe-no-sandbox" in errors


def test_going_without_a_sandbox_is_told(tmp_path: Path) -> None:
    for option, word in (("--unsafe-no-sandbox", "WARNING"), (TRUSTED, "Note")):
        with emulator(tmp_path, option, *SHELL) as (part, _):
            assert part.running
        assert part.log().startswith(f"{word}: without a sandbox, code in the session pool runs as you")


REFUSED: Sequence[tuple[Sequence[str], str]] = [
    (("--host", ".".join("0000")), "--expose"),
    (("--host", "192.0.2.1"), "--expose"),
    (("--host", "::"), "--expose"),
    (("--fault", "dance"), "--fault: kind has to be one of"),
    (("--fault", "status=200"), "--fault: status has to be"),
    (("--fault", "status=503", "--fault", "drop,rate=2"), "--fault: rate has to be"),
    (("--kind", "CustomContainer"), "containerType"),
    (("--name", "a/b"), "name"),
    (("--max-sessions", "0"), "maxConcurrentSessions"),
    (("--cooldown-seconds", "nan"), "cooldownPeriodInSeconds"),
    (("--prewarmed", "-1"), "prewarmed"),
    (("--config", "/no/such/file.json"), "file.json"),
    (("--auth", "maybe"), "--auth"),
    (("--full-status", "500"), "--full-status"),
    (("--unsafe-no-sandbox",), "not allowed with"),
    (("--no-such-option",), "unrecognized"),
    (("--port", "-1"), "--port"),
    (("--port", "65536"), "--port"),
    (("--port", "http"), "--port"),
]


@pytest.mark.parametrize(("options", "said"), REFUSED)
def test_options_that_cannot_be_followed(options: Sequence[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: object = main(["--kernel-python", sys.executable, TRUSTED, *options])
    except SystemExit as exit:
        code = exit.code
    output, errors = capsys.readouterr()
    assert (code, output) == (2, "")
    assert said in errors


def test_option_that_cannot_be_followed_ends_the_process() -> None:
    code, output, errors = ended(TRUSTED, "--fault", "dance")
    assert (code, output) == (2, "")
    assert errors.splitlines()[-1].startswith("--fault: kind has to be one of")


def test_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, output, errors = ended(TRUSTED, *SHELL, "--port", str(other.getsockname()[1]))
    assert (code, output) == (1, "")
    assert "address cannot be used" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("consent", [(), (TRUSTED,)], ids=["sandboxed", "plain"])
def test_killed_emulator_leaves_no_process(tmp_path: Path, consent: Sequence[str]) -> None:
    if not consent:
        isolation(True)
    with emulator(tmp_path, *consent, "--auth", "none", *SHELL) as (part, ready):
        endpoint = ready["env"]["POOL_MANAGEMENT_ENDPOINT"]
        assert shell(endpoint, "setsid -f sleep 600 < /dev/null > /dev/null 2>&1; echo here") == "here\n"
        processes = family([part.pid])
        assert len(processes) >= 2
        os.kill(part.pid, signal.SIGKILL)
        assert all_gone(processes)


def first_line(url: str, host: str) -> bytes:
    """The status that a request with any Host header gets."""
    address = httpx.URL(url)
    with socket.create_connection((address.host, address.port or 0), BOUND_SECONDS) as connection:
        request = f"GET /listSessions?api-version={NEWEST} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode("latin-1"))
        return connection.makefile("rb").readline().split()[1]


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1.example.com", "localhost.example.com:80", "10.0.0.1"])
def test_only_names_of_this_machine_are_answered(plain: str, host: str) -> None:
    assert first_line(plain, host) == b"403"


@pytest.mark.parametrize("host", ["", "[", "[::1", "::1]", "a b", "[x]:y", "\xff", "@", "localhost:x"])
def test_no_name_gives_a_server_error(plain: str, host: str) -> None:
    # No browser sends these.
    assert first_line(plain, host) in (b"200", b"400", b"403")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost:1", "LOCALHOST", "[::1]:80"])
def test_every_name_of_this_machine_is_answered(plain: str, host: str) -> None:
    reply = httpx.get(f"{plain}/listSessions", params=QUERY, headers={"Host": host}, trust_env=False)
    assert reply.status_code == 200


def test_older_clients_find_it_by_the_same_endpoint(tmp_path: Path) -> None:
    with emulator(tmp_path, TRUSTED, "--auth", "none", "--prewarmed", "0") as (_, ready):
        endpoint = ready["env"]["POOL_MANAGEMENT_ENDPOINT"]
        body = {"codeInputType": "inline", "executionType": "synchronous"}
        with httpx.Client(trust_env=False, timeout=BOUND_SECONDS) as client:
            query = {**QUERY, "api-version": WRAPPED[0]}
            wrapped = {"properties": {**body, "code": "6 * 7"}}
            reply = client.post(f"{endpoint}/code/execute", params=query, json=wrapped)
            assert reply.json()["properties"]["result"] == 42
            # The tutorial's, for an endpoint that ends in a slash.
            old = {**body, "identifier": "session-a", "pythonCode": "6 * 7", "timeoutInSeconds": 100}
            reply = client.post(f"{endpoint}//python/execute", json={"properties": old})
            assert reply.json()["result"] == 42
