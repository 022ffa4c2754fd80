import { Type } from '@sinclair/typebox'
import type { App } from '../../src/http/routes.ts'
import { buildResponses } from '../../src/openapi/responses.ts'

const schema = {
  tags: ['service'],
  operationId: 'service.live',
  summary: 'Whether the process runs',
  response: buildResponses(200, { description: 'The process runs', schema: Type.Object({ status: Type.Literal('ok') }) }),
}

export default async function (app: App) {
  app.get('/', { schema, config: { access: 'unchecked' }, logLevel: 'warn' }, async (_request, reply) => reply.send({ status: 'ok' }))
}
