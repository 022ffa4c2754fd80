// Routes for the history of a record, and for restoring an earlier state.
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

/** Entries read beyond a page to see whether it is the last. Two, because a deletion has the version of the change before it and is not
 * separated from it. */
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
      // An existing record may have no entries left, or none before `before`. Otherwise this throws `not-found`.
      if (entries.length === 0 && (await readHistory(db, db, resource.table, id, MAX_INTEGER, 1)).length === 0)
        await readRecord(db, resource, id)
      // Entries with the same version stay on one page, because the next page starts below that version.
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

/** Reads the preconditions of a restore. Throws `malformed-request`. */
const readRestoreConditions = (request: FastifyRequest): RestorePreconditions => ({
  present: preconditionFor(request),
  deleted() {
    if (request.headers['if-match'] !== undefined) throw new Problem('precondition-failed', 'If-Match failed: the record was deleted.')
  },
})
