// The route of bulk requests.
import type { FastifySchema, FastifySchemaCompiler } from 'fastify'
import type { Queries } from '../../drizzle/database.ts'
import { createSemaphore } from '../../drizzle/semaphore.ts'
import { Problem } from '../errors.ts'
import { once, onceInSteps, type PostAnswer, unfinished } from '../http/idempotency.ts'
import type { Preconditions } from '../http/preconditions.ts'
import { type App, actorOf, attemptOf, expecting, type FindFaults, refuseConditions, sendPost } from '../http/routes.ts'
import { bulkSchema } from '../openapi/operations.ts'
import type { Resource } from '../query/resource.ts'
import { buildWriteContext } from '../records/transaction.ts'
import { checkBulk, locateFaults, type OperationResult, runAtomic, runEach } from './bulk.ts'
import { type BulkBody, buildBulkInput, MAX_ATOMIC_BYTES, OPERATIONS_PER_REQUEST, readEnvelope } from './schemas.ts'
import { takeSlice } from './slices.ts'

/** Bulk requests that write at the same time, and that wait for one of them: others are to have a connection too. */
const MAX_BULKS = 2
const MAX_WAITING_BULKS = 64
/** Milliseconds. */
const BULK_PATIENCE = 15_000

function refuseBulk(): never {
  throw new Problem('overloaded', 'There are more bulk requests than can be done. Try again later.', { headers: { 'retry-after': '5' } })
}

/** Up to 1,000 operations in one request. Every body is checked by the schema of its own operation, so that each can fail by itself. */
export function bulkRoute(app: App, resource: Resource): void {
  // For a request whose query has faults, which never comes to the handler.
  const findFaults: FindFaults = async ({ body }) => {
    const envelope = readEnvelope(body)
    return [...envelope.faults, ...(await checkBulk(resource, body as BulkBody, envelope)).flatMap(locateFaults)]
  }
  const options = {
    schema: bulkSchema(resource, buildBulkInput(resource)),
    config: { access: resource.access.write, findFaults },
    bodyLimit: app.config.BULK_BODY_LIMIT,
    // By the schema of the document, one operation with a fault would refuse them all.
    validatorCompiler: validateAllButBody(app),
  }
  const { REQUIRE_IF_MATCH: needed } = app.config
  const bulks = createSemaphore(MAX_BULKS, MAX_WAITING_BULKS)
  app.post('/', options, async (request, reply) => {
    refuseConditions(request)
    const envelope = readEnvelope(request.body)
    const isAtomic = envelope.faults.length > 0 || request.body.atomic !== false
    if (isAtomic && (request.bytes?.length ?? 0) > MAX_ATOMIC_BYTES) throw TOO_LARGE
    const { length } = request.body.operations
    const limit = request.key ? app.limits.authenticated : app.limits.anonymous
    await limit.takeFurther(request, reply, Math.ceil(length / OPERATIONS_PER_REQUEST) - 1)
    const checked = await checkBulk(resource, request.body, envelope)
    const context = {
      resources: app.resources,
      by: actorOf(request),
      expecting: (conditions: Preconditions | undefined) => expecting(conditions, needed),
      instance: request.id,
    }
    const all = async (tx: Queries) =>
      buildAnswer(await runAtomic(buildWriteContext(tx, app.db, resource), checked, context, envelope.faults))
    const part = async (tx: Queries, progress?: { results?: OperationResult[] }) => {
      const { results: done = [] } = progress ?? {}
      const results = [...done, ...(await runEach(buildWriteContext(tx, app.db, resource), takeSlice(checked, done.length), context))]
      return results.length < checked.length ? unfinished({ results }) : buildAnswer(results)
    }
    const attempt = attemptOf(request)
    // The reply is sent after the turn has ended: a client that reads slowly must not keep others waiting.
    const answer = await bulks.run(performance.now() + BULK_PATIENCE, () =>
      isAtomic ? once(app.db, attempt, all) : onceInSteps(app.db, attempt, part),
    )
    return sendPost(reply, answer ?? refuseBulk())
  })
}

function buildAnswer(results: readonly OperationResult[]): PostAnswer {
  const failed = results.filter(({ status }) => status >= 400).length
  return { status: failed > 0 ? 207 : 200, headers: {}, body: { results, succeeded: results.length - failed, failed } }
}

const TOO_LARGE = new Problem(
  'body-too-large',
  `The body is larger than ${MAX_ATOMIC_BYTES} bytes (${MAX_ATOMIC_BYTES / 1_024} KiB), the limit of a bulk request in one transaction. Send several, or set "atomic": false.`,
)

const validateAllButBody =
  (app: App): FastifySchemaCompiler<FastifySchema> =>
  (route) =>
    route.httpPart === 'body' ? (value: unknown) => ({ value }) : (app.validatorCompiler as FastifySchemaCompiler<FastifySchema>)(route)
