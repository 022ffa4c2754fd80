// What was done to one record, and how a state of it is brought back, as routes.
import type { FastifyRequest } from 'fastify'
import { readHistory } from '../changelog/read.ts'
import { Problem } from '../errors.ts'
import { type App, actorOf, expectedOf, post, stateHeaders, urlOf } from '../http/routes.ts'
import { MAX_INTEGER } from '../query/fields.ts'
import { read } from '../query/list.ts'
import { PAGE_TYPE, serialisePage } from '../query/page.ts'
import type { Resource } from '../query/resource.ts'
import { type RestorePreconditions, restoreRecord } from '../records/restore.ts'
import { buildWriteContext } from '../records/transaction.ts'
import { membersOf } from './page.ts'
import { DEFAULT_HISTORY_PAGE, type HistoryQuery, historyAccess, historySchema, restoreSchema } from './schemas.ts'

/** Entries behind a page that tell whether it is the last: one may belong to it, for a deletion has the version of the change before it. */
const BEYOND = 2

export function historyRoute(app: App, resource: Resource): void {
  const { db } = app
  app.get('/', { schema: historySchema(resource), config: { access: historyAccess(resource) } }, async (request, reply) => {
    const { id } = request.params
    const { before = MAX_INTEGER, page_size: size = DEFAULT_HISTORY_PAGE } = request.query as HistoryQuery
    const entries = await readHistory(db, db, resource.table, id, before, size + BEYOND)
    // Of a record that is there, nothing may be kept, or nothing be older.
    if (entries.length === 0 && (await readHistory(db, db, resource.table, id, MAX_INTEGER, 1)).length === 0) await read(db, resource, id)
    // What has the same version is not parted: the next page begins below it.
    const shown = entries.slice(0, entries[size]?.version === entries[size - 1]?.version ? size + 1 : size)
    const query = new URLSearchParams({
      before: String(shown.at(-1)?.version),
      ...(size !== DEFAULT_HISTORY_PAGE && { page_size: String(size) }),
    })
    const next = shown.length < entries.length ? `${urlOf(request, resource)}${id}/history/?${query}` : null
    const results = shown.map((entry) => `{${membersOf(entry, request.key)}}`).join()
    return reply.type(PAGE_TYPE).send(serialisePage({ next }, `[${results}]`))
  })
}

export function restoreRoute(app: App, resource: Resource): void {
  app.post('/', { schema: restoreSchema(resource), config: { access: resource.access.write } }, (request, reply) =>
    post(request, reply, async (tx) => {
      const { params, body } = request
      const context = buildWriteContext(tx, app.db, resource)
      const record = await restoreRecord(context, params.id, body.version, actorOf(request), conditionsOf(request))
      return { status: 200, headers: stateHeaders(record), body: record }
    }),
  )
}

/** Throws `malformed-request`. */
const conditionsOf = (request: FastifyRequest): RestorePreconditions => ({
  present: expectedOf(request),
  deleted() {
    if (request.headers['if-match'] !== undefined)
      throw new Problem('precondition-failed', 'If-Match does not hold: the record was deleted.')
  },
})
