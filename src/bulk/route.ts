// The route `POST …/bulk/`.
import type { FastifySchema, FastifySchemaCompiler } from 'fastify'
import type { Queries } from '../../drizzle/database.ts'
import { createSemaphore } from '../../drizzle/semaphore.ts'
import { Problem } from '../errors.ts'
import { continueFrom, type PostResponse, runIdempotent, runIdempotentSteps } from '../http/idempotency.ts'
import type { Preconditions } from '../http/preconditions.ts'
import {
  type App,
  createPrecondition,
  type FindFaults,
  readActor,
  readIdempotentRequest,
  rejectConditions,
  sendPost,
} from '../http/routes.ts'
import { describeBulk } from '../openapi/operations.ts'
import type { Resource } from '../query/resource.ts'
import { buildWriteContext } from '../records/transaction.ts'
import { checkBulk, locateFaults, type OperationResult, runAtomic, runEach } from './bulk.ts'
import { type BulkBody, buildBulkInput, MAX_ATOMIC_BYTES, OPERATIONS_PER_REQUEST, readEnvelope } from './schemas.ts'
import { takeSlice } from './slices.ts'

/** Bulk requests that write at the same time. More would leave no connection to other writes. */
const MAX_BULKS = 2
const MAX_WAITING_BULKS = 64
/** Milliseconds that a bulk request waits to begin. */
const BULK_PATIENCE = 15_000

function refuseBulk(): never {
  throw new Problem('overloaded', 'Too many bulk requests are running. Retry after 5 seconds.', { headers: { 'retry-after': '5' } })
}

/** Adds the route of bulk requests to a resource. */
export function bulkRoute(app: App, resource: Resource): void {
  // Validation calls this for a request whose query string has faults, which never reaches the handler.
  const findFaults: FindFaults = async ({ body }) => {
    const envelope = readEnvelope(body)
    return [...envelope.faults, ...(await checkBulk(resource, body as BulkBody, envelope)).flatMap(locateFaults)]
  }
  const options = {
    schema: describeBulk(resource, buildBulkInput(resource)),
    config: { access: resource.access.write, findFaults },
    bodyLimit: app.config.BULK_BODY_LIMIT,
    // The schema in the OpenAPI document would refuse all operations for a fault in one of them. The handler checks each on its own.
    validatorCompiler: validateAllButBody(app),
  }
  const { REQUIRE_IF_MATCH: isRequired } = app.config
  const bulks = createSemaphore(MAX_BULKS, MAX_WAITING_BULKS)
  app.post('/', options, async (request, reply) => {
    rejectConditions(request)
    const envelope = readEnvelope(request.body)
    const isAtomic = envelope.faults.length > 0 || request.body.atomic !== false
    if (isAtomic && (request.bytes?.length ?? 0) > MAX_ATOMIC_BYTES) throw TOO_LARGE
    const { length } = request.body.operations
    const limit = request.key ? app.limits.authenticated : app.limits.anonymous
    await limit.takeFurther(request, reply, Math.ceil(length / OPERATIONS_PER_REQUEST) - 1)
    const checkedOperations = await checkBulk(resource, request.body, envelope)
    const context = {
      resources: app.resources,
      by: readActor(request),
      preconditionFor: (conditions: Preconditions | undefined) => createPrecondition(conditions, isRequired),
      instance: request.id,
    }
    const runAll = async (tx: Queries) =>
      buildResponse(await runAtomic(buildWriteContext(tx, app.db, resource), checkedOperations, context, envelope.faults))
    const runPart = async (tx: Queries, progress?: { results?: OperationResult[] }) => {
      const { results: previous = [] } = progress ?? {}
      const results = [
        ...previous,
        ...(await runEach(buildWriteContext(tx, app.db, resource), takeSlice(checkedOperations, previous.length), context)),
      ]
      return results.length < checkedOperations.length ? continueFrom({ results }) : buildResponse(results)
    }
    const attempt = readIdempotentRequest(request)
    // The semaphore is released before the response is sent: a slow reader must not delay other bulk requests.
    const response = await bulks.run(performance.now() + BULK_PATIENCE, () =>
      isAtomic ? runIdempotent(app.db, attempt, runAll) : runIdempotentSteps(app.db, attempt, runPart),
    )
    return sendPost(reply, response ?? refuseBulk())
  })
}

function buildResponse(results: readonly OperationResult[]): PostResponse {
  const failed = results.filter(({ status }) => status >= 400).length
  return { status: failed > 0 ? 207 : 200, headers: {}, body: { results, succeeded: results.length - failed, failed } }
}

const TOO_LARGE = new Problem(
  'body-too-large',
  `The body is larger than ${MAX_ATOMIC_BYTES} bytes (${MAX_ATOMIC_BYTES / 1_024} KiB), the limit of an atomic bulk request. Split the request, or set "atomic": false.`,
)

const validateAllButBody =
  (app: App): FastifySchemaCompiler<FastifySchema> =>
  (route) =>
    route.httpPart === 'body' ? (value: unknown) => ({ value }) : (app.validatorCompiler as FastifySchemaCompiler<FastifySchema>)(route)
