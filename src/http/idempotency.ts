// A POST that is safe to send again (draft-ietf-httpapi-idempotency-key-header): its answer is stored in the transaction that it made.
import { hash } from 'node:crypto'
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { and, eq } from 'drizzle-orm'
import type { FastifyRequest } from 'fastify'
import type { Database, Queries } from '../../drizzle/database.ts'
import { memoize } from '../../drizzle/memoize.ts'
import { pruneOld } from '../../drizzle/prune.ts'
import { Problem } from '../errors.ts'
import { withRetry } from '../records/transaction.ts'
import { createSerialiser } from '../serialise.ts'

/** Milliseconds for which an answer is kept. */
export const RESPONSE_RETENTION = 24 * 3_600_000

/** What a POST is answered with. */
export interface PostResponse {
  status: number
  headers: Record<string, string>
  body: Record<string, unknown>
  /** Members that are secret: they are answered once, and not stored. */
  secret?: readonly string[]
}

/** Who asks, by which key, and for what. */
export interface IdempotentRequest {
  caller: number
  key: string
  fingerprint: string
}

/** Characters of a key. */
export const MAX_KEY_LENGTH = 255

/** A string of RFC 9651, as the draft has it; many clients send it without quotes. */
const QUOTED = /^"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])+)"$/
const PLAIN = /^[\w.:~+/=@-]+$/

/** Throws `malformed-request`. */
export function readIdempotencyKey(header: string): string {
  const [, quoted] = QUOTED.exec(header) ?? []
  const key = quoted?.replace(/\\(.)/g, '$1') ?? (PLAIN.test(header) ? header : '')
  if (key === '' || key.length > MAX_KEY_LENGTH)
    throw new Problem(
      'malformed-request',
      `Idempotency-Key is a text in quotes, such as "8e03978e-40d5-43dd-bc93-6894a57f9324", of at most ${MAX_KEY_LENGTH} characters.`,
    )
  return key
}

/** Throws `malformed-request` for a request whose key is not read: its sender would take a retry to be safe. */
export function rejectIdempotencyKey({ headers, method }: Pick<FastifyRequest, 'headers' | 'method'>): void {
  if (headers['idempotency-key'] === undefined) return
  const detail =
    method === 'POST'
      ? '`Idempotency-Key` is not read here. Send the request without it.'
      : '`Idempotency-Key` is only read on POST. Use `If-Match` to make a PATCH, PUT or DELETE safe to retry.'
  throw new Problem('malformed-request', detail)
}

/** Of the request: the same for the same bytes. */
export const computeFingerprint = (method: string, path: string, body: Uint8Array | null): string =>
  hash('sha256', Buffer.concat([Buffer.from(`${method} ${path} `), body ?? Buffer.alloc(0)]))

/** Characters of a body from which on it is stored compressed: the problems of a bulk request differ in a few characters only. */
const COMPRESSED_FROM = 2_048
/** Marks a compressed body. Others are JSON objects, which begin with a brace. */
const DEFLATED = 'deflated:'

function packBody(body: Record<string, unknown>): string {
  const json = JSON.stringify(body)
  return json.length < COMPRESSED_FROM ? json : DEFLATED + deflateRawSync(json).toString('base64')
}

function unpackBody(stored: string): Record<string, unknown> {
  const json = stored.startsWith(DEFLATED) ? inflateRawSync(Buffer.from(stored.slice(DEFLATED.length), 'base64')).toString() : stored
  return JSON.parse(json)
}

/** Serialises requests with the same key in this process: each finds the response of the one before it. */
const getSerialiser = memoize((_db: Database) => createSerialiser())

/**
 * Runs `work` in a transaction and stores its answer there, or gives the answer that is stored. One that throws stores nothing and
 * has done nothing. Without an attempt it is just a transaction. Throws `idempotency-key-reused` where the key was used for something
 * else, `idempotency-key-in-use` where another instance is about it, and what `work` throws.
 */
export async function runIdempotent(
  db: Database,
  attempt: IdempotentRequest | undefined,
  work: (tx: Queries, progress?: Progress) => Promise<PostResponse>,
): Promise<PostResponse & { replayed?: true }> {
  if (!attempt) return withRetry(db, () => db.write((tx) => work(tx)))
  return getSerialiser(db)(`${attempt.caller} ${attempt.key}`, () =>
    withRetry(db, () => db.write((tx) => runOrReplay(tx, db, attempt, work))),
  )
}

async function runOrReplay(
  tx: Queries,
  db: Database,
  attempt: IdempotentRequest,
  work: (tx: Queries, progress?: Progress) => Promise<PostResponse>,
): Promise<PostResponse & { replayed?: true }> {
  const { caller, key, fingerprint } = attempt
  const { idempotency_keys: table } = db.tables
  if (!(await db.dialect.tryLock(tx, `${caller} ${key}`)))
    throw new Problem('idempotency-key-in-use', 'A request with this Idempotency-Key is under way. Try again.', {
      headers: { 'retry-after': '1' },
    })
  const same = and(eq(table.caller, caller), eq(table.key, key))
  const [known] = await tx.select().from(table).where(same)
  let progress: Progress | undefined
  if (known && Date.parse(known.at) > Date.now() - RESPONSE_RETENTION) {
    if (known.fingerprint !== fingerprint)
      throw new Problem(
        'idempotency-key-reused',
        'This Idempotency-Key was used for a request with another URL or body. Make a new one for each request.',
      )
    if (known.status === UNFINISHED) progress = unpackBody(known.body)
    else return { status: known.status, headers: JSON.parse(known.headers), body: unpackBody(known.body), replayed: true }
  }
  if (known) await tx.delete(table).where(same)
  const answer = await work(tx, progress)
  const { status, headers, body, secret = [] } = answer
  const shown = { ...body, ...Object.fromEntries(secret.map((member) => [member, null])), ...(secret.length > 0 && { withheld: secret }) }
  await tx.insert(table).values({
    ...attempt,
    status,
    headers: JSON.stringify(headers),
    body: packBody(shown),
    at: new Date().toISOString(),
  })
  return answer
}

/** What earlier steps of a request have done. */
type Progress = Record<string, unknown>

/** The status that stands for the progress of a request, in place of its answer. */
const UNFINISHED = 0

export const continueFrom = (progress: Progress): PostResponse => ({ status: UNFINISHED, headers: {}, body: progress })

/**
 * Runs `step` in one transaction after the other, each with what the one before has returned as `unfinished`, until it returns an answer.
 * Others write in between. With an attempt, progress is stored in the transaction that makes it: a request that was cut off and is sent
 * again goes on from there.
 */
export async function runIdempotentSteps(
  db: Database,
  attempt: IdempotentRequest | undefined,
  step: (tx: Queries, progress?: Progress) => Promise<PostResponse>,
): Promise<PostResponse & { replayed?: true }> {
  for (let progress: Progress | undefined; ; ) {
    const before = progress
    const answer = await runIdempotent(db, attempt, (tx, stored) => step(tx, stored ?? before))
    if (answer.status !== UNFINISHED) return answer
    progress = answer.body
  }
}

/** Deletes answers that were stored before a time, as `pruneOld` does. */
export const pruneResponses = (db: Database, before: Date, signal?: AbortSignal): Promise<number> =>
  pruneOld(db, 'idempotency_keys', before, signal)
