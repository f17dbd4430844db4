@description('Beginning of the pools\' names; a number follows.')
param namePrefix string

@description('Region of the pools.')
param location string

@description('Tags of the pools.')
param tags object

@minValue(1)
@description('Number of pools.')
param count int

@minValue(1)
@maxValue(600)
@description('Most sessions of one pool at a time.')
param maxSessions int

@minValue(300)
@maxValue(3600)
@description('Seconds without a request after which a session is deleted.')
param cooldownSeconds int

@description('Whether code in a session may reach the internet.')
param egress bool

@description('Object id of the app\'s identity.')
param appPrincipalId string

@description('Object id of the one who may use the pools from a machine. Empty: nobody.')
param userPrincipalId string

@description('Kind of that principal.')
param userPrincipalType string

var roles = loadJsonContent('../roles.json')
var userCount = empty(userPrincipalId) ? 0 : count

resource pools 'Microsoft.App/sessionPools@2025-07-01' = [for number in range(0, count): {
  name: '${namePrefix}-${number}'
  location: location
  tags: tags
  properties: {
    poolManagementType: 'Dynamic'
    containerType: 'PythonLTS'
    scaleConfiguration: {
      maxConcurrentSessions: maxSessions
    }
    dynamicPoolConfiguration: {
      lifecycleConfiguration: {
        lifecycleType: 'Timed'
        cooldownPeriodInSeconds: cooldownSeconds
      }
    }
    sessionNetworkConfiguration: {
      status: egress ? 'EgressEnabled' : 'EgressDisabled'
    }
  }
}]

resource appExecutes 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for number in range(0, count): {
  name: guid(pools[number].id, appPrincipalId, roles['Azure ContainerApps Session Executor'])
  scope: pools[number]
  properties: {
    description: 'The app runs code in sessions of this pool.'
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Azure ContainerApps Session Executor'])
  }
}]

// More than running code should need, but the service's page on code interpreter sessions asks for both roles.
resource appContributes 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for number in range(0, count): {
  name: guid(pools[number].id, appPrincipalId, roles.Contributor)
  scope: pools[number]
  properties: {
    description: 'Documented as required next to the executor role; without it the pool has answered 401.'
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.Contributor)
  }
}]

resource userExecutes 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for number in range(0, userCount): {
  name: guid(pools[number].id, userPrincipalId, roles['Azure ContainerApps Session Executor'])
  scope: pools[number]
  properties: {
    description: 'Whoever deployed runs the app on a machine against this pool.'
    principalId: userPrincipalId
    principalType: userPrincipalType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Azure ContainerApps Session Executor'])
  }
}]

resource userContributes 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for number in range(0, userCount): {
  name: guid(pools[number].id, userPrincipalId, roles.Contributor)
  scope: pools[number]
  properties: {
    description: 'Documented as required next to the executor role, for whoever deployed as for the app.'
    principalId: userPrincipalId
    principalType: userPrincipalType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.Contributor)
  }
}]

@description('Management endpoints of the pools.')
output endpoints array = [for number in range(0, count): pools[number].properties.poolManagementEndpoint]
