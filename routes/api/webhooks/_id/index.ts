import { type App, addReadRoute, buildStateHeaders, preconditionFor, readActor } from '../../../../src/http/routes.ts'
import { describeMerge, describeRemove } from '../../../../src/openapi/operations.ts'
import { readRecord } from '../../../../src/query/list.ts'
import { webhooks } from '../../../../src/resources/webhooks.ts'
import { checkWebhook, findBodyFaults, removeWebhook, updateWebhook } from '../../../../src/webhooks/webhooks.ts'

const config = { access: webhooks.access.write }

export default async function (app: App) {
  addReadRoute(app, webhooks)
  app.patch('/', { schema: describeMerge(webhooks), config: { ...config, findFaults: findBodyFaults } }, async (request, reply) => {
    const { id } = request.params
    await checkWebhook(request.body, app.resources, app.webhookPolicy, await readRecord(app.db, webhooks, id))
    const record = await app.db.write((tx) => updateWebhook(tx, app.db, id, request.body, readActor(request), preconditionFor(request)))
    return reply.headers(buildStateHeaders(record)).send(record)
  })
  app.delete('/', { schema: { ...describeRemove(webhooks, []), description }, config }, async (request, reply) => {
    const { id } = request.params
    await app.db.write(async (tx) => {
      await removeWebhook(tx, app.db, id, readActor(request), preconditionFor(request))
      await app.jobs.enqueue(tx, 'webhooks.cancel', { webhook: id }, { by: readActor(request) })
    })
    return reply.code(204).send()
  })
}

const description = 'Pending deliveries are cancelled. Past deliveries stay readable.'
