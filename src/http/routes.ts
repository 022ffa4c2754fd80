// The operations of a resource as routes. A file under routes/ says which of them its URL has.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest, RawServerDefault } from 'fastify'
import type { Queries } from '../../drizzle/database.ts'
import type { Rendered } from '../cache/answers.ts'
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

/** The absolute URL of a resource's list: PUBLIC_URL's, or where the client found it. */
export const buildListUrl = ({ origin }: FastifyRequest, { table }: Resource): string => `${origin}/api/${table}/`

/** Who writes. */
export const readActor = ({ key, id }: FastifyRequest): Actor => ({ key: key?.id ?? null, request: id })

/** How a client that changes a record has to know it. Throws `malformed-request` for an If-Match that cannot be read. */
export function preconditionFor({ headers, method, server: { config } }: FastifyRequest): Precondition {
  const needed = config.REQUIRE_IF_MATCH && method !== 'POST'
  return createPrecondition(readPreconditions(headers), needed)
}

/** Throws `precondition-required` where a condition is needed and there is none, and `precondition-failed`. */
export const createPrecondition =
  (conditions: Preconditions | undefined, needed: boolean): Precondition =>
  (current) => {
    if (needed && conditions?.match === undefined)
      throw new Problem(
        'precondition-required',
        'Say by If-Match, with the ETag that the record was read with, which state of it you mean to change.',
      )
    if (conditions) checkUnchanged(conditions, computeValidators(current))
  }

/** The answer of a POST, from a transaction that is made once for each Idempotency-Key. `committed` runs before anybody is told. */
export async function handlePost(
  request: FastifyRequest,
  reply: FastifyReply,
  work: (tx: Queries) => Promise<PostResponse>,
  committed?: () => void,
): Promise<FastifyReply> {
  const answer = await runIdempotent(request.server.db, readIdempotentRequest(request), work)
  committed?.()
  return sendPost(reply, answer)
}

export function sendPost(reply: FastifyReply, { status, headers, body, replayed }: PostResponse & { replayed?: true }): FastifyReply {
  if (replayed) reply.header('idempotency-replayed', 'true')
  return reply.code(status).headers(headers).send(body)
}

export function readIdempotentRequest({ headers, key, method, url, bytes }: FastifyRequest): IdempotentRequest | undefined {
  const given = headers['idempotency-key']
  if (given === undefined) return undefined
  const idempotencyKey = readIdempotencyKey(String(given))
  // Of those without a key nobody can be told from another.
  if (!key) throw new Problem('key-required', 'An Idempotency-Key is remembered for who has an API key.')
  return { caller: key.id, key: idempotencyKey, fingerprint: computeFingerprint(method, url.replace(/\/?(?:\?.*)?$/, ''), bytes) }
}

/** What tells the client which state of a record it has. */
export const buildStateHeaders = (record: Row) => ({
  etag: quoteTag(computeRecordTag(record)),
  'last-modified': formatHttpDate(record.updated_at),
})

/** A record that was made. */
export const buildCreatedResponse = (request: FastifyRequest, resource: Resource, record: Row): PostResponse => ({
  status: 201,
  headers: { location: `${buildListUrl(request, resource)}${record.id}/`, ...buildStateHeaders(record) },
  body: record,
})

/** What a query comes to for clients of one origin. A query that is asked again is the same object, so nothing of it is done twice. */
interface CompiledList {
  origin: string
  cacheQuery: ResponseQuery
  read(deadline: number): Promise<Rendered>
}

export function addListRoute(app: App, resource: Resource): void {
  const { COUNT_LIMIT: countLimit, QUERY_TIMEOUT } = app.config
  const form = computeSchemaDigest(resource)
  const compiled = new WeakMap<ListQuery, CompiledList>()
  const compileList = (request: FastifyRequest, query: ListQuery): CompiledList => {
    const { link, tables } = compileQuery(app.db, resource, query)
    const url = buildListUrl(request, resource)
    const key = `${form} ${countLimit} ${url}?${link}`
    // The state of the tables follows it.
    const tag = digest(key)
    const read = async (deadline: number) => {
      const page = await listRecords(app.db, resource, query, { countLimit, deadline })
      const { body, headers } = buildPageResponse(url, page)
      // How far a count came before it was given up is another time another.
      const counted = page.exact ? '' : `.~${page.count}`
      return { state: page.state, tag: appendState(tag, page.state) + counted, headers, body }
    }
    return { origin: request.origin, cacheQuery: { key, tables, tag }, read }
  }
  app.get('/', { schema: describeList(resource), config: { access: resource.access.read } }, (request, reply) => {
    const { query } = request
    let asked = compiled.get(query)
    // Nearly all requests come to the same origin.
    if (asked?.origin !== request.origin) {
      asked = compileList(request, query)
      compiled.set(query, asked)
    }
    const { cacheQuery: question, read } = asked
    // It runs from the arrival of the request.
    const deadline = performance.now() - reply.elapsedTime + QUERY_TIMEOUT * 1_000
    return sendCached(request, reply, question, () => read(deadline), deadline)
  })
}

/** Where records are only made, there is none that a condition could be about: to pass it over would be to do what was not meant. */
export function rejectConditions({ headers }: FastifyRequest): void {
  if (headers['if-match'] !== undefined)
    throw new Problem(
      'malformed-request',
      'If-Match is about one record: here it has none. In bulk each operation has an if_match of its own.',
    )
}

/** Finds the faults of a body that only the database can tell, where it has others, in the members `faulty`: one answer names all. */
export type FindFaults = (request: FastifyRequest, faulty: ReadonlySet<string>) => Promise<readonly Fault[]>

declare module 'fastify' {
  interface FastifyContextConfig {
    findFaults?: FindFaults
  }
}

/** The configuration of a route that writes a record. */
export const buildWriteConfig = (resource: Resource, mode: WriteMode): { access: Access; findFaults: FindFaults } => ({
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

/** A record as it is kept. */
export async function renderRecord(app: FastifyInstance, resource: Resource, id: number): Promise<Rendered> {
  const { row, state } = await readRecordWithState(app.db, resource, id)
  const body = JSON.stringify(row)
  return { state, tag: computeRecordTag(row, body), headers: { 'last-modified': formatHttpDate(row.updated_at) }, body }
}

export function addReadRoute(app: App, resource: Resource): void {
  const tables = [resource.table]
  // Two resources never have the same: it has their fields.
  const form = `${resource.table} ${computeSchemaDigest(resource)}`
  app.get('/', { schema: describeRead(resource), config: { access: resource.access.read } }, (request, reply) => {
    const { id } = request.params
    return sendCached(request, reply, { key: `${form} ${id}`, tables }, () => renderRecord(app, resource, id))
  })
}

export function addReplaceRoute(app: App, resource: Resource): void {
  // Its answer has no ETag: the record is not what was sent, but what was made of it (RFC 9110, section 9.3.4).
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
