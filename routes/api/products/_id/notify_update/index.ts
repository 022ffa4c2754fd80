import { type App, handlePost, preconditionFor } from '../../../../../src/http/routes.ts'
import { startJob } from '../../../../../src/jobs/route.ts'
import { buildWriteContext } from '../../../../../src/records/transaction.ts'
import { lockRecord } from '../../../../../src/records/write.ts'
import { products } from '../../../../../src/resources/products.ts'
import { notifySchema } from '../../../../../src/webhooks/schemas.ts'

export default async function (app: App) {
  app.post('/', { schema: notifySchema, config: { access: products.access.write } }, (request, reply) =>
    handlePost(
      request,
      reply,
      async (tx) => {
        const record = await lockRecord(buildWriteContext(tx, app.db, products), request.params.id, preconditionFor(request))
        return startJob(app.jobs, tx, request, 'products.notify', { record, at: new Date().toISOString(), ...request.body })
      },
      () => app.jobs.wake(),
    ),
  )
}
