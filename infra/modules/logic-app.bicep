@description('Name of the Logic App.')
param name string

@description('Region of the Logic App.')
param location string

@description('Tags of the Logic App.')
param tags object

@description('Folder of examples/logic-apps: a name of those below.')
param example string

@description('Name of the function app, whose key the workflow uses.')
param functionAppName string

@description('Address of the function app.')
param baseUrl string

var workflows = {
  'ask-with-key': loadJsonContent('../../examples/logic-apps/ask-with-key/workflow.json')
  loop: loadJsonContent('../../examples/logic-apps/loop/workflow.json')
  'wait-for-callback': loadJsonContent('../../examples/logic-apps/wait-for-callback/workflow.json')
}

resource functionApp 'Microsoft.Web/sites@2025-05-01' existing = {
  name: functionAppName
}

resource workflow 'Microsoft.Logic/workflows@2019-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    definition: workflows[example].definition
    parameters: {
      baseUrl: {
        value: baseUrl
      }
      // A secure parameter: it is neither shown nor kept in the run history.
      functionKey: {
        value: listKeys('${functionApp.id}/host/default', '2025-05-01').functionKeys.default
      }
    }
  }
}
