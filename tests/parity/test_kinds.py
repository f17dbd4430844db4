"""Shell and NodeLTS pools, and what is not here at all."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.parity.pool import Emulator, Pool, body, error_code

pytestmark = pytest.mark.local_only("needs a pool of another kind")


class Kind:
    """One session of one pool."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.identifier = pool.new_identifier()

    def post(self, sent: dict[str, Any], version: str = "2025-02-02-preview") -> requests.Response:
        return self.pool.request("POST", "/executions", self.identifier, version=version, json=sent)

    def shell(self, command: str, **fields: Any) -> dict[str, Any]:
        reply = self.post({"shellCommand": command, **fields}, "2025-10-02-preview")
        assert reply.status_code == 200, reply.text
        return dict(reply.json())


@pytest.fixture(scope="module")
def shell(kinds: Emulator) -> Kind:
    return Kind(kinds.pool("shell"))


@pytest.fixture(scope="module")
def node(kinds: Emulator) -> Kind:
    return Kind(kinds.pool("node"))


@pytest.mark.parity("SHELL-01")
@pytest.mark.parametrize(("command", "status"), [("true", "0"), ("exit 3", "3"), ("kill -9 $$", "137")])
def test_a_commands_exit_code_is_its_status(shell: Kind, command: str, status: str) -> None:
    reply = shell.post({"shellCommand": f"echo out; echo err >&2; {command}"})
    found = reply.json()
    milliseconds = found["result"].pop("executionTimeInMilliseconds")
    assert isinstance(milliseconds, int)
    expected = {"identifier": shell.identifier, "status": status, "result": {"stdout": "out\n", "stderr": "err\n"}}
    assert (reply.status_code, found) == (200, expected)


@pytest.mark.parity("SHELL-02")
@pytest.mark.parametrize("fields", [{"codeInputType": "inline"}, {"executionType": "synchronous"}])
def test_types_are_refused(shell: Kind, fields: dict[str, str]) -> None:
    reply = shell.post({"shellCommand": "true", **fields})
    assert (reply.status_code, error_code(reply)) == (400, "SessionRequestValidationFailed")


@pytest.mark.parity("SHELL-02", "SHELL-06")
def test_a_lenient_pool_takes_the_tutorials_body(lenient_shell: Emulator) -> None:
    kind = Kind(lenient_shell.pool())
    types = {"codeInputType": "inline", "executionType": "synchronous", "timeoutInSeconds": 600}
    assert kind.shell("echo hello", **types)["result"]["stdout"] == "hello\n"


@pytest.mark.parity("SHELL-03")
@pytest.mark.parametrize("sent", [body("1"), {}, {"shellCommand": 1}, {"properties": {"shellCommand": "true"}}])
def test_code_is_for_other_pools(shell: Kind, sent: dict[str, Any]) -> None:
    reply = shell.post(sent)
    assert (reply.status_code, error_code(reply)) == (400, "SessionPropertiesMissing")


@pytest.mark.parity("SHELL-03")
def test_commands_are_for_shell_pools(local: Emulator, pool: Pool, session: str) -> None:
    assert local.url
    reply = pool.request("POST", "/executions", session, json={"shellCommand": "true"})
    assert (reply.status_code, error_code(reply)) == (400, "SessionPropertiesMissing")


@pytest.mark.parity("SHELL-04")
@pytest.mark.parametrize(
    ("path", "version"), [("/code/execute", "2024-02-02-preview"), ("/executions", "2024-10-02-preview")]
)
def test_older_versions_have_no_shell(shell: Kind, path: str, version: str) -> None:
    reply = shell.pool.request("POST", path, shell.identifier, version=version, json={"shellCommand": "true"})
    assert (reply.status_code, error_code(reply)) == (400, "SessionRequestNotSupported")
    message = f"Shell execution is not supported in API version {version}"
    assert reply.json()["error"]["message"] == message


@pytest.mark.parity("SHELL-05")
def test_a_command_ends_at_its_timeout(shell: Kind) -> None:
    found = shell.shell("echo begun; sleep 30", timeoutInSeconds=1)
    assert (found["status"], found["result"]["stdout"]) == ("-1", "begun\n")
    assert found["result"]["stderr"].startswith("Request timed out waiting for code execution to complete after 1 sec")


