// POST requests that are safe to retry (draft-ietf-httpapi-idempotency-key-header). The response is stored in the request's own transaction.
import { hash } from 'node:crypto'
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { and, eq } from 'drizzle-orm'
import type { FastifyRequest } from 'fastify'
import type { Database, Queries } from '../../drizzle/database.ts'
import { memoize } from '../../drizzle/memoize.ts'
import { pruneOld } from '../../drizzle/prune.ts'
import { createSerialiser } from '../../drizzle/serialise.ts'
import { Problem } from '../errors.ts'
import { withRetry } from '../records/transaction.ts'

/** Milliseconds for which responses are stored. */
export const RESPONSE_RETENTION = 24 * 3_600_000

/** The response to a POST. */
export interface PostResponse {
  status: number
  headers: Record<string, string>
  body: Record<string, unknown>
  /** Names of secret members. They are sent once and never stored. */
  secret?: readonly string[]
}

/** A request with an Idempotency-Key. */
export interface IdempotentRequest {
  /** Id of the API key. */
  caller: number
  /** The Idempotency-Key. */
  key: string
  /** Hash of method, path and body. */
  fingerprint: string
}

/** Maximum characters of an Idempotency-Key. */
const MAX_KEY_LENGTH = 255

/** A string of RFC 9651, as the draft requires. Many clients send the key without quotes. */
const QUOTED = /^"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])+)"$/
const PLAIN = /^[\w.:~+/=@-]+$/

/** Parses the header to a key. Throws `malformed-request`. */
export function readIdempotencyKey(header: string): string {
  const [, quoted] = QUOTED.exec(header) ?? []
  const key = quoted?.replace(/\\(.)/g, '$1') ?? (PLAIN.test(header) ? header : '')
  if (key === '' || key.length > MAX_KEY_LENGTH)
    throw new Problem(
      'malformed-request',
      `Idempotency-Key must be a quoted string of at most ${MAX_KEY_LENGTH} characters, such as "8e03978e-40d5-43dd-bc93-6894a57f9324".`,
    )
  return key
}

/** Throws `malformed-request` for an Idempotency-Key that has no effect. Ignoring it would let the client take a retry for safe. */
export function rejectIdempotencyKey({ headers, method }: Pick<FastifyRequest, 'headers' | 'method'>): void {
  if (headers['idempotency-key'] === undefined) return
  const detail =
    method === 'POST'
      ? '`Idempotency-Key` has no effect on this URL. Send the request without it.'
      : '`Idempotency-Key` only applies to POST. Use `If-Match` to make a PATCH, PUT or DELETE safe to retry.'
  throw new Problem('malformed-request', detail)
}

/** Computes the fingerprint of a request: equal for equal bytes. */
export const computeFingerprint = (method: string, path: string, body: Uint8Array | null): string =>
  hash('sha256', Buffer.concat([Buffer.from(`${method} ${path} `), body ?? Buffer.alloc(0)]))

/** Characters of a body from which it is stored compressed. Results of a bulk request are alike and compress well. */
const COMPRESSED_FROM = 2_048
/** Prefix of a compressed body. An uncompressed body is a JSON object, which begins with a brace. */
const DEFLATED = 'deflated:'

function packBody(body: Record<string, unknown>): string {
  const json = JSON.stringify(body)
  return json.length < COMPRESSED_FROM ? json : DEFLATED + deflateRawSync(json).toString('base64')
}

function unpackBody(stored: string): Record<string, unknown> {
  const json = stored.startsWith(DEFLATED) ? inflateRawSync(Buffer.from(stored.slice(DEFLATED.length), 'base64')).toString() : stored
  return JSON.parse(json)
}

/** Serialises requests with the same key in this process, so that each finds the response of the previous one. */
const getSerialiser = memoize((_db: Database) => createSerialiser())

/**
 * Runs `work` in a transaction and stores its response there, or returns the response that is already stored. A failure of `work` rolls
 * back and stores nothing. Without `request` it just runs the transaction. Throws `idempotency-key-reused` if the key was used for another
 * request, `idempotency-key-in-use` while another instance handles it, and errors of `work`.
 */
export async function runIdempotent(
  db: Database,
  request: IdempotentRequest | undefined,
  work: (tx: Queries, progress?: Progress) => Promise<PostResponse>,
): Promise<PostResponse & { replayed?: true }> {
  if (!request) return withRetry(db, () => db.write((tx) => work(tx)))
  return getSerialiser(db)(`${request.caller} ${request.key}`, () =>
    withRetry(db, () => db.write((tx) => runOrReplay(tx, db, request, work))),
  )
}

/** Runs `work`, or returns the stored response of an equal request. */
async function runOrReplay(
  tx: Queries,
  db: Database,
  request: IdempotentRequest,
  work: (tx: Queries, progress?: Progress) => Promise<PostResponse>,
): Promise<PostResponse & { replayed?: true }> {
  const { caller, key, fingerprint } = request
  const { idempotency_keys: table } = db.tables
  if (!(await db.dialect.tryLock(tx, `${caller} ${key}`)))
    throw new Problem('idempotency-key-in-use', 'Another request with this Idempotency-Key is in progress. Retry later.', {
      headers: { 'retry-after': '1' },
    })
  const isSameKey = and(eq(table.caller, caller), eq(table.key, key))
  const [stored] = await tx.select().from(table).where(isSameKey)
  let progress: Progress | undefined
  if (stored && Date.parse(stored.at) > Date.now() - RESPONSE_RETENTION) {
    if (stored.fingerprint !== fingerprint)
      throw new Problem(
        'idempotency-key-reused',
        'This Idempotency-Key was used for a request with another URL or body. Use a new key for each request.',
      )
    if (stored.status === UNFINISHED) progress = unpackBody(stored.body)
    else return { status: stored.status, headers: JSON.parse(stored.headers), body: unpackBody(stored.body), replayed: true }
  }
  if (stored) await tx.delete(table).where(isSameKey)
  const response = await work(tx, progress)
  const { status, headers, body, secret = [] } = response
  const storedBody = {
    ...body,
    ...Object.fromEntries(secret.map((member) => [member, null])),
    ...(secret.length > 0 && { withheld: secret }),
  }
  await tx.insert(table).values({
    ...request,
    status,
    headers: JSON.stringify(headers),
    body: packBody(storedBody),
    at: new Date().toISOString(),
  })
  return response
}

/** Results of the earlier steps of a request. */
type Progress = Record<string, unknown>

/** Status of a stored row that holds the progress of a request instead of its response. */
const UNFINISHED = 0

/** Returns the result of a step that is not the last. */
export const continueFrom = (progress: Progress): PostResponse => ({ status: UNFINISHED, headers: {}, body: progress })

/**
 * Runs `step` in successive transactions until it returns a response. Each step receives the progress that the previous one passed to
 * `continueFrom`. Other writers run in between. Progress is stored in the transaction of its step, so a retry of an interrupted request
 * continues there.
 */
export async function runIdempotentSteps(
  db: Database,
  request: IdempotentRequest | undefined,
  step: (tx: Queries, progress?: Progress) => Promise<PostResponse>,
): Promise<PostResponse & { replayed?: true }> {
  for (let progress: Progress | undefined; ; ) {
    const previous = progress
    const response = await runIdempotent(db, request, (tx, stored) => step(tx, stored ?? previous))
    if (response.status !== UNFINISHED) return response
    progress = response.body
  }
}

/** Deletes responses that were stored before a time, in batches. Returns their number. */
export const pruneResponses = (db: Database, before: Date, signal?: AbortSignal): Promise<number> =>
  pruneOld(db, 'idempotency_keys', before, signal)
