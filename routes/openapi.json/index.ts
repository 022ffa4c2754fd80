import { Type } from '@sinclair/typebox'
import type { Kept } from '../../src/cache/store.ts'
import { answerWith } from '../../src/http/cached-response.ts'
import { digest } from '../../src/http/etags.ts'
import type { App } from '../../src/http/routes.ts'
import { guard, headersOf, NONE_MATCH, notModified, responses } from '../../src/openapi/responses.ts'

const schema = {
  tags: ['service'],
  operationId: 'service.openapi',
  summary: 'This document',
  headers: headersOf(NONE_MATCH),
  response: responses(
    200,
    { description: 'OpenAPI 3.1', schema: Type.Object({}, { additionalProperties: true }), cached: true, others: notModified() },
    [...guard('anyone'), 'precondition-failed'],
  ),
}

export default async function (app: App) {
  let kept: Kept | undefined
  app.get('/', { schema, config: { access: 'anyone' } }, (request, reply) => {
    kept ??= documentOf(app)
    return answerWith(request, reply, '', { kept, source: 'bypass' })
  })
}

/** It is the same as long as the process runs. */
function documentOf(app: App): Kept {
  const body = JSON.stringify(app.swagger())
  return app.answers.keep({ state: '', tag: digest(body), headers: {}, body })
}
