"""Who may do what, on what and why: these assignments and no others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.infra.bicep import INFRA, File, Infrastructure, Name, body

REAL = Infrastructure.of_project()

# Azure's built-in roles, by the ids that they have in every tenant.
BUILT_IN = {
    "0fb8eba5-a2bb-4abe-b1c1-49dfad359bb0": "Azure ContainerApps Session Executor",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd": "Cognitive Services OpenAI User",
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "b24988ac-6180-42a0-ab88-20f7382dd24c": "Contributor",
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
}
APP, USER = "appPrincipalId", "userPrincipalId"
POOL, MODEL = "Microsoft.App/sessionPools", "Microsoft.CognitiveServices/accounts"
ACCOUNT, QUEUE = "Microsoft.Storage/storageAccounts", "Microsoft.Storage/storageAccounts/queueServices/queues"


class Assignment(NamedTuple):
    """One role assignment: what, to whom, on a resource of which type and of which name in the file."""

    role: str
    who: str
    scope: str
    resource: str


WANTED = {
    Assignment("Azure ContainerApps Session Executor", APP, POOL, "pools"),
    Assignment("Azure ContainerApps Session Executor", USER, POOL, "pools"),
    Assignment("Contributor", APP, POOL, "pools"),
    Assignment("Contributor", USER, POOL, "pools"),
    Assignment("Cognitive Services OpenAI User", APP, MODEL, "account"),
    Assignment("Cognitive Services OpenAI User", USER, MODEL, "account"),
    Assignment("Monitoring Metrics Publisher", APP, "Microsoft.Insights/components", "applicationInsights"),
    Assignment("Storage Blob Data Owner", APP, ACCOUNT, "account"),
    Assignment("Storage Queue Data Contributor", APP, QUEUE, "runQueue"),
    Assignment("Storage Queue Data Contributor", APP, QUEUE, "poisonQueue"),
}


def _assignments(infra: Infrastructure) -> Iterator[tuple[File, str, dict[str, Any]]]:
    for file, name, node in infra.resources():
        if node["type"] == "Microsoft.Authorization/roleAssignments":
            yield file, name, body(node)


def _role(node: Any) -> str:
    """The role that `roles['...']` or `roles.Contributor` stands for."""
    operands = node["operator"]["operands"]
    assert operands["operand_1"] == "roles"
    return str(operands["operand_2"])


def _resource(node: Any) -> str:
    """The resource that `pools` or `pools[number]` stands for; empty for anything else."""
    if isinstance(node, dict) and node.get("operator", {}).get("type") == "index_accessor":
        node = node["operator"]["operands"]["operand_1"]
    return str(node) if isinstance(node, Name) else ""


def assigned(infra: Infrastructure) -> set[Assignment]:
    """The assignments that the files make."""
    found = set()
    for file, _, content in _assignments(infra):
        role = _role(content["properties"]["roleDefinitionId"]["function"]["parameters"]["resource_name_1"])
        resource = _resource(content.get("scope"))
        scope = file.resources[resource]["type"] if resource else "the whole group"
        found.add(Assignment(role, str(content["properties"]["principalId"]), scope, resource))
    return found


def careless(infra: Infrastructure) -> Iterator[str]:
    """Assignments that do not say why, and those whose name is not made of what they assign."""
    for file, name, content in _assignments(infra):
        where, properties = f"{file.path}: {name}", content["properties"]
        if len(properties.get("description", "").split()) < 4:
            yield f"{where} does not say why"
        if not isinstance(properties.get("principalType"), str):
            yield f"{where} does not say to what kind of principal"
        parts = content["name"]["function"]["parameters"]
        on = _resource(parts["base_string"]["operator"]["operands"]["operand_1"])
        made_of = (on, parts["extra_string_1"], _role(parts["extra_string_2"]))
        role = _role(properties["roleDefinitionId"]["function"]["parameters"]["resource_name_1"])
        if made_of != (_resource(content.get("scope")), properties["principalId"], role):
            yield f"{where} has a name of something else, {made_of}"


def test_roles_are_azures_own() -> None:
    roles: dict[str, str] = json.loads((INFRA / "roles.json").read_text("utf-8"))
    assert {identity: name for name, identity in roles.items()} == BUILT_IN


def test_these_roles_are_assigned_and_no_others() -> None:
    assert assigned(REAL) == WANTED
    assert len(list(_assignments(REAL))) == len(WANTED)


def test_each_assignment_says_why_and_is_made_once() -> None:
    assert list(careless(REAL)) == []


@pytest.mark.parametrize(
    ("path", "old", "new", "told"),
    [
        (
            "session-pools",
            "description: 'The app runs code in sessions of this pool.'",
            "",
            "appExecutes does not say why",
        ),
        ("storage", "guid(runQueue.id", "guid(poisonQueue.id", "appUsesRunQueue has a name of something else"),
        ("model", "guid(account.id, userPrincipalId", "guid(account.id, appPrincipalId", "userAsks has a name of"),
    ],
)
def test_a_careless_assignment_is_told(path: str, old: str, new: str, told: str) -> None:
    problems = list(careless(REAL.changed(f"modules/{path}.bicep", old, new)))
    assert any(told in problem for problem in problems), problems


def test_a_wider_scope_or_another_role_is_told() -> None:
    wider = REAL.changed("modules/storage.bicep", "  scope: runQueue\n", "  scope: account\n")
    assert Assignment("Storage Queue Data Contributor", APP, ACCOUNT, "account") in assigned(wider)
    group = REAL.changed("modules/storage.bicep", "  scope: runQueue\n", "")
    assert Assignment("Storage Queue Data Contributor", APP, "the whole group", "") in assigned(group)
    other = REAL.changed("modules/model.bicep", "roles['Cognitive Services OpenAI User']", "roles.Contributor")
    assert Assignment("Contributor", APP, MODEL, "account") in assigned(other)
