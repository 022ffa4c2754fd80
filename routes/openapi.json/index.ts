import { Type } from '@sinclair/typebox'
import { responses } from '../../src/query/schemas.ts'
import type { App } from '../../src/routes.ts'

const schema = {
  tags: ['service'],
  operationId: 'service.openapi',
  summary: 'This document',
  response: responses(200, { description: 'OpenAPI 3.1', schema: Type.Object({}, { additionalProperties: true }) }),
}

export default async function (app: App) {
  app.get('/', { schema }, async () => app.swagger())
}
