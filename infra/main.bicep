targetScope = 'subscription'

@minLength(1)
@maxLength(64)
@description('Name of the azd environment. The resource group is rg-<name>, and the group and all in it carry it as a tag.')
param environmentName string

@minLength(1)
@description('Region of everything that has no region of its own below. It has to offer the Flex Consumption plan.')
@metadata({
  azd: {
    type: 'location'
  }
})
param location string

@description('Who may also use the pool and the model from a machine: object id of the one who runs azd. Empty: nobody.')
param principalId string = ''

@allowed([
  'Group'
  'ServicePrincipal'
  'User'
])
@description('Kind of that principal; ServicePrincipal in CI.')
param principalType string = 'User'

@allowed([
  '3.12'
  '3.13'
])
@description('Python of the function app.')
param pythonVersion string = '3.12'

@allowed([
  2048
  4096
])
@description('Memory of one instance of the function app, in MB.')
param instanceMemoryMB int = 2048

@minValue(1)
@maxValue(1000)
@description('Most instances of the function app. Some regions refuse less than 40.')
param maximumInstanceCount int = 40

@minValue(0)
@maxValue(100)
@description('Instances for HTTP that are kept running, and paid for, so that nobody waits for a cold start.')
param alwaysReadyInstances int = 0

@minValue(1)
@maxValue(1000)
@description('HTTP requests that one instance takes at once before there is another. Azure gives a Python app 1.')
param httpConcurrency int = 32

@minValue(1)
@maxValue(1000)
@description('Threads of one instance: each chat and each run holds one while it waits.')
param threadCount int = 64

@minLength(3)
@maxLength(56)
@description('Name of the queue that runs wait in.')
param runQueueName string = 'runs'

@description('Region of the session pools. Empty: that of everything else.')
param poolLocation string = ''

@minValue(1)
@maxValue(20)
@description('Number of session pools. Sessions are spread over them; one pool has 600 at most.')
param poolCount int = 1

@minValue(1)
@maxValue(600)
@description('Most sessions of one pool at a time.')
param poolMaxSessions int = 100

@minValue(300)
@maxValue(3600)
@description('Seconds without a request after which a session is deleted.')
param poolCooldownSeconds int = 300

@description('Whether code in a session may reach the internet.')
param poolEgress bool = false

@description('Endpoint of an Azure OpenAI resource that exists. Its owner assigns the role. Empty: one is made.')
param existingOpenAiEndpoint string = ''

@description('Region of the Azure OpenAI resource. Empty: that of everything else.')
param openAiLocation string = ''

@description('Name of the model deployment, at the existing resource or at the one that is made.')
param openAiDeployment string = 'chat'

@description('Model of the deployment that is made.')
param modelName string = 'gpt-5.4-mini'

@description('Version of that model.')
param modelVersion string = '2026-03-17'

@description('Kind of the deployment, which says where requests are processed.')
param modelSku string = 'GlobalStandard'

@minValue(1)
@description('Quota of the deployment, in thousands of tokens per minute.')
param modelCapacity int = 50

@minValue(30)
@maxValue(730)
@description('Days for which telemetry is kept.')
param logRetentionDays int = 30

@allowed([
  ''
  'ask-with-key'
  'loop'
  'wait-for-callback'
])
@description('Folder of examples/logic-apps that becomes a Logic App. Empty: none. The app has to be deployed by then.')
param logicApp string = ''

@secure()
@description('More app settings, by name (docs/settings.md). Those that the deployment itself decides win.')
param appSettings object = {}

var suffix = uniqueString(subscription().id, environmentName, location)
var tags = {
  'azd-env-name': environmentName
}

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module identity 'modules/identity.bicep' = {
  name: 'identity'
  scope: group
  params: {
    name: 'id-${suffix}'
    location: location
    tags: tags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    workspaceName: 'log-${suffix}'
    applicationInsightsName: 'appi-${suffix}'
    location: location
    tags: tags
    retentionDays: logRetentionDays
    appPrincipalId: identity.outputs.principalId
  }
}

