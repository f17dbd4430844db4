@description('Name of the function app.')
param name string

@description('Name of its plan.')
param planName string

@description('Region of both.')
param location string

@description('Tags of both.')
param tags object

@description('Python of the app.')
param pythonVersion string

@description('Memory of one instance, in MB.')
param instanceMemoryMB int

@description('Most instances.')
param maximumInstanceCount int

@description('Instances for HTTP that are kept running.')
param alwaysReadyInstances int

@description('HTTP requests that one instance takes at once.')
param httpConcurrency int

@description('Threads of one instance.')
param threadCount int

@description('Resource id of the app\'s identity.')
param identityId string

@description('Client id of the app\'s identity.')
param identityClientId string

@description('Address of the container that the app is deployed to.')
param packageContainerUri string

@description('Address of the blob service of the app\'s storage account.')
param blobServiceUri string

@description('Address of its queue service.')
param queueServiceUri string

@description('Name of the queue that runs wait in.')
param queueName string

@description('Management endpoints of the session pools, with commas between them.')
param poolEndpoints string

@description('Endpoint of the Azure OpenAI resource.')
param openAiEndpoint string

@description('Name of the model deployment.')
param openAiDeployment string

@description('Connection string of Application Insights.')
param applicationInsightsConnectionString string

@secure()
@description('More app settings, by name. Those below win.')
param appSettings object

var decidedSettings = {
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
  APPLICATIONINSIGHTS_CONNECTION_STRING: applicationInsightsConnectionString
  AZURE_CLIENT_ID: identityClientId
  AZURE_OPENAI_DEPLOYMENT: openAiDeployment
  AZURE_OPENAI_ENDPOINT: openAiEndpoint
  AzureWebJobsStorage__blobServiceUri: blobServiceUri
  AzureWebJobsStorage__clientId: identityClientId
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__queueServiceUri: queueServiceUri
  POOL_MANAGEMENT_ENDPOINT: poolEndpoints
  PYTHON_ENABLE_OPENTELEMETRY: 'true'
  PYTHON_THREADPOOL_THREAD_COUNT: string(threadCount)
  RUN_QUEUE_NAME: queueName
}

resource plan 'Microsoft.Web/serverfarms@2025-05-01' = {
  // checkov:skip=CKV_AZURE_225:Zone redundancy asks for instances that are always ready in three zones, which most apps need not pay for.
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    // Means Linux.
    reserved: true
  }
}

resource app 'Microsoft.Web/sites@2025-05-01' = {
  // checkov:skip=CKV_AZURE_222:Callers are anywhere. They need a key, or App Service authentication; there is no network to be inside of.
  // checkov:skip=CKV_AZURE_17:Callers show a key or a token, not a certificate.
  // checkov:skip=CKV_AZURE_212:The plan adds and replaces instances by itself; alwaysReadyInstances keeps some.
  // checkov:skip=CKV_AZURE_213:Health checks are of plans with fixed instances; this one has none.
  name: name
  location: location
  // By this tag azd finds where the service of azure.yaml goes.
  tags: union(tags, {
    'azd-service-name': 'api'
  })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    siteConfig: {
      ftpsState: 'Disabled'
      http20Enabled: true
      minTlsVersion: '1.2'
    }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packageContainerUri
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: {
        name: 'python'
        version: pythonVersion
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: (alwaysReadyInstances == 0) ? [] : [
          {
            name: 'http'
            instanceCount: alwaysReadyInstances
          }
        ]
        triggers: {
          http: {
            perInstanceConcurrency: httpConcurrency
          }
        }
      }
    }
  }
}

resource settings 'Microsoft.Web/sites/config@2025-05-01' = {
  // checkov:skip=CKV_AZURE_13:This is the table of app settings, which the rule takes for the site's own configuration.
  // checkov:skip=CKV_AZURE_63:This is the table of app settings, which the rule takes for the site's own configuration.
  // checkov:skip=CKV_AZURE_65:This is the table of app settings, which the rule takes for the site's own configuration.
  // checkov:skip=CKV_AZURE_66:This is the table of app settings, which the rule takes for the site's own configuration.
  // checkov:skip=CKV_AZURE_80:This is the table of app settings, which the rule takes for the site's own configuration.
  // checkov:skip=CKV_AZURE_88:This is the table of app settings, which the rule takes for the site's own configuration.
  // checkov:skip=CKV_AZURE_222:This is the table of app settings, which the rule takes for the site's own configuration.
  parent: app
  name: 'appsettings'
  properties: union(appSettings, decidedSettings)
}

resource noFtpPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-05-01' = {
  parent: app
  name: 'ftp'
  properties: {
    allow: false
  }
}

resource noPublishingPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-05-01' = {
  parent: app
  name: 'scm'
  properties: {
    allow: false
  }
}

@description('Name of the app.')
output name string = app.name

@description('Address of the app, without a slash at its end.')
output uri string = 'https://${app.properties.defaultHostName}'
