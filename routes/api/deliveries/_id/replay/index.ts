import { type App, handlePost, preconditionFor } from '../../../../../src/http/routes.ts'
import { deliveries } from '../../../../../src/resources/deliveries.ts'
import { replayDelivery } from '../../../../../src/webhooks/replay.ts'
import { replayDeliverySchema } from '../../../../../src/webhooks/schemas.ts'

export default async function (app: App) {
  app.post('/', { schema: replayDeliverySchema, config: { access: deliveries.access.write } }, (request, reply) =>
    handlePost(request, reply, async (tx) => {
      await replayDelivery(tx, app.db, request.params.id, preconditionFor(request))
      return {
        status: 202,
        headers: { location: `${request.origin}/api/deliveries/${request.params.id}/` },
        body: { delivery: request.params.id },
      }
    }),
  )
}
