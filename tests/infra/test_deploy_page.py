"""The commands of docs/deploy.md, run with stand-ins that only note how they were called."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import lru_cache
from typing import Any

import pytest

from shared import errors
from tests.infra.bicep import INFRA, MAIN, ROOT, Infrastructure, Name
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
words = [name, *itertools.takewhile(lambda word: word[0] != "-", arguments)]
query = arguments[arguments.index("--query") + 1 :][:1] if "--query" in arguments else []
print(":".join(["-".join(words), *query]))
"""
PROGRAMS = ("az", "azd", "func", "openssl", "python3", "zip")
IDENTITY, STORAGE_ID = "az-identity-show", "az-storage-account-show:id"
MODEL, INSIGHTS = "az-cognitiveservices-account-show", "az-monitor-app-insights-component-show"
# Where the page's scopes come from, and what the resource is called in Bicep.
SCOPES = {
    STORAGE_ID: ("Microsoft.Storage/storageAccounts", "account"),
    f"{STORAGE_ID}/queueServices/default/queues/runs": (
        "Microsoft.Storage/storageAccounts/queueServices/queues",
        "runQueue",
    ),
    f"{STORAGE_ID}/queueServices/default/queues/runs-poison": (
        "Microsoft.Storage/storageAccounts/queueServices/queues",
        "poisonQueue",
    ),
    "az-containerapp-sessionpool-show:id": ("Microsoft.App/sessionPools", "pools"),
    f"{MODEL}:id": ("Microsoft.CognitiveServices/accounts", "account"),
    f"{INSIGHTS}:id": ("Microsoft.Insights/components", "applicationInsights"),
}
PRINCIPALS = {f"{IDENTITY}:principalId": "appPrincipalId", "az-ad-signed-in-user-show:id": "userPrincipalId"}
# What a call by hand has to say, all in one call.
VALUES = [
    ("storage account create", "--allow-shared-key-access false"),
    ("storage account create", "--allow-blob-public-access false"),
    ("storage account create", "--min-tls-version TLS1_2"),
    ("containerapp sessionpool create", "--network-status EgressDisabled"),
    (f"resource update --ids {MODEL}:id", "--set properties.disableLocalAuth=true"),
    (f"resource update --ids {INSIGHTS}:id", "--set properties.DisableLocalAuth=true"),
    (
        "resource update --ids az-monitor-log-analytics-workspace-show:id",
        "--set properties.features.disableLocalAuth=true",
    ),
    ("functionapp create", "--https-only true"),
    ("functionapp create", f"--assign-identity {IDENTITY}:id"),
    ("functionapp create", "--deployment-storage-auth-type UserAssignedIdentity"),
    ("resource update", "--resource-type basicPublishingCredentialsPolicies --name ftp --set properties.allow=false"),
    ("resource update", "--resource-type basicPublishingCredentialsPolicies --name scm --set properties.allow=false"),
    ("functionapp config appsettings delete", "--setting-names AzureWebJobsStorage"),
    ("functionapp deployment source config-zip", "--build-remote true"),
]


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
    account = option(next(call for call in calls if call[1:4] == ["storage", "account", "create"]), "--name")
    stand_for = {
        "applicationInsightsConnectionString": f"{INSIGHTS}:connectionString",
        "blobServiceUri": f"https://{account}.blob.core.windows.net",
        "identityClientId": f"{IDENTITY}:clientId",
        "openAiDeployment": default("openAiDeployment"),
        "openAiEndpoint": f"{MODEL}:properties.endpoint",
        "poolEndpoints": "az-containerapp-sessionpool-show:properties.poolManagementEndpoint",
        "queueName": default("runQueueName"),
        "queueServiceUri": f"https://{account}.queue.core.windows.net",
        "threadCount": default("threadCount"),
    }
    assert pairs == {name: valued(value, stand_for) for name, value in decided(REAL).items()}


def valued(value: Any, stand_for: dict[str, object]) -> str:
    """What an expression of the app settings comes to: a name, a text with names in it, or `string(name)`."""
    if isinstance(value, dict):
        value = value["function"]["parameters"]["value_to_convert"]
    if isinstance(value, Name):
        return str(stand_for[value])
    return re.sub(r"\$\{(\w+)\}", lambda found: str(stand_for[found[1]]), value)


@pytest.mark.parametrize(("command", "value"), VALUES)
def test_by_hand_says_what_security_rests_on(calls: list[list[str]], command: str, value: str) -> None:
    lines = [f"{' '.join(call)} " for call in calls if " ".join(call).startswith(f"az {command} ")]
    assert any(f" {value} " in line for line in lines), lines


def test_by_hand_takes_back_the_role_that_az_assigns(calls: list[list[str]]) -> None:
    [create] = [number for number, call in enumerate(calls) if call[1:3] == ["functionapp", "create"]]
    [delete] = [number for number, call in enumerate(calls) if call[1:4] == ["role", "assignment", "delete"]]
    assert create < delete
    who, what, where = (option(calls[delete], name) for name in ("--assignee", "--role", "--scope"))
    assert (who, what, where) == (f"{IDENTITY}:principalId", "Storage Blob Data Contributor", STORAGE_ID)


def test_providers_are_those_of_the_resources() -> None:
    [listed] = re.findall(r"for provider in (.*?); do", PAGE, re.DOTALL)
    # These two every subscription has from the beginning.
    wanted = {node["type"].split("/")[0] for _, _, node in REAL.resources()} - {
        "Microsoft.Authorization",
        "Microsoft.Resources",
    }
    assert sorted(listed.replace("\\\n", " ").split()) == sorted(wanted)


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


def test_the_error_that_a_missing_role_shows_as_names_the_role() -> None:
    remedies = {kind.code: kind.remedy for kind in vars(errors).values() if hasattr(kind, "remedy")}
    told = [(row[0].strip("* |"), code) for row in rows() for code in re.findall(r"`([a-z]+_[a-z]+)`", row[4])]
    assert ("Contributor", "pool_unauthorized") in told
    assert [(role, code) for role, code in told if f"'{role}'" not in remedies[code]] == []


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
