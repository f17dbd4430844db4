"""What the tutorial's own executor sends (`/python/execute`, no api-version) and what it makes of the replies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from azure.identity import DefaultAzureCredential

# The tutorial's code has one identifier for all its users; a shared name makes the tests below meet in one session.
IDENTIFIER = "everybody"
REQUEST_SECONDS = 30


class Tutorial:
    """Sends one block of code as the tutorial does, and puts the reply together as it does."""

    def __init__(self, endpoint: str, token: str) -> None:
        self._url = endpoint + "/python/execute"
        self._headers = {"Authorization": f"Bearer {token}"}

    def reply(self, code: str) -> requests.Response:
        properties: dict[str, str | int] = {
            "identifier": IDENTIFIER,
            "codeInputType": "inline",
            "executionType": "synchronous",
            "pythonCode": code,
            "timeoutInSeconds": 100,
        }
        return requests.post(self._url, json={"properties": properties}, headers=self._headers, timeout=REQUEST_SECONDS)

    def run(self, code: str) -> tuple[int, str]:
        """The exit code and output that the agent is told."""
        response = self.reply(code)
        response.raise_for_status()
        body = response.json()
        output = body.get("stdout", "") + body.get("stderr", "")
        if body.get("result") is not None:
            output += str(body["result"])
        return int("error" in body), output


@pytest.fixture(scope="module")
def token(pool: str) -> Iterator[str]:
    with DefaultAzureCredential() as credential:
        # Without "/.default", as the tutorial asks for it.
        yield credential.get_token("https://dynamicsessions.io").token


@pytest.fixture
def tutorial(pool: str, token: str) -> Tutorial:
    return Tutorial(pool, token)


def test_printed_text_is_all_of_the_output(tutorial: Tutorial) -> None:
    assert tutorial.run("print('hello')") == (0, "hello\n")


def test_the_value_of_the_last_line_follows_the_printed_text(tutorial: Tutorial) -> None:
    assert tutorial.run("print('a')\n6 * 7") == (0, "a\n42")


def test_a_later_block_sees_the_variables(tutorial: Tutorial) -> None:
    tutorial.run("seen = 41")
    assert tutorial.run("seen + 1") == (0, "42")


def test_an_endpoint_with_a_trailing_slash_works(pool: str, token: str) -> None:
    assert Tutorial(pool + "/", token).run("print('hello')") == (0, "hello\n")


def test_the_reply_has_its_fields_at_top_level(tutorial: Tutorial) -> None:
    body = tutorial.reply("print('a')\n6 * 7").json()
    assert {key: body[key] for key in ("status", "stdout", "stderr", "result")} == {
        "status": "Success",
        "stdout": "a\n",
        "stderr": "",
        "result": 42,
    }


def test_failing_code_is_told_in_the_status_and_on_stderr(tutorial: Tutorial) -> None:
    response = tutorial.reply("1 / 0")
    body = response.json()
    assert (response.status_code, body["status"]) == (200, "Failure")
    assert "ZeroDivisionError" in body["stderr"]


def test_the_tutorial_takes_failing_code_for_success(tutorial: Tutorial) -> None:
    # The tutorial's defect: aca_sessions_executor.py, execute_code_blocks, looks for the key "error" only.
    exit_code, output = tutorial.run("1 / 0")
    assert exit_code == 0
    assert "ZeroDivisionError" in output


def test_a_picture_is_in_the_result(tutorial: Tutorial) -> None:
    body = tutorial.reply("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()").json()
    assert (body["result"]["type"], body["result"]["format"]) == ("image", "png")
    assert body["result"]["base64_data"]


def test_a_forged_token_is_refused(pool: str) -> None:
    assert Tutorial(pool, "forged").reply("1").status_code == 401
