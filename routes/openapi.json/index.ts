import { Type } from '@sinclair/typebox'
import { guard, responses } from '../../src/query/responses.ts'
import type { App } from '../../src/routes.ts'

const schema = {
  tags: ['service'],
  operationId: 'service.openapi',
  summary: 'This document',
  response: responses(200, { description: 'OpenAPI 3.1', schema: Type.Object({}, { additionalProperties: true }) }, guard('anyone')),
}

export default async function (app: App) {
  app.get('/', { schema, config: { access: 'anyone' } }, async () => app.swagger())
}
