import { Type } from '@sinclair/typebox'
import type { CacheEntry } from '../../src/cache/store.ts'
import { sendEntry } from '../../src/http/cached-response.ts'
import { digest } from '../../src/http/etags.ts'
import type { App } from '../../src/http/routes.ts'
import { buildHeadersSchema, buildNotModified, buildResponses, IF_NONE_MATCH, listAccessErrors } from '../../src/openapi/responses.ts'

const schema = {
  tags: ['service'],
  operationId: 'service.openapi',
  summary: 'This document',
  headers: buildHeadersSchema(IF_NONE_MATCH),
  response: buildResponses(
    200,
    { description: 'OpenAPI 3.1', schema: Type.Object({}, { additionalProperties: true }), cached: true, others: buildNotModified() },
    [...listAccessErrors('anyone'), 'precondition-failed'],
  ),
}

export default async function (app: App) {
  let entry: CacheEntry | undefined
  app.get('/', { schema, config: { access: 'anyone' } }, (request, reply) => {
    entry ??= renderDocument(app)
    return sendEntry(request, reply, '', { entry, source: 'bypass' })
  })
}

/** Renders the document, which does not change while the process runs. */
function renderDocument(app: App): CacheEntry {
  const body = JSON.stringify(app.swagger())
  return app.responseCache.createEntry({ state: '', tag: digest(body), headers: {}, body })
}
