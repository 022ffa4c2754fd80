import { Type } from '@sinclair/typebox'
import type { App } from '../../src/http/routes.ts'
import { buildResponses } from '../../src/openapi/responses.ts'

const Ready = Type.Object({
  status: Type.Literal('ok'),
  feed_lag_seconds: Type.Number({
    minimum: 0,
    description: 'Age of the oldest change that the feed holds back for a running transaction, in seconds.',
  }),
  redis: Type.Optional(
    Type.Union([Type.Literal('ok'), Type.Literal('away')], {
      description: 'Only with `REDIS_URL`. `away`: Redis is unavailable, and each process counts requests and caches responses on its own.',
    }),
  ),
})

const schema = {
  tags: ['service'],
  operationId: 'service.ready',
  summary: 'Whether the service is ready: its database responds, and it is not stopping',
  response: buildResponses(200, { description: 'The service is ready', schema: Ready }, ['not-ready']),
}

export default async function (app: App) {
  app.get('/', { schema, config: { access: 'unchecked' }, logLevel: 'warn' }, async (_request, reply) => {
    const feed_lag_seconds = await app.checkReady()
    return reply.send({ status: 'ok', feed_lag_seconds, ...(app.redis && { redis: app.redis.isAway ? 'away' : 'ok' }) })
  })
}
