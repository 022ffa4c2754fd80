// The operations of a resource as routes. Files under routes/ add them.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest, RawServerDefault } from 'fastify'
import type { Queries } from '../../drizzle/database.ts'
import type { Rendered } from '../cache/response-cache.ts'
import type { Actor } from '../changelog/record.ts'
import { type Fault, Problem } from '../errors.ts'
import { describeCreate, describeList, describeMerge, describeRead, describeRemove, describeReplace } from '../openapi/operations.ts'
import { compileQuery, listRecords, readRecordWithState } from '../query/list.ts'
import { buildPageResponse } from '../query/page.ts'
import type { ListQuery } from '../query/params.ts'
import type { Body, Resource } from '../query/resource.ts'
import type { Row } from '../query/rows.ts'
import { buildWriteContext, transact } from '../records/transaction.ts'
import {
  createRecord,
  findFurtherFaults,
  findRow,
  mergeRecord,
  type Precondition,
  removeRecord,
  replaceRecord,
  type WriteMode,
} from '../records/write.ts'
import type { Access } from '../roles.ts'
import { appendState, type ResponseQuery, sendCached } from './cached-response.ts'
import { computeRecordTag, computeSchemaDigest, computeValidators, digest, formatHttpDate } from './etags.ts'
import { computeFingerprint, type IdempotentRequest, type PostResponse, readIdempotencyKey, runIdempotent } from './idempotency.ts'
import { checkUnchanged, type Preconditions, quoteTag, readPreconditions } from './preconditions.ts'

export type App = FastifyInstance<RawServerDefault, IncomingMessage, ServerResponse, FastifyBaseLogger, TypeBoxTypeProvider>

/** Builds the absolute URL of a resource's list. */
export const buildListUrl = ({ origin }: FastifyRequest, { table }: Resource): string => `${origin}/api/${table}/`

/** Reads the author of a change: the API key and the id of the request. */
export const readActor = ({ key, id }: FastifyRequest): Actor => ({ key: key?.id ?? null, request: id })

/** Reads the precondition for changing a record. Throws `malformed-request` for an unreadable If-Match. */
export function preconditionFor({ headers, method, server: { config } }: FastifyRequest): Precondition {
  const isRequired = config.REQUIRE_IF_MATCH && method !== 'POST'
  return createPrecondition(readPreconditions(headers), isRequired)
}

/**
 * Creates the precondition that a record must meet. It throws `precondition-failed` if the record does not meet it, and
 * `precondition-required` if If-Match is required and missing.
 */
export const createPrecondition =
  (conditions: Preconditions | undefined, isRequired: boolean): Precondition =>
  (current) => {
    if (isRequired && conditions?.match === undefined)
      throw new Problem('precondition-required', 'If-Match is required. Send the ETag that you read with the record.')
    if (conditions) checkUnchanged(conditions, computeValidators(current))
  }

/**
 * Handles a POST: runs `work` in a transaction, once for each Idempotency-Key, and sends its response. `committed` runs after the commit and
 * before the response is sent.
 */
export async function handlePost(
  request: FastifyRequest,
  reply: FastifyReply,
  work: (tx: Queries) => Promise<PostResponse>,
  committed?: () => void,
): Promise<FastifyReply> {
  const response = await runIdempotent(request.server.db, readIdempotentRequest(request), work)
  committed?.()
  return sendPost(reply, response)
}

export function sendPost(reply: FastifyReply, { status, headers, body, replayed }: PostResponse & { replayed?: true }): FastifyReply {
  if (replayed) reply.header('idempotency-replayed', 'true')
  return reply.code(status).headers(headers).send(body)
}

/** Reads the Idempotency-Key; undefined without one. Throws `malformed-request`, and `key-required` without an API key. */
export function readIdempotentRequest({ headers, key, method, url, bytes }: FastifyRequest): IdempotentRequest | undefined {
  const header = headers['idempotency-key']
  if (header === undefined) return undefined
  const idempotencyKey = readIdempotencyKey(String(header))
  // Clients without an API key cannot be told apart, so one could receive the stored response of another.
  if (!key) throw new Problem('key-required', '`Idempotency-Key` requires an API key.')
  return { caller: key.id, key: idempotencyKey, fingerprint: computeFingerprint(method, url.replace(/\/?(?:\?.*)?$/, ''), bytes) }
}

/** Builds the headers that identify the state of a record. */
export const buildStateHeaders = (record: Row) => ({
  etag: quoteTag(computeRecordTag(record)),
  'last-modified': formatHttpDate(record.updated_at),
})

/** Builds the response to the creation of a record. */
export const buildCreatedResponse = (request: FastifyRequest, resource: Resource, record: Row): PostResponse => ({
  status: 201,
  headers: { location: `${buildListUrl(request, resource)}${record.id}/`, ...buildStateHeaders(record) },
  body: record,
})

/** A list request prepared for one origin. Equal query strings yield the same ListQuery object, so each is prepared once. */
interface CompiledList {
  origin: string
  cacheQuery: ResponseQuery
  render(deadline: number): Promise<Rendered>
}

