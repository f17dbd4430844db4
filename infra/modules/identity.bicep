@description('Name of the identity.')
param name string

@description('Region of the identity.')
param location string

@description('Tags of the identity.')
param tags object

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
  tags: tags
}

@description('Resource id, to assign it to the app.')
output id string = identity.id

@description('Object id, to give it roles.')
output principalId string = identity.properties.principalId

@description('Client id, for the app to name it.')
output clientId string = identity.properties.clientId
