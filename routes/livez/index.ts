import { Type } from '@sinclair/typebox'
import type { App } from '../../src/http/routes.ts'
import { responses } from '../../src/openapi/responses.ts'

const schema = {
  tags: ['service'],
  operationId: 'service.live',
  summary: 'Whether the process runs',
  response: responses(200, { description: 'It does', schema: Type.Object({ status: Type.Literal('ok') }) }),
}

export default async function (app: App) {
  app.get('/', { schema, config: { access: 'unchecked' }, logLevel: 'warn' }, async (_request, reply) => reply.send({ status: 'ok' }))
}
