// Responses to GET: from the cache or rendered, in a coding that the client accepts, or 304 if the client has it already.
import { Readable } from 'node:stream'
import { negotiate } from '@fastify/accept-negotiator'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { withDeadline } from '../../drizzle/deadline.ts'
import { Memory } from '../../drizzle/memory.ts'
import type { CacheQuery, CacheResult, Rendered, Source } from '../cache/response-cache.ts'
import { type CacheEntry, type Coding, getRemainingTtl } from '../cache/store.ts'
import { CODING_SUFFIX, findMatchingTag, isNotModified, quoteTag, readPreconditions, type Validators } from './preconditions.ts'

/** A look-up of a response in the cache. */
export interface ResponseQuery extends CacheQuery {
  /** First part of the entity tag, if the state of the tables is the rest: such a tag can be compared before anything is read. */
  tag?: string
}

/** Bytes up to which a response is not compressed. */
const SMALL = 1_024

const CODINGS = ['br', 'gzip', 'identity']
/** Negotiated codings by the value of `Accept-Encoding`. */
const negotiatedCodings = new Memory<Coding | 'identity'>()

/** Appends the state of the tables to the first part of a tag. */
export const appendState = (tag: string, state: string): string => `${tag}.${state}`

type Sending = FastifyReply | Promise<FastifyReply>

/**
 * Sends the cached response, or the one that `render` renders. An entry in this process is sent synchronously. Throws
 * `precondition-failed`, errors of `render`, and QueryTooExpensive if the state of the tables is not known by `deadline`.
 */
export function sendCached(
  request: FastifyRequest,
  reply: FastifyReply,
  query: ResponseQuery,
  render: () => Promise<Rendered>,
  deadline?: number,
): Sending {
  const state = request.server.responseCache.readState(query.tables)
  if (typeof state === 'string') return sendAtState(state, request, reply, query, render)
  const inTime = deadline === undefined ? state : withDeadline(deadline, state)
  return inTime.then((state) => sendAtState(state, request, reply, query, render))
}

function sendAtState(
  state: string,
  request: FastifyRequest,
  reply: FastifyReply,
  query: ResponseQuery,
  render: () => Promise<Rendered>,
): Sending {
  const { responseCache } = request.server
  if (query.tag !== undefined && request.headers['if-none-match'] !== undefined) {
    const tag = appendState(query.tag, state)
    const match = findMatchingTag(request.headers, tag)
    if (match !== undefined) {
      reply.header('cache-status', 'stockroom; hit; detail=not-modified')
      return sendNotModified(request, reply, match)
    }
  }
  const entry = responseCache.getFresh(query, state)
  if (entry) return sendEntry(request, reply, query.key, { entry, source: 'hit' })
  return responseCache.getOrRender(query, state, render).then((result) => sendEntry(request, reply, query.key, result))
}

/** Sends the response in a cache entry, or 304. Throws `precondition-failed`. */
export function sendEntry(request: FastifyRequest, reply: FastifyReply, key: string, { entry, source }: CacheResult): Sending {
  const { headers, tag } = entry
  const conditions = readPreconditions(request.headers)
  const isUnchanged = conditions !== undefined && isNotModified(conditions, readValidators(entry))
  const now = Date.now()
  reply.header('cache-status', source === 'hit' ? `stockroom; hit; ttl=${toSeconds(getRemainingTtl(entry, now))}` : CACHE_STATUS[source])
  const coding = entry.body.length > SMALL ? negotiateCoding(request) : undefined
  const codedTag = coding ? tag + CODING_SUFFIX[coding] : tag
  if (isUnchanged) return sendNotModified(request, reply, findMatchingTag(request.headers, tag) ?? codedTag, headers['last-modified'])
  if (source === 'hit') reply.header('age', toSeconds(now - entry.stored))
  addFreshness(request, reply)
  reply.headers(headers).header('content-type', 'application/json; charset=utf-8')
  reply.header('etag', quoteTag(codedTag))
  if (coding === undefined) return reply.send(entry.body)
  reply.header('content-encoding', coding)
  const body = entry.encoded?.[coding]
  return body ? reply.send(body) : request.server.responseCache.encodeBody(key, entry, coding).then((body) => reply.send(body))
}

/** Sends a 304 with the headers that the 200 would have (RFC 9110, section 15.4.5). `tag` is the tag that the client has. */
function sendNotModified(request: FastifyRequest, reply: FastifyReply, tag: string, modified?: string): FastifyReply {
  addFreshness(request, reply)
  reply.header('etag', quoteTag(tag))
  if (modified !== undefined) reply.header('last-modified', modified)
  // Without a stream, Fastify's HEAD route would send `Content-Length: 0`, which is not the length of the GET response (section 8.6).
  return reply.code(304).send(request.method === 'HEAD' ? Readable.from([]) : undefined)
}

function addFreshness(request: FastifyRequest, reply: FastifyReply): void {
  const { shared, own, vary } = request.server.freshness
  const earlierVary = reply.getHeader('vary')
  reply.header('cache-control', request.key ? own : shared)
  reply.header('vary', earlierVary === undefined ? vary : `${earlierVary}, ${vary}`)
}

/** Returns the coding to send a response in; undefined for none. */
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

/** Values of `Cache-Status` (RFC 9211). */
const CACHE_STATUS: Record<Exclude<Source, 'hit'>, string> = {
  stored: 'stockroom; fwd=miss; stored',
  collapsed: 'stockroom; fwd=miss; collapsed',
  miss: 'stockroom; fwd=miss',
  bypass: 'stockroom; fwd=bypass',
}
