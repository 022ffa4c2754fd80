// How a GET is answered: from what is kept, in the coding that the client takes, or by 304 where the client has it already.
import { negotiate } from '@fastify/accept-negotiator'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { LRUCache } from 'lru-cache'
import type { Answered, Asked, Made, Source } from './cache/answers.ts'
import { type Coding, type Kept, leftOf } from './cache/store.ts'
import { CODING_SUFFIX, hasTag, isNotModified, preconditionsOf, quoted, type Validators } from './preconditions.ts'

/** What is asked for. Where the tag follows from the state of the tables, it stands before that: nothing has to be read to compare it. */
export interface Question extends Asked {
  tag?: string
}

/** Bytes up to which compressing an answer is not worth its while. */
const SMALL = 1_024

/** Spellings of Accept-Encoding remembered. */
const MAX_KNOWN = 200

const CODINGS = ['br', 'gzip', 'identity']
const negotiated = new LRUCache<string, Coding | 'identity'>({ max: MAX_KNOWN })

/** The state behind a tag that follows from it. */
export const tagAt = (tag: string, state: string): string => `${tag}.${state}`

/**
 * Answers with what is kept, or with what `read` reads, whose headers have an `etag` (without quotes). Throws `precondition-failed`,
 * and what `read` throws.
 */
export async function answer(
  request: FastifyRequest,
  reply: FastifyReply,
  question: Question,
  read: () => Promise<Made>,
): Promise<FastifyReply> {
  const { answers } = request.server
  const conditions = preconditionsOf(request.headers)
  const now = answers.state(question.tables)
  const state = typeof now === 'string' ? now : await now
  if (conditions && question.tag !== undefined) {
    const tag = tagAt(question.tag, state)
    if (hasTag(conditions, tag)) {
      reply.header('cache-status', 'stockroom; hit; detail=not-modified')
      return notModified(request, reply, { etag: tag })
    }
  }
  const { kept, source } = await answers.find(question, state, read)
  return answerWith(request, reply, question.key, { kept, source })
}

/** Answers with what was found under a key. Throws `precondition-failed`. */
export async function answerWith(
  request: FastifyRequest,
  reply: FastifyReply,
  key: string,
  { kept, source }: Answered,
): Promise<FastifyReply> {
  const conditions = preconditionsOf(request.headers)
  const isKnown = conditions !== undefined && isNotModified(conditions, validatorsOf(kept))
  reply.header('cache-status', statusOf(source, kept))
  if (isKnown) return notModified(request, reply, kept.headers)
  if (source === 'hit') reply.header('age', ageOf(kept))
  return send(request, reply, key, kept)
}

/** The headers that a 304 has of the 200 in whose place it stands (RFC 9110, section 15.4.5). */
function notModified(request: FastifyRequest, reply: FastifyReply, headers: Kept['headers']): FastifyReply {
  const { etag = '', 'last-modified': modified } = headers
  const coding = codingOf(request)
  addFreshness(request, reply)
  // What the client has in another coding is told by its own tag.
  const given = String(request.headers['if-none-match'] ?? '')
  const tags = [etag, ...Object.values(CODING_SUFFIX).map((suffix) => etag + suffix)].map(quoted)
  const had = tags.filter((tag) => given.includes(tag))
  const current = quoted(etag + (coding ? CODING_SUFFIX[coding] : ''))
  reply.header('etag', had.length === 0 || had.includes(current) ? current : had[0])
  if (modified) reply.header('last-modified', modified)
  return reply.code(304).send()
}

async function send(request: FastifyRequest, reply: FastifyReply, key: string, kept: Kept): Promise<FastifyReply> {
  const coding = kept.body.length > SMALL ? codingOf(request) : undefined
  const { etag = '', ...headers } = kept.headers
  addFreshness(request, reply)
  reply.headers(headers).type('application/json; charset=utf-8')
  if (!coding) return reply.header('etag', quoted(etag)).send(kept.body)
  const body = kept.encoded?.[coding] ?? (await request.server.answers.encoded(key, kept, coding))
  return reply
    .header('content-encoding', coding)
    .header('etag', quoted(etag + CODING_SUFFIX[coding]))
    .send(body)
}

function addFreshness(request: FastifyRequest, reply: FastifyReply): void {
  const { shared, own } = request.server.freshness
  const vary = reply.getHeader('vary')
  reply.header('cache-control', request.key ? own : shared)
  reply.header('vary', vary === undefined ? 'Accept-Encoding' : `${vary}, Accept-Encoding`)
}

/** Undefined where the bytes are sent as they are. */
function codingOf({ headers }: FastifyRequest): Coding | undefined {
  const accepted = headers['accept-encoding']
  if (accepted === undefined) return undefined
  let coding = negotiated.get(accepted as string)
  if (coding === undefined) {
    coding = (negotiate(accepted as string, CODINGS) ?? 'identity') as Coding | 'identity'
    negotiated.set(accepted as string, coding)
  }
  return coding === 'identity' ? undefined : coding
}

function validatorsOf({ headers }: Kept): Validators {
  const { etag = '', 'last-modified': modified } = headers
  return { tag: etag, ...(modified && { modified: new Date(modified) }) }
}

const inSeconds = (milliseconds: number) => String(Math.max(0, Math.floor(milliseconds / 1_000)))

const ageOf = ({ stored }: Kept): string => inSeconds(Date.now() - stored)

/** RFC 9211. */
const statuses: Record<Exclude<Source, 'hit'>, string> = {
  stored: 'stockroom; fwd=miss; stored',
  collapsed: 'stockroom; fwd=miss; collapsed',
  miss: 'stockroom; fwd=miss',
  bypass: 'stockroom; fwd=bypass',
}

const statusOf = (source: Source, kept: Kept): string =>
  source === 'hit' ? `stockroom; hit; ttl=${inSeconds(leftOf(kept))}` : statuses[source]
