import { Type } from '@sinclair/typebox'
import type { App } from '../../src/http/routes.ts'
import { buildResponses } from '../../src/openapi/responses.ts'

const Ready = Type.Object({
  status: Type.Literal('ok'),
  feed_lag_seconds: Type.Number({
    minimum: 0,
    description: 'For how long the oldest change that the feed cannot show yet has been waiting for a transaction that is still under way',
  }),
  redis: Type.Optional(
    Type.Union([Type.Literal('ok'), Type.Literal('away')], {
      description: 'With `REDIS_URL`: `away` where each process counts requests, and keeps answers, for itself',
    }),
  ),
})

const schema = {
  tags: ['service'],
  operationId: 'service.ready',
  summary: 'Whether the service can answer: its database does, and it is not about to stop',
  response: buildResponses(200, { description: 'It can', schema: Ready }, ['not-ready']),
}

export default async function (app: App) {
  app.get('/', { schema, config: { access: 'unchecked' }, logLevel: 'warn' }, async (_request, reply) => {
    const feed_lag_seconds = await app.checkReady()
    return reply.send({ status: 'ok', feed_lag_seconds, ...(app.redis && { redis: app.redis.isAway ? 'away' : 'ok' }) })
  })
}
