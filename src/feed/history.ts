// What was done to one record, and how a state of it is brought back, as routes.
import type { FastifyRequest } from 'fastify'
import { readHistory } from '../changelog/read.ts'
import { Problem } from '../errors.ts'
import { type App, buildListUrl, buildStateHeaders, handlePost, preconditionFor, readActor } from '../http/routes.ts'
import { MAX_INTEGER } from '../query/fields.ts'
import { readRecord } from '../query/list.ts'
import { PAGE_TYPE, serialisePage } from '../query/page.ts'
import type { Resource } from '../query/resource.ts'
import { type RestorePreconditions, restoreRecord } from '../records/restore.ts'
import { buildWriteContext } from '../records/transaction.ts'
import { formatMembers } from './page.ts'
import { buildHistoryRouteSchema, buildRestoreSchema, computeHistoryAccess, DEFAULT_HISTORY_PAGE, type HistoryQuery } from './schemas.ts'

/** Entries behind a page that tell whether it is the last: one may belong to it, for a deletion has the version of the change before it. */
const LOOKAHEAD = 2

export function addHistoryRoute(app: App, resource: Resource): void {
  const { db } = app
  app.get(
    '/',
    { schema: buildHistoryRouteSchema(resource), config: { access: computeHistoryAccess(resource) } },
    async (request, reply) => {
      const { id } = request.params
      const { before = MAX_INTEGER, page_size: size = DEFAULT_HISTORY_PAGE } = request.query as HistoryQuery
      const entries = await readHistory(db, db, resource.table, id, before, size + LOOKAHEAD)
      // Of a record that is there, nothing may be kept, or nothing be older.
      if (entries.length === 0 && (await readHistory(db, db, resource.table, id, MAX_INTEGER, 1)).length === 0)
        await readRecord(db, resource, id)
      // What has the same version is not parted: the next page begins below it.
      const shown = entries.slice(0, entries[size]?.version === entries[size - 1]?.version ? size + 1 : size)
      const query = new URLSearchParams({
        before: String(shown.at(-1)?.version),
        ...(size !== DEFAULT_HISTORY_PAGE && { page_size: String(size) }),
      })
      const next = shown.length < entries.length ? `${buildListUrl(request, resource)}${id}/history/?${query}` : null
      const results = shown.map((entry) => `{${formatMembers(entry, request.key)}}`).join()
      return reply.type(PAGE_TYPE).send(serialisePage({ next }, `[${results}]`))
    },
  )
}

export function addRestoreRoute(app: App, resource: Resource): void {
  app.post('/', { schema: buildRestoreSchema(resource), config: { access: resource.access.write } }, (request, reply) =>
    handlePost(request, reply, async (tx) => {
      const { params, body } = request
      const context = buildWriteContext(tx, app.db, resource)
      const record = await restoreRecord(context, params.id, body.version, readActor(request), readRestoreConditions(request))
      return { status: 200, headers: buildStateHeaders(record), body: record }
    }),
  )
}

/** Throws `malformed-request`. */
const readRestoreConditions = (request: FastifyRequest): RestorePreconditions => ({
  present: preconditionFor(request),
  deleted() {
    if (request.headers['if-match'] !== undefined)
      throw new Problem('precondition-failed', 'If-Match does not hold: the record was deleted.')
  },
})
