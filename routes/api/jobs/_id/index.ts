import { Problem } from '../../../../src/errors.ts'
import type { App } from '../../../../src/http/routes.ts'
import { jobSchema } from '../../../../src/jobs/schemas.ts'

export default async function (app: App) {
  app.get('/', { schema: jobSchema, config: { access: 'key' } }, async ({ params: { id }, key }, reply) => {
    const job = await app.jobs.queue.find(id)
    // Other keys get 404, which does not reveal that the job exists.
    if (!job || (key?.role !== 'admin' && job.key !== key?.id)) throw new Problem('not-found', `There is no job with the id ${id}.`)
    return reply.send(job)
  })
}
