@minLength(2)
@maxLength(64)
@description('Name of the Azure OpenAI resource, and first part of its host name.')
param name string

@description('Region of the resource.')
param location string

@description('Tags of the resource.')
param tags object

@description('Name of the model deployment.')
param deploymentName string

@description('Model of the deployment.')
param modelName string

@description('Version of the model.')
param modelVersion string

@description('Kind of the deployment.')
param skuName string

@description('Quota of the deployment, in thousands of tokens per minute.')
param capacity int

@description('Object id of the app\'s identity.')
param appPrincipalId string

@description('Object id of the one who may use the model from a machine. Empty: nobody.')
param userPrincipalId string

@description('Kind of that principal.')
param userPrincipalType string

var roles = loadJsonContent('../roles.json')

resource account 'Microsoft.CognitiveServices/accounts@2025-09-01' = {
  // checkov:skip=CKV_AZURE_134:App and developers reach it without a virtual network; it accepts tokens only.
  // checkov:skip=CKV_AZURE_238:The account calls no other service, so it needs no identity of its own.
  name: name
  location: location
  tags: tags
  kind: 'OpenAI'
  sku: {
    name: 'S0'
  }
  properties: {
    // Tokens are accepted at a host name of the resource's own only.
    customSubDomainName: name
    disableLocalAuth: true
    publicNetworkAccess: 'Enabled'
  }
}

resource deployment 'Microsoft.CognitiveServices/accounts/deployments@2025-09-01' = {
  parent: account
  name: deploymentName
  sku: {
    name: skuName
    capacity: capacity
  }
  properties: {
    model: {
      format: 'OpenAI'
      name: modelName
      version: modelVersion
    }
    // When the version retires, the deployment goes on with the next one instead of failing.
    versionUpgradeOption: 'OnceCurrentVersionExpired'
  }
}

resource appAsks 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, appPrincipalId, roles['Cognitive Services OpenAI User'])
  scope: account
  properties: {
    description: 'The app asks the model.'
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Cognitive Services OpenAI User'])
  }
}

resource userAsks 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(userPrincipalId)) {
  name: guid(account.id, userPrincipalId, roles['Cognitive Services OpenAI User'])
  scope: account
  properties: {
    description: 'Whoever deployed runs the app on a machine with this model.'
    principalId: userPrincipalId
    principalType: userPrincipalType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Cognitive Services OpenAI User'])
  }
}

@description('Endpoint of the resource.')
output endpoint string = account.properties.endpoint
