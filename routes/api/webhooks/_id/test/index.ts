import { type App, handlePost, preconditionFor } from '../../../../../src/http/routes.ts'
import { webhooks } from '../../../../../src/resources/webhooks.ts'
import { testWebhookSchema } from '../../../../../src/webhooks/schemas.ts'
import { createTestDelivery } from '../../../../../src/webhooks/webhooks.ts'

export default async function (app: App) {
  app.post('/', { schema: testWebhookSchema, config: { access: webhooks.access.write } }, (request, reply) =>
    handlePost(request, reply, async (tx) => {
      const id = await createTestDelivery(tx, app.db, request.params.id, request.id, preconditionFor(request))
      return { status: 202, headers: { location: `${request.origin}/api/deliveries/${id}/` }, body: { delivery: id } }
    }),
  )
}
