// How a GET is answered: from what is kept, in the coding that the client takes, or by 304 where the client has it already.
import { Readable } from 'node:stream'
import { negotiate } from '@fastify/accept-negotiator'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { withDeadline } from '../../drizzle/deadline.ts'
import { Memory } from '../../drizzle/memory.ts'
import type { CacheQuery, CacheResult, Rendered, Source } from '../cache/answers.ts'
import { type CacheEntry, type Coding, getRemainingTtl } from '../cache/store.ts'
import { CODING_SUFFIX, findMatchingTag, isNotModified, quoteTag, readPreconditions, type Validators } from './preconditions.ts'

/** What is asked for. Where the tag follows from the state of the tables, it stands before that: nothing has to be read to compare it. */
export interface ResponseQuery extends CacheQuery {
  tag?: string
}

/** Bytes up to which compressing an answer is not worth its while. */
const SMALL = 1_024

const CODINGS = ['br', 'gzip', 'identity']
/** By Accept-Encoding. */
const negotiatedCodings = new Memory<Coding | 'identity'>()

/** The state behind a tag that follows from it. */
export const appendState = (tag: string, state: string): string => `${tag}.${state}`

type Sending = FastifyReply | Promise<FastifyReply>

/**
 * Answers with what is kept, or with what `read` reads. What is ready is answered at once, without a promise. Throws
 * `precondition-failed`, and what `read` throws. With a `deadline`, throws QueryTooExpensive where the state is not known by then.
 */
export function sendCached(
  request: FastifyRequest,
  reply: FastifyReply,
  question: ResponseQuery,
  read: () => Promise<Rendered>,
  deadline?: number,
): Sending {
  const state = request.server.responseCache.state(question.tables)
  if (typeof state === 'string') return sendAtState(state, request, reply, question, read)
  const known = deadline === undefined ? state : withDeadline(deadline, state)
  return known.then((state) => sendAtState(state, request, reply, question, read))
}

function sendAtState(
  state: string,
  request: FastifyRequest,
  reply: FastifyReply,
  question: ResponseQuery,
  read: () => Promise<Rendered>,
): Sending {
  const { responseCache: answers } = request.server
  if (question.tag !== undefined && request.headers['if-none-match'] !== undefined) {
    const tag = appendState(question.tag, state)
    const had = findMatchingTag(request.headers, tag)
    if (had !== undefined) {
      reply.header('cache-status', 'stockroom; hit; detail=not-modified')
      return sendNotModified(request, reply, had)
    }
  }
  const kept = answers.getFresh(question, state)
  if (kept) return sendEntry(request, reply, question.key, { entry: kept, source: 'hit' })
  return answers.getOrRender(question, state, read).then((answered) => sendEntry(request, reply, question.key, answered))
}

/** Answers with what was found under a key. Throws `precondition-failed`. */
export function sendEntry(request: FastifyRequest, reply: FastifyReply, key: string, { entry: kept, source }: CacheResult): Sending {
  const { headers, tag } = kept
  const conditions = readPreconditions(request.headers)
  const isKnown = conditions !== undefined && isNotModified(conditions, readValidators(kept))
  const now = Date.now()
  reply.header('cache-status', source === 'hit' ? `stockroom; hit; ttl=${toSeconds(getRemainingTtl(kept, now))}` : CACHE_STATUS[source])
  const coding = kept.body.length > SMALL ? negotiateCoding(request) : undefined
  const coded = coding ? tag + CODING_SUFFIX[coding] : tag
  if (isKnown) return sendNotModified(request, reply, findMatchingTag(request.headers, tag) ?? coded, headers['last-modified'])
  if (source === 'hit') reply.header('age', toSeconds(now - kept.stored))
  addFreshness(request, reply)
  reply.headers(headers).header('content-type', 'application/json; charset=utf-8')
  reply.header('etag', quoteTag(coded))
  if (coding === undefined) return reply.send(kept.body)
  reply.header('content-encoding', coding)
  const body = kept.encoded?.[coding]
  return body ? reply.send(body) : request.server.responseCache.encodeBody(key, kept, coding).then((body) => reply.send(body))
}

/** The headers that a 304 has of the 200 in whose place it stands (RFC 9110, section 15.4.5). `tag` is that of what the client has. */
function sendNotModified(request: FastifyRequest, reply: FastifyReply, tag: string, modified?: string): FastifyReply {
  addFreshness(request, reply)
  reply.header('etag', quoteTag(tag))
  if (modified !== undefined) reply.header('last-modified', modified)
  // Of nothing, the route of HEAD would say that it has no bytes: that is the length of what a GET is answered with (section 8.6).
  return reply.code(304).send(request.method === 'HEAD' ? Readable.from([]) : undefined)
}

function addFreshness(request: FastifyRequest, reply: FastifyReply): void {
  const { shared, own, vary } = request.server.freshness
  const others = reply.getHeader('vary')
  reply.header('cache-control', request.key ? own : shared)
  reply.header('vary', others === undefined ? vary : `${others}, ${vary}`)
}

/** Undefined where the bytes are sent as they are. */
export function negotiateCoding({ headers }: FastifyRequest): Coding | undefined {
  const accepted = headers['accept-encoding']
  if (accepted === undefined) return undefined
  let coding = negotiatedCodings.get(accepted as string)
  if (coding === undefined) {
    coding = (negotiate(accepted as string, CODINGS) ?? 'identity') as Coding | 'identity'
    negotiatedCodings.set(accepted as string, coding)
  }
  return coding === 'identity' ? undefined : coding
}

function readValidators({ tag, headers: { 'last-modified': modified } }: CacheEntry): Validators {
  return { tag, ...(modified !== undefined && { modified: new Date(modified) }) }
}

const toSeconds = (milliseconds: number) => String(Math.max(0, Math.floor(milliseconds / 1_000)))

/** RFC 9211. */
const CACHE_STATUS: Record<Exclude<Source, 'hit'>, string> = {
  stored: 'stockroom; fwd=miss; stored',
  collapsed: 'stockroom; fwd=miss; collapsed',
  miss: 'stockroom; fwd=miss',
  bypass: 'stockroom; fwd=bypass',
}
