// How a GET is answered: from what is kept, in the coding that the client takes, or by 304 where the client has it already.
import { Readable } from 'node:stream'
import { negotiate } from '@fastify/accept-negotiator'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { withDeadline } from '../../drizzle/deadline.ts'
import { Memory } from '../../drizzle/memory.ts'
import type { Answered, Asked, Made, Source } from '../cache/answers.ts'
import { type Coding, type Kept, leftOf } from '../cache/store.ts'
import { CODING_SUFFIX, isNotModified, preconditionsOf, quoted, tagOf, type Validators } from './preconditions.ts'

/** What is asked for. Where the tag follows from the state of the tables, it stands before that: nothing has to be read to compare it. */
export interface Question extends Asked {
  tag?: string
}

/** Bytes up to which compressing an answer is not worth its while. */
const SMALL = 1_024

const CODINGS = ['br', 'gzip', 'identity']
/** By Accept-Encoding. */
const negotiated = new Memory<Coding | 'identity'>()

/** The state behind a tag that follows from it. */
export const tagAt = (tag: string, state: string): string => `${tag}.${state}`

type Answering = FastifyReply | Promise<FastifyReply>

/**
 * Answers with what is kept, or with what `read` reads. What is ready is answered at once, without a promise. Throws
 * `precondition-failed`, and what `read` throws. With a `deadline`, throws QueryTooExpensive where the state is not known by then.
 */
export function answer(
  request: FastifyRequest,
  reply: FastifyReply,
  question: Question,
  read: () => Promise<Made>,
  deadline?: number,
): Answering {
  const state = request.server.answers.state(question.tables)
  if (typeof state === 'string') return answerAt(state, request, reply, question, read)
  const known = deadline === undefined ? state : withDeadline(deadline, state)
  return known.then((state) => answerAt(state, request, reply, question, read))
}

function answerAt(state: string, request: FastifyRequest, reply: FastifyReply, question: Question, read: () => Promise<Made>): Answering {
  const { answers } = request.server
  if (question.tag !== undefined && request.headers['if-none-match'] !== undefined) {
    const tag = tagAt(question.tag, state)
    const had = tagOf(request.headers, tag)
    if (had !== undefined) {
      reply.header('cache-status', 'stockroom; hit; detail=not-modified')
      return notModified(request, reply, had)
    }
  }
  const kept = answers.ready(question, state)
  if (kept) return answerWith(request, reply, question.key, { kept, source: 'hit' })
  return answers.find(question, state, read).then((answered) => answerWith(request, reply, question.key, answered))
}

/** Answers with what was found under a key. Throws `precondition-failed`. */
export function answerWith(request: FastifyRequest, reply: FastifyReply, key: string, { kept, source }: Answered): Answering {
  const { headers, tag } = kept
  const conditions = preconditionsOf(request.headers)
  const isKnown = conditions !== undefined && isNotModified(conditions, validatorsOf(kept))
  const now = Date.now()
  reply.header('cache-status', source === 'hit' ? `stockroom; hit; ttl=${inSeconds(leftOf(kept, now))}` : statuses[source])
  const coding = kept.body.length > SMALL ? codingOf(request) : undefined
  const coded = coding ? tag + CODING_SUFFIX[coding] : tag
  if (isKnown) return notModified(request, reply, tagOf(request.headers, tag) ?? coded, headers['last-modified'])
  if (source === 'hit') reply.header('age', inSeconds(now - kept.stored))
  addFreshness(request, reply)
  reply.headers(headers).header('content-type', 'application/json; charset=utf-8')
  reply.header('etag', quoted(coded))
  if (coding === undefined) return reply.send(kept.body)
  reply.header('content-encoding', coding)
  const body = kept.encoded?.[coding]
  return body ? reply.send(body) : request.server.answers.encoded(key, kept, coding).then((body) => reply.send(body))
}

/** The headers that a 304 has of the 200 in whose place it stands (RFC 9110, section 15.4.5). `tag` is that of what the client has. */
function notModified(request: FastifyRequest, reply: FastifyReply, tag: string, modified?: string): FastifyReply {
  addFreshness(request, reply)
  reply.header('etag', quoted(tag))
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
export function codingOf({ headers }: FastifyRequest): Coding | undefined {
  const accepted = headers['accept-encoding']
  if (accepted === undefined) return undefined
  let coding = negotiated.get(accepted as string)
  if (coding === undefined) {
    coding = (negotiate(accepted as string, CODINGS) ?? 'identity') as Coding | 'identity'
    negotiated.set(accepted as string, coding)
  }
  return coding === 'identity' ? undefined : coding
}

function validatorsOf({ tag, headers: { 'last-modified': modified } }: Kept): Validators {
  return { tag, ...(modified !== undefined && { modified: new Date(modified) }) }
}

const inSeconds = (milliseconds: number) => String(Math.max(0, Math.floor(milliseconds / 1_000)))

/** RFC 9211. */
const statuses: Record<Exclude<Source, 'hit'>, string> = {
  stored: 'stockroom; fwd=miss; stored',
  collapsed: 'stockroom; fwd=miss; collapsed',
  miss: 'stockroom; fwd=miss',
  bypass: 'stockroom; fwd=bypass',
}
