"""Property names, values and API versions, by the models of Azure's management libraries.

All resource types are covered. Not covered, as no model says anything of it: the definition of a workflow (any JSON;
it is the file that tests/logic_apps plays), the names of resources, what `listKeys` answers, ranges of numbers, and
whether a service takes a known value in a region.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.infra.bicep import Infrastructure, body
from tests.infra.models import Model, faults, readable

REAL = Infrastructure.of_project()

# What each resource is written as; a second model where a reply is another one.
MODELS = {
    "Microsoft.App/sessionPools": [Model("azure.mgmt.appcontainers", "SessionPool")],
    "Microsoft.Authorization/roleAssignments": [
        Model("azure.mgmt.authorization.v2022_04_01", "RoleAssignmentCreateParameters")
    ],
    "Microsoft.CognitiveServices/accounts": [Model("azure.mgmt.cognitiveservices", "Account")],
    "Microsoft.CognitiveServices/accounts/deployments": [Model("azure.mgmt.cognitiveservices", "Deployment")],
    "Microsoft.Insights/components": [
        Model("azure.mgmt.applicationinsights.v2020_02_02", "ApplicationInsightsComponent")
    ],
    "Microsoft.Logic/workflows": [Model("azure.mgmt.logic", "Workflow")],
    "Microsoft.ManagedIdentity/userAssignedIdentities": [Model("azure.mgmt.msi.v2024_11_30", "Identity")],
    "Microsoft.OperationalInsights/workspaces": [Model("azure.mgmt.loganalytics", "Workspace")],
    "Microsoft.Resources/resourceGroups": [Model("azure.mgmt.resource.resources", "ResourceGroup")],
    "Microsoft.Storage/storageAccounts": [
        Model("azure.mgmt.storage", "StorageAccountCreateParameters"),
        Model("azure.mgmt.storage", "StorageAccount"),
    ],
    "Microsoft.Storage/storageAccounts/blobServices": [Model("azure.mgmt.storage", "BlobServiceProperties")],
    "Microsoft.Storage/storageAccounts/blobServices/containers": [Model("azure.mgmt.storage", "BlobContainer")],
    "Microsoft.Storage/storageAccounts/queueServices": [Model("azure.mgmt.storage", "QueueServiceProperties")],
    "Microsoft.Storage/storageAccounts/queueServices/queues": [Model("azure.mgmt.storage", "StorageQueue")],
    "Microsoft.Web/serverfarms": [Model("azure.mgmt.web", "AppServicePlan")],
    "Microsoft.Web/sites": [Model("azure.mgmt.web", "Site")],
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": [
        Model("azure.mgmt.web", "CsmPublishingCredentialsPoliciesEntity")
    ],
    "Microsoft.Web/sites/config": [Model("azure.mgmt.web", "StringDictionary")],
}
# Bicep's own, beside what goes into the body.
OF_BICEP = ("name", "parent", "scope", "dependsOn")


def wrong_properties(infra: Infrastructure) -> Iterator[str]:
    for file, name, node in infra.resources():
        content = {key: value for key, value in body(node).items() if key not in OF_BICEP}
        yield from faults(MODELS[node["type"]][0], content, f"{file.path}: {name}")


def wrong_versions(infra: Infrastructure) -> Iterator[str]:
    for file in infra.files.values():
        for name, node in file.declared("resources").items():
            spoken = MODELS[node["type"]][0].api_version
            if node["api_version"] != spoken:
                yield f"{file.path}: {name} is of {node['api_version']}; its model is of {spoken}"


def wrong_readings(infra: Infrastructure) -> Iterator[str]:
    """Properties that are read from resources and that their replies do not have."""
    for file in infra.files.values():
        for name, node in file.declared("resources").items():
            for path in re.findall(rf"\b{name}(?:\[\w+\])?\.(properties(?:\.\w+)+)", file.text):
                if not readable(MODELS[node["type"]][-1], path.split(".")):
                    yield f"{file.path}: {name} has no {path}"


CHECKS = (wrong_properties, wrong_versions, wrong_readings)


def test_every_resource_type_has_a_model() -> None:
    assert {node["type"] for _, _, node in REAL.resources()} == MODELS.keys()


def test_properties_are_those_of_the_models() -> None:
    assert list(wrong_properties(REAL)) == []


def test_api_versions_are_those_of_the_models() -> None:
    assert list(wrong_versions(REAL)) == []


def test_what_is_read_is_there() -> None:
    assert list(wrong_readings(REAL)) == []
    assert sum("properties." in file.text for file in REAL.files.values()) >= 5


@pytest.mark.parametrize(
    ("path", "old", "new", "told"),
    [
        ("session-pools", "lifecycleType: 'Timed'", "executionType: 'Timed'", "executionType is not known"),
        ("session-pools", "'EgressDisabled'", "'Disabled'", "status is 'Disabled', which is none of EgressEnabled"),
        ("session-pools", "'PythonLTS'", "'Python'", "containerType is 'Python'"),
        ("session-pools", "    poolManagementType: 'Dynamic'", "    nodeCount: 1", "nodeCount cannot be set"),
        (
            "session-pools",
            "properties.poolManagementEndpoint",
            "properties.endpoint",
            "pools has no properties.endpoint",
        ),
        (
            "session-pools",
            "sessionPools@2025-07-01",
            "sessionPools@2024-02-02-preview",
            "of 2024-02-02-preview; its model",
        ),
        ("function-app", "perInstanceConcurrency", "concurrency", "triggers.http.concurrency is not known"),
        ("function-app", "type: 'blobContainer'", "type: 'blob'", "storage.type is 'blob'"),
        ("function-app", "httpsOnly: true", "httpsOnly: 'true'", "httpsOnly is no bool"),
        ("function-app", "instanceCount:", "count:", "alwaysReady.count is not known"),
        ("function-app", "  location: location\n", "", "plan.location is required"),
        ("model", "'OnceCurrentVersionExpired'", "'Never'", "versionUpgradeOption is 'Never'"),
        ("model", "account.properties.endpoint", "account.properties.uri", "account has no properties.uri"),
        ("storage", "allowSharedKeyAccess", "allowSharedKeys", "properties.allowSharedKeys is not known"),
        ("storage", "primaryEndpoints.queue", "primaryEndpoints.queues", "has no properties.primaryEndpoints.queues"),
        ("monitoring", "DisableLocalAuth", "disableLocalAuth", "properties.disableLocalAuth is not known"),
        ("logic-app", "    definition:", "    workflow:", "properties.workflow is not known"),
    ],
)
def test_a_fault_is_told(path: str, old: str, new: str, told: str) -> None:
    broken = REAL.changed(f"modules/{path}.bicep", old, new)
    problems = [problem for check in CHECKS for problem in check(broken)]
    assert any(told in problem for problem in problems), problems
