import { Type } from '@sinclair/typebox'
import { noStore, responses } from '../../src/query/schemas.ts'
import type { App } from '../../src/routes.ts'

const schema = {
  tags: ['service'],
  operationId: 'service.ready',
  summary: 'Whether the service can answer: its database does, and it is not about to stop',
  response: responses(200, { description: 'It can', schema: Type.Object({ status: Type.Literal('ok') }), always: noStore }, ['not-ready']),
}

export default async function (app: App) {
  app.get('/', { schema, logLevel: 'warn' }, async (_request, reply) => {
    reply.header('cache-control', 'no-store')
    await app.checkReady()
    return reply.send({ status: 'ok' })
  })
}
