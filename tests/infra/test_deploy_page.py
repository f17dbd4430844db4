"""The commands of docs/deploy.md, run with stand-ins that only note how they were called."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import lru_cache

import pytest

from shared import errors
from tests.infra.bicep import INFRA, MAIN, ROOT, Infrastructure
from tests.infra.test_azd import packed, parameters
from tests.infra.test_roles import BUILT_IN, WANTED, Assignment
from tests.infra.test_settings import decided

PAGE = (ROOT / "docs" / "deploy.md").read_text("utf-8")
BY_HAND = PAGE[PAGE.index("## The same by hand") : PAGE.index("## Roles")]
ROLES = PAGE[PAGE.index("## Roles") : PAGE.index("## What was checked")]
REAL = Infrastructure.of_project()

# Notes its call; what it is asked to print tells from which call it came.
STAND_IN = f"""#!{sys.executable}
import itertools, json, os, sys
name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([name, *arguments]) + "\\n")
print("-".join([name, *itertools.takewhile(lambda word: word[0] != "-", arguments)]))
"""
PROGRAMS = ("az", "azd", "func", "openssl", "python3", "zip")
# Where the page's scopes come from, and what the resource is called in Bicep.
SCOPES = {
    "az-storage-account-show": ("Microsoft.Storage/storageAccounts", "account"),
    "az-storage-account-show/queueServices/default/queues/runs": (
        "Microsoft.Storage/storageAccounts/queueServices/queues",
        "runQueue",
    ),
    "az-storage-account-show/queueServices/default/queues/runs-poison": (
        "Microsoft.Storage/storageAccounts/queueServices/queues",
        "poisonQueue",
    ),
    "az-containerapp-sessionpool-show": ("Microsoft.App/sessionPools", "pools"),
    "az-cognitiveservices-account-show": ("Microsoft.CognitiveServices/accounts", "account"),
    "az-monitor-app-insights-component-show": ("Microsoft.Insights/components", "applicationInsights"),
}
PRINCIPALS = {"az-identity-show": "appPrincipalId", "az-ad-signed-in-user-show": "userPrincipalId"}


def blocks(text: str) -> list[str]:
    found: list[str] = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return found


@lru_cache(maxsize=1)
def bash() -> str:
    return shutil.which("bash") or pytest.fail("bash is not installed")


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """What the commands by hand call, in order, when all of them are run in one shell."""
    folder = tmp_path_factory.mktemp("by-hand")
    tools = folder / "tools"
    tools.mkdir()
    for name in PROGRAMS:
        (tools / name).write_text(STAND_IN)
        (tools / name).chmod(0o755)
    (folder / "app.zip").touch()
    ran = subprocess.run(
        [bash(), "-euo", "pipefail", "-c", "\n".join(blocks(BY_HAND))],
        cwd=folder,
        env={"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "CALLS": str(folder / "calls")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in (folder / "calls").read_text("utf-8").splitlines()]


def option(call: list[str], name: str) -> str:
    return call[call.index(name) + 1]


@pytest.mark.parametrize("block", blocks(PAGE))
def test_every_block_is_bash(block: str) -> None:
    ran = subprocess.run([bash(), "-n"], input=block, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_first_screen_is_azd_up() -> None:
    assert "azd up" in "\n".join(PAGE.splitlines()[:10])


def test_by_hand_makes_the_roles_of_the_bicep(calls: list[list[str]]) -> None:
    made = {
        Assignment(
            option(call, "--role"),
            PRINCIPALS[option(call, "--assignee-object-id")],
            *SCOPES[option(call, "--scope")],
        )
        for call in calls
        if call[1:4] == ["role", "assignment", "create"]
    }
    assert made == WANTED


def test_by_hand_makes_the_settings_of_the_bicep(calls: list[list[str]]) -> None:
    [call] = [call for call in calls if call[1:5] == ["functionapp", "config", "appsettings", "set"]]
    start = call.index("--settings") + 1
    pairs = dict(word.split("=", 1) for word in call[start : call.index("--output")])
    assert pairs.keys() == decided(REAL).keys()
    assert all(pairs.values())
    assert pairs["PYTHON_THREADPOOL_THREAD_COUNT"] == str(default("threadCount"))
    assert pairs["RUN_QUEUE_NAME"] == default("runQueueName")
    assert pairs["AZURE_OPENAI_DEPLOYMENT"] == default("openAiDeployment")


def default(parameter: str) -> object:
    return REAL.files[MAIN].declared("parameters")[parameter]["default"]


def test_by_hand_has_the_defaults_of_the_bicep(calls: list[list[str]]) -> None:
    words = [word for call in calls for word in call]
    text = " ".join(words)
    for parameter, written in {
        "pythonVersion": "--runtime-version {}",
        "instanceMemoryMB": "--instance-memory {}",
        "maximumInstanceCount": "--maximum-instance-count {}",
        "httpConcurrency": "perInstanceConcurrency={}",
        "poolMaxSessions": "--max-sessions {}",
        "poolCooldownSeconds": "--cooldown-period {}",
        "modelName": "--model-name {}",
        "modelVersion": "--model-version {}",
        "modelSku": "--sku-name {}",
        "modelCapacity": "--sku-capacity {}",
    }.items():
        assert written.format(default(parameter)) in text, parameter
    assert "--network-status EgressDisabled" in text
    assert "--allow-shared-key-access false" in text


def test_by_hand_packs_what_azd_packs(calls: list[list[str]]) -> None:
    [call] = [call for call in calls if call[0] == "zip"]
    archive = call.index("app.zip")
    assert set(call[archive + 1 : call.index("--exclude")]) == packed()


def test_by_hand_ends_with_nothing_left(calls: list[list[str]]) -> None:
    group = option(next(call for call in calls if call[1:3] == ["group", "create"]), "--name")
    made = [call for call in calls if call[0] == "az" and "create" in call and call[1:3] != ["role", "assignment"]]
    assert made
    assert all(group in call for call in made)
    assert calls[-1][1:3] == ["group", "delete"]
    assert group in calls[-1]
    # These two outlive their group otherwise.
    assert [call[1:4] for call in calls[-5:-1]] == [
        ["monitor", "log-analytics", "workspace"],
        ["cognitiveservices", "account", "deployment"],
        ["cognitiveservices", "account", "delete"],
        ["cognitiveservices", "account", "purge"],
    ]


def rows() -> list[list[str]]:
    """The cells of the table of roles."""
    lines = [line for line in ROLES.splitlines() if line.startswith("| *")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_table_of_roles_has_each_of_them() -> None:
    assert {row[0].strip("* |") for row in rows()} == set(BUILT_IN.values())
    with_user = {row[0].strip("* |") for row in rows() if "you" in row[2]}
    assert with_user == {row.role for row in WANTED if row.who == "userPrincipalId"}


def test_table_of_roles_has_the_apps_own_words() -> None:
    titles = {
        kind.code: kind.title
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ServiceError)
    }
    told = re.findall(r"`([a-z]+_[a-z]+)`(?:: |, )(The [\w' ]+)", " ".join(ROLES.split()))
    assert len(told) >= 5
    for code, words in told:
        assert words.startswith(titles[code]), code
    codes = set(re.findall(r"`([a-z]+_[a-z]+)`", ROLES))
    assert codes <= titles.keys()


def test_variables_that_the_page_names_exist() -> None:
    known = {name for text in map(str, parameters().values()) for name in re.findall(r"\$\{([A-Z_]+)", text)}
    chosen = PAGE[PAGE.index("## Choose") : PAGE.index("## Run on your machine")]
    named = set(re.findall(r"azd env set ([A-Z_]+)", chosen)) | set(re.findall(r"`([A-Z]+_[A-Z_]+)`", chosen))
    assert named
    assert named <= known
    outputs = REAL.files[MAIN].declared("outputs").keys()
    assert set(re.findall(r"azd env get-value ([A-Z_]+)", PAGE)) <= outputs


def test_files_that_the_page_names_exist() -> None:
    for path in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (ROOT / "docs" / path).exists(), path
    for path in re.findall(r"`((?:infra|tests|shared)/[\w/.]+)`", PAGE):
        assert (ROOT / path).exists(), path
    assert INFRA.is_dir()
