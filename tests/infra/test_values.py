"""What the security of the deployment rests on, value by value; what else one wrong word would break unnoticed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.infra.bicep import MAIN, Infrastructure, body, key, parsed

REAL = Infrastructure.of_project()
POOLS, STORAGE, MODEL = "modules/session-pools.bicep", "modules/storage.bicep", "modules/model.bicep"
APP, MONITORING, WORKFLOW = "modules/function-app.bicep", "modules/monitoring.bicep", "modules/logic-app.bicep"

# File and path in it, and the expression that belongs there.
VALUES = {
    (MAIN, "parameters.poolEgress.default"): "false",
    (MAIN, "parameters.existingOpenAiEndpoint.default"): "''",
    (MAIN, "modules.model.config.condition"): "empty(existingOpenAiEndpoint)",
    (MAIN, "modules.workflow.config.condition"): "!empty(logicApp)",
    (MAIN, "variables.poolEndpoints.value"): "join(sessionPools.outputs.endpoints, ',')",
    (MAIN, "variables.openAiEndpoint.value"): (
        "empty(existingOpenAiEndpoint) ? model!.outputs.endpoint : existingOpenAiEndpoint"
    ),
    (MAIN, "outputs.KEY_COMMAND.value"): (
        "'az functionapp keys list --subscription ${subscription().subscriptionId} --resource-group ${group.name} "
        "--name ${functionApp.outputs.name} --query functionKeys.default --output tsv'"
    ),
    (POOLS, "resources.pools.properties.sessionNetworkConfiguration.status"): (
        "egress ? 'EgressEnabled' : 'EgressDisabled'"
    ),
    (POOLS, "variables.userCount.value"): "empty(userPrincipalId) ? 0 : count",
    (STORAGE, "resources.account.properties.allowBlobPublicAccess"): "false",
    (STORAGE, "resources.account.properties.allowCrossTenantReplication"): "false",
    (STORAGE, "resources.account.properties.allowSharedKeyAccess"): "false",
    (STORAGE, "resources.account.properties.defaultToOAuthAuthentication"): "true",
    (STORAGE, "resources.account.properties.minimumTlsVersion"): "'TLS1_2'",
    (STORAGE, "resources.account.properties.supportsHttpsTrafficOnly"): "true",
    (STORAGE, "resources.runs.name"): "'runs'",
    (STORAGE, "resources.runQueue.name"): "queueName",
    (STORAGE, "resources.poisonQueue.name"): "'${queueName}-poison'",
    (MODEL, "resources.account.properties.customSubDomainName"): "name",
    (MODEL, "resources.account.properties.disableLocalAuth"): "true",
    (MODEL, "resources.userAsks.condition"): "!empty(userPrincipalId)",
    (APP, "resources.app.identity.type"): "'UserAssigned'",
    (APP, "resources.app.properties.httpsOnly"): "true",
    (APP, "resources.app.properties.siteConfig.ftpsState"): "'Disabled'",
    (APP, "resources.app.properties.siteConfig.minTlsVersion"): "'1.2'",
    (APP, "resources.app.properties.functionAppConfig.deployment.storage.authentication.type"): (
        "'UserAssignedIdentity'"
    ),
    (APP, "resources.noFtpPassword.name"): "'ftp'",
    (APP, "resources.noFtpPassword.properties.allow"): "false",
    (APP, "resources.noPublishingPassword.name"): "'scm'",
    (APP, "resources.noPublishingPassword.properties.allow"): "false",
    (APP, "variables.decidedSettings.value.APPLICATIONINSIGHTS_AUTHENTICATION_STRING"): (
        "'ClientId=${identityClientId};Authorization=AAD'"
    ),
    (APP, "variables.decidedSettings.value.AZURE_CLIENT_ID"): "identityClientId",
    (APP, "variables.decidedSettings.value.AzureWebJobsStorage__clientId"): "identityClientId",
    (APP, "variables.decidedSettings.value.AzureWebJobsStorage__credential"): "'managedidentity'",
    (MONITORING, "resources.workspace.properties.features.disableLocalAuth"): "true",
    (MONITORING, "resources.applicationInsights.properties.DisableLocalAuth"): "true",
    (WORKFLOW, "resources.workflow.properties.parameters.functionKey.value"): (
        "listKeys('${functionApp.id}/host/default', '2025-05-01').functionKeys.default"
    ),
}


def expression(text: str) -> Any:
    """An expression as a file would have it."""
    return parsed(f"var it = {text}\n")["variables"]["it"]["value"]


def at(infra: Infrastructure, path: str, where: str) -> Any:
    """What a file has at a path of names; a resource's properties out of its loop, unless they are its condition."""
    kind, name, *parts = where.split(".")
    node: Any = infra.files[path].declared(kind)[name]
    if kind == "resources":
        node = node["config"] if parts == ["condition"] else body(node)
    for part in parts:
        node = {key(child): value for child, value in node.items()}[part]
    return node


def wrong_values(infra: Infrastructure) -> Iterator[str]:
    for (path, where), text in VALUES.items():
        found = at(infra, path, where)
        if found != expression(text):
            yield f"{path}: {where} is {found}, and should be {text}"


def test_values_are_these() -> None:
    assert list(wrong_values(REAL)) == []


@pytest.mark.parametrize(
    ("path", "old", "new", "told"),
    [
        (POOLS, "'EgressEnabled' : 'EgressDisabled'", "'EgressDisabled' : 'EgressEnabled'", "Configuration.status"),
        (STORAGE, "allowSharedKeyAccess: false", "allowSharedKeyAccess: true", "allowSharedKeyAccess is True"),
        (STORAGE, "-poison'", "-poisoned'", "poisonQueue.name is ${queueName}-poisoned"),
        (MAIN, "if (empty(existingOpenAiEndpoint))", "if (!empty(existingOpenAiEndpoint))", "model.config.condition"),
        (MAIN, "endpoints, ',')", "endpoints, ';')", "poolEndpoints"),
        (MAIN, "functionKeys.default", "masterKey", "KEY_COMMAND"),
        (MAIN, "--subscription ${subscription().subscriptionId} ", "", "KEY_COMMAND"),
        (APP, "Authorization=AAD", "Auth=AAD", "AUTHENTICATION_STRING"),
        (APP, "'managedidentity'", "'identity'", "AzureWebJobsStorage__credential is identity"),
        (MONITORING, " disableLocalAuth: true", " disableLocalAuth: false", "features.disableLocalAuth is False"),
        (MODEL, "if (!empty(userPrincipalId))", "if (empty(userPrincipalId))", "userAsks.condition"),
    ],
)
def test_another_value_is_told(path: str, old: str, new: str, told: str) -> None:
    [problem] = wrong_values(REAL.changed(path, old, new))
    assert told in problem