@pytest.mark.parity("SHELL-06")
def test_600_seconds_are_too_many(shell: Kind) -> None:
    reply = shell.post({"shellCommand": "true", "timeoutInSeconds": 600})
    assert (reply.status_code, error_code(reply)) == (400, "SessionRequestValidationFailed")


@pytest.mark.parity("SHELL-07")
@pytest.mark.parametrize("fields", [{"execCommandAndArgs": ["ls"]}, {"shellCommand": "cat", "stdin": "x"}])
def test_other_forms_are_not_implemented(shell: Kind, fields: dict[str, Any]) -> None:
    reply = shell.post(fields)
    assert (reply.status_code, error_code(reply)) == (501, "NotImplemented")


@pytest.mark.parity("SHELL-08")
def test_files_and_programs(shell: Kind) -> None:
    shell.pool.upload("in.txt", b"b\na\n", shell.identifier)
    count = "awk 'END {print NR}' /mnt/data/in.txt"
    found = shell.shell(f"sort /mnt/data/in.txt > /mnt/data/out.txt && python3 -c 'print(6 * 7)' && {count}")
    assert (found["status"], found["result"]["stdout"]) == ("0", "42\n2\n")
    reply = shell.pool.request("GET", "/files/out.txt/content", shell.identifier)
    assert reply.content == b"a\nb\n"


@pytest.mark.parity("SHELL-09")
def test_commands_share_files_but_no_variables(shell: Kind) -> None:
    shell.shell("kept=1; cd /mnt/data; echo 1 > kept.txt")
    assert shell.shell('echo "$kept $(cat /mnt/data/kept.txt)"')["result"]["stdout"] == " 1\n"


@pytest.mark.parity("SHELL-01", "FAIL-07")
def test_streams_of_commands_are_cut(shell: Kind) -> None:
    assert len(shell.shell("seq 10000")["result"]["stdout"]) == 4096
    assert shell.shell("seq 10000", outputStreamsMaxLength=4)["result"]["stdout"] == "1\n2\n"


@pytest.mark.parity("NODE-01")
def test_javascript(node: Kind) -> None:
    found = node.pool.run("console.log(6 * 7); console.error('e'); [1, {b: 2}]", node.identifier)
    assert (found["status"], found["result"]["stdout"], found["result"]["stderr"]) == ("Succeeded", "42\n", "e\n")
    assert found["result"]["executionResult"] == [1, {"b": 2}]
    failed = node.pool.run("throw new Error('broken')", node.identifier)
    assert (failed["status"], "Error: broken" in failed["result"]["stderr"]) == ("Failed", True)


@pytest.mark.parity("NODE-02")
def test_variables_stay_and_constants_are_declared_once(node: Kind) -> None:
    node.pool.result("var kept = 1; const once = 2", node.identifier)
    assert node.pool.result("var kept = kept + 1; kept + once", node.identifier)["executionResult"] == 4
    failed = node.pool.run("const once = 3", node.identifier)
    assert "already been declared" in failed["result"]["stderr"]


@pytest.mark.parity("NODE-02")
def test_javascript_ends_at_its_timeout_and_keeps_its_variables(node: Kind) -> None:
    node.pool.result("var stays = 5", node.identifier)
    found = node.pool.run("while (true) {}", node.identifier, timeoutInSeconds=1)
    assert found["result"]["stderr"].startswith("Request timed out waiting for code execution to complete")
    assert node.pool.result("stays", node.identifier)["executionResult"] == 5


@pytest.mark.parity("NODE-03")
def test_the_version_of_node(node: Kind) -> None:
    (runtime,) = node.pool.request("GET", "/metadata").json()["runtimes"]
    assert runtime["name"] == "node"
    version = node.pool.result("process.version", node.identifier)["executionResult"]
    assert version == f"v{runtime['version']}"


@pytest.mark.parity("OUT-01", "OUT-02")
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/.management/getSession"), ("POST", "/.management/stopSession"), ("POST", "/mcp")]
)
def test_what_is_not_here_says_so(pool: Pool, method: str, path: str) -> None:
    reply = pool.request(method, path, pool.new_identifier())
    assert (reply.status_code, error_code(reply)) == (501, "NotImplemented")
    assert path in reply.json()["error"]["message"]