module storage 'modules/storage.bicep' = {
  name: 'storage'
  scope: group
  params: {
    name: 'st${suffix}'
    location: location
    tags: tags
    queueName: runQueueName
    appPrincipalId: identity.outputs.principalId
  }
}

module sessionPools 'modules/session-pools.bicep' = {
  name: 'session-pools'
  scope: group
  params: {
    namePrefix: 'pool-${suffix}'
    location: empty(poolLocation) ? location : poolLocation
    tags: tags
    count: poolCount
    maxSessions: poolMaxSessions
    cooldownSeconds: poolCooldownSeconds
    egress: poolEgress
    appPrincipalId: identity.outputs.principalId
    userPrincipalId: principalId
    userPrincipalType: principalType
  }
}

module model 'modules/model.bicep' = if (empty(existingOpenAiEndpoint)) {
  name: 'model'
  scope: group
  params: {
    name: 'oai-${suffix}'
    location: empty(openAiLocation) ? location : openAiLocation
    tags: tags
    deploymentName: openAiDeployment
    modelName: modelName
    modelVersion: modelVersion
    skuName: modelSku
    capacity: modelCapacity
    appPrincipalId: identity.outputs.principalId
    userPrincipalId: principalId
    userPrincipalType: principalType
  }
}

var poolEndpoints = join(sessionPools.outputs.endpoints, ',')
var openAiEndpoint = empty(existingOpenAiEndpoint) ? model!.outputs.endpoint : existingOpenAiEndpoint

module functionApp 'modules/function-app.bicep' = {
  name: 'function-app'
  scope: group
  params: {
    name: 'func-${suffix}'
    planName: 'plan-${suffix}'
    location: location
    tags: tags
    pythonVersion: pythonVersion
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    alwaysReadyInstances: alwaysReadyInstances
    httpConcurrency: httpConcurrency
    threadCount: threadCount
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    packageContainerUri: storage.outputs.packageContainerUri
    blobServiceUri: storage.outputs.blobServiceUri
    queueServiceUri: storage.outputs.queueServiceUri
    queueName: runQueueName
    poolEndpoints: poolEndpoints
    openAiEndpoint: openAiEndpoint
    openAiDeployment: openAiDeployment
    applicationInsightsConnectionString: monitoring.outputs.connectionString
    appSettings: appSettings
  }
}

module workflow 'modules/logic-app.bicep' = if (!empty(logicApp)) {
  name: 'logic-app'
  scope: group
  params: {
    name: 'logic-${suffix}'
    location: location
    tags: tags
    example: logicApp
    functionAppName: functionApp.outputs.name
    baseUrl: functionApp.outputs.uri
  }
}

@description('Group that holds everything.')
output AZURE_RESOURCE_GROUP string = group.name

@description('Name of the function app.')
output SERVICE_API_NAME string = functionApp.outputs.name

@description('Address of the function app.')
output SERVICE_API_URI string = functionApp.outputs.uri

@description('For the app on your machine: the pools.')
output POOL_MANAGEMENT_ENDPOINT string = poolEndpoints

@description('For the app on your machine: where the model is.')
output AZURE_OPENAI_ENDPOINT string = openAiEndpoint

@description('For the app on your machine: which model it is.')
output AZURE_OPENAI_DEPLOYMENT string = openAiDeployment

@description('Next command: prints a key of the app.')
output KEY_COMMAND string = 'az functionapp keys list --subscription ${subscription().subscriptionId} --resource-group ${group.name} --name ${functionApp.outputs.name} --query functionKeys.default --output tsv'

@description('The command after that: asks the app.')
output ASK_COMMAND string = 'python3 dev.py ask --url ${functionApp.outputs.uri} --key KEY \'Which primes are below 30?\''
