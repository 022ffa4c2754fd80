import { Problem } from '../../../../../src/errors.ts'
import { rejectIdempotencyKey } from '../../../../../src/http/idempotency.ts'
import type { App } from '../../../../../src/http/routes.ts'
import { retrySchema } from '../../../../../src/jobs/schemas.ts'

export default async function (app: App) {
  app.post('/', { schema: retrySchema, config: { access: 'admin' } }, async (request, reply) => {
    rejectIdempotencyKey(request)
    const { id } = request.params
    const { queue } = app.jobs
    if (!(await queue.find(id))) throw new Problem('not-found', `There is no job with the id ${id}.`)
    if (!(await queue.retry(id))) throw new Problem('job-not-failed', 'Only a job that has failed for good can be retried.')
    app.jobs.wake()
    return reply.send(await queue.find(id))
  })
}
