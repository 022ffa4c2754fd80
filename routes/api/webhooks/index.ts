import { type App, addListRoute, buildCreatedResponse, handlePost, readActor, rejectConditions } from '../../../src/http/routes.ts'
import { describeCreate } from '../../../src/openapi/operations.ts'
import { webhooks } from '../../../src/resources/webhooks.ts'
import { checkWebhook, createWebhook, findBodyFaults, IssuedWebhook } from '../../../src/webhooks/webhooks.ts'

export default async function (app: App) {
  addListRoute(app, webhooks)
  const schema = { ...describeCreate(webhooks, { schema: IssuedWebhook }, ['too-many-webhooks']) }
  app.post('/', { schema, config: { access: webhooks.access.write, findFaults: findBodyFaults } }, async (request, reply) => {
    rejectConditions(request)
    await checkWebhook(request.body, app.resources, app.webhookPolicy)
    return handlePost(request, reply, async (tx) => {
      const { record, secret } = await createWebhook(tx, app.db, request.body, readActor(request))
      const answer = buildCreatedResponse(request, webhooks, record)
      return { ...answer, body: { ...answer.body, secret }, secret: ['secret'] }
    })
  })
}
