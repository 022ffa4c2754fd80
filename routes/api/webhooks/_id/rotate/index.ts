import { type App, buildStateHeaders, handlePost, preconditionFor, readActor } from '../../../../../src/http/routes.ts'
import { webhooks } from '../../../../../src/resources/webhooks.ts'
import { rotateWebhookSchema } from '../../../../../src/webhooks/schemas.ts'
import { rotateWebhook } from '../../../../../src/webhooks/webhooks.ts'

export default async function (app: App) {
  app.post('/', { schema: rotateWebhookSchema, config: { access: webhooks.access.write } }, (request, reply) =>
    handlePost(request, reply, async (tx) => {
      const { record, secret } = await rotateWebhook(tx, app.db, request.params.id, readActor(request), preconditionFor(request))
      return { status: 200, headers: buildStateHeaders(record), body: { ...record, secret }, secret: ['secret'] }
    }),
  )
}