export function addListRoute(app: App, resource: Resource): void {
  const { COUNT_LIMIT: countLimit, QUERY_TIMEOUT } = app.config
  const shape = computeSchemaDigest(resource)
  const compiled = new WeakMap<ListQuery, CompiledList>()
  const compileList = (request: FastifyRequest, query: ListQuery): CompiledList => {
    const { link, tables } = compileQuery(app.db, resource, query)
    const url = buildListUrl(request, resource)
    const key = `${shape} ${countLimit} ${url}?${link}`
    // First part of the entity tag. The state of the tables is appended.
    const tag = digest(key)
    const render = async (deadline: number) => {
      const page = await listRecords(app.db, resource, query, { countLimit, deadline })
      const { body, headers } = buildPageResponse(url, page)
      // A count that stopped at its limit can differ between two reads of the same state.
      const countSuffix = page.exact ? '' : `.~${page.count}`
      return { state: page.state, tag: appendState(tag, page.state) + countSuffix, headers, body }
    }
    return { origin: request.origin, cacheQuery: { key, tables, tag }, render }
  }
  app.get('/', { schema: describeList(resource), config: { access: resource.access.read } }, (request, reply) => {
    const { query } = request
    let prepared = compiled.get(query)
    // Nearly all requests have the same origin.
    if (prepared?.origin !== request.origin) {
      prepared = compileList(request, query)
      compiled.set(query, prepared)
    }
    const { cacheQuery, render } = prepared
    // The time limit starts at the arrival of the request.
    const deadline = performance.now() - reply.elapsedTime + QUERY_TIMEOUT * 1_000
    return sendCached(request, reply, cacheQuery, () => render(deadline), deadline)
  })
}

/** Throws `malformed-request` for an If-Match on a request that changes no single record. Ignoring it could lose an update. */
export function rejectConditions({ headers }: FastifyRequest): void {
  if (headers['if-match'] !== undefined)
    throw new Problem(
      'malformed-request',
      'If-Match does not apply to this URL. Send the request without it; in bulk requests, use `if_match` of an operation.',
    )
}

/** Finds faults that need the database, besides the schema faults in the members `faulty`, so that one response lists all faults. */
export type FindFaults = (request: FastifyRequest, faulty: ReadonlySet<string>) => Promise<readonly Fault[]>

declare module 'fastify' {
  interface FastifyContextConfig {
    findFaults?: FindFaults
  }
}

/** Builds the configuration of a route that writes a record. */
const buildWriteConfig = (resource: Resource, mode: WriteMode): { access: Access; findFaults: FindFaults } => ({
  access: resource.access.write,
  async findFaults({ server: { db }, params, body }, faulty) {
    const context = buildWriteContext(db.read, db, resource)
    const current = mode === 'create' ? undefined : await findRow(context, (params as { id: number }).id)
    return findFurtherFaults(context, mode, body as Body, faulty, current)
  },
})

export function addCreateRoute(app: App, resource: Resource): void {
  app.post('/', { schema: describeCreate(resource), config: buildWriteConfig(resource, 'create') }, (request, reply) => {
    rejectConditions(request)
    return handlePost(request, reply, async (tx) =>
      buildCreatedResponse(
        request,
        resource,
        await createRecord(buildWriteContext(tx, app.db, resource), request.body, readActor(request)),
      ),
    )
  })
}

/** Renders a record for the cache. Throws `not-found`. */
export async function renderRecord(app: FastifyInstance, resource: Resource, id: number): Promise<Rendered> {
  const { row, state } = await readRecordWithState(app.db, resource, id)
  const body = JSON.stringify(row)
  return { state, tag: computeRecordTag(row, body), headers: { 'last-modified': formatHttpDate(row.updated_at) }, body }
}

export function addReadRoute(app: App, resource: Resource): void {
  const tables = [resource.table]
  const shape = `${resource.table} ${computeSchemaDigest(resource)}`
  app.get('/', { schema: describeRead(resource), config: { access: resource.access.read } }, (request, reply) => {
    const { id } = request.params
    return sendCached(request, reply, { key: `${shape} ${id}`, tables }, () => renderRecord(app, resource, id))
  })
}

export function addReplaceRoute(app: App, resource: Resource): void {
  // The response has no ETag: the stored record differs from the body that was sent (RFC 9110, section 9.3.4).
  app.put('/', { schema: describeReplace(resource), config: buildWriteConfig(resource, 'replace') }, (request) => {
    const precondition = preconditionFor(request)
    return transact(app.db, resource, (context) =>
      replaceRecord(context, request.params.id, request.body, readActor(request), precondition),
    )
  })
}

export function addMergeRoute(app: App, resource: Resource): void {
  app.patch('/', { schema: describeMerge(resource), config: buildWriteConfig(resource, 'merge') }, async (request, reply) => {
    const precondition = preconditionFor(request)
    const record = await transact(app.db, resource, (context) =>
      mergeRecord(context, request.params.id, request.body, readActor(request), precondition),
    )
    return reply.headers(buildStateHeaders(record)).send(record)
  })
}

export function addRemoveRoute(app: App, resource: Resource): void {
  app.delete(
    '/',
    { schema: describeRemove(resource, app.resources), config: { access: resource.access.write } },
    async (request, reply) => {
      const precondition = preconditionFor(request)
      await transact(app.db, resource, (context) =>
        removeRecord(context, request.params.id, app.resources, readActor(request), precondition),
      )
      return reply.code(204).send()
    },
  )
}
