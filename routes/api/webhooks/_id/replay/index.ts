import { type Fault, invalid } from '../../../../../src/errors.ts'
import { type App, handlePost, preconditionFor } from '../../../../../src/http/routes.ts'
import { startJob } from '../../../../../src/jobs/route.ts'
import { webhooks } from '../../../../../src/resources/webhooks.ts'
import { replayWebhookSchema } from '../../../../../src/webhooks/schemas.ts'
import { lockEnabled } from '../../../../../src/webhooks/webhooks.ts'

const findRangeFaults = ({ since, until }: { since: string; until?: string }): Fault[] =>
  until !== undefined && Date.parse(until) < Date.parse(since) ? [{ pointer: '/until', detail: 'must not be before `since`' }] : []

export default async function (app: App) {
  app.post('/', { schema: replayWebhookSchema, config: { access: webhooks.access.write } }, (request, reply) => {
    const faults = findRangeFaults(request.body)
    if (faults.length > 0) throw invalid(faults)
    return handlePost(request, reply, async (tx) => {
      const { id } = request.params
      await lockEnabled(tx, app.db, id, preconditionFor(request))
      const { since, until = new Date().toISOString(), only = 'failed' } = request.body
      return startJob(app.jobs, tx, request, 'webhooks.replay', { webhook: id, since, until, only })
    })
  })
}
