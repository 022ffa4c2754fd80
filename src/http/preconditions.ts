// Conditional requests (RFC 9110, section 13): what a client says that it has, against what there is.
import type { IncomingHttpHeaders } from 'node:http'
import { Problem } from '../errors.ts'

/** What there is: its entity tag without quotes and coding, and when it last changed, where that is told. */
export interface Validators {
  tag: string
  modified?: Date
}

/** `*`, or the tags that were named, without quotes. A weak one is never the same in the strong comparison. */
type TagList = '*' | { strong: readonly string[]; weak: readonly string[] }

export interface Preconditions {
  match?: TagList
  noneMatch?: TagList
  /** Milliseconds since 1970. */
  modifiedSince?: number | undefined
  unmodifiedSince?: number | undefined
}

/** What a tag in another coding ends in: the representation is the same, its bytes are not. */
export const CODING_SUFFIX = { br: '.br', gzip: '.gz' } as const

const TAG = /^(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"$/
const CODING = /\.(?:br|gz)$/
/** Behind the tag of a list that was not counted to the end: how far is no matter of its state, and what the client has is good. */
const COUNTED = /\.~\d+$/

export const quoteTag = (tag: string): string => `"${tag}"`

/** Undefined where a request has none. Throws `malformed-request` for an `If-Match` that cannot be read: to pass it over would lose an update. */
export function readPreconditions(headers: IncomingHttpHeaders): Preconditions | undefined {
  const match = headers['if-match']
  const noneMatch = headers['if-none-match']
  const modified = headers['if-modified-since']
  const unmodified = headers['if-unmodified-since']
  if (match === undefined && noneMatch === undefined && modified === undefined && unmodified === undefined) return undefined
  const tags = match === undefined ? undefined : readTags(match)
  if (match !== undefined && !tags)
    throw new Problem('malformed-request', 'If-Match takes entity tags in quotes, as ETag has them, separated by commas, or *.')
  return {
    ...(tags && { match: tags }),
    ...(noneMatch !== undefined && { noneMatch: readTags(noneMatch) ?? { strong: [], weak: [] } }),
    // As the RFC has it, a date that is none is passed over.
    modifiedSince: readDate(modified),
    unmodifiedSince: readDate(unmodified),
  }
}

function readTags(text: string): TagList | undefined {
  if (text.trim() === '*') return '*'
  const strong: string[] = []
  const weak: string[] = []
  // A comma may be in a tag.
  for (const part of text.match(/\s*(?:[^",]|"[^"]*"?)+/g) ?? []) {
    const [, isWeak, tag] = TAG.exec(part.trim()) ?? []
    if (tag === undefined) return undefined
    ;(isWeak ? weak : strong).push(tag)
  }
  return strong.length + weak.length > 0 ? { strong, weak } : undefined
}

/** The three forms of a date that HTTP has had (RFC 9110, section 5.6.7). The last says nothing of GMT, and means it. */
const DATES = [
  /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/,
  /^[A-Z][a-z]{5,8}, \d\d-[A-Z][a-z]{2}-\d\d \d\d:\d\d:\d\d GMT$/,
  /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}$/,
]

/** Milliseconds since 1970; undefined for what is no date. */
function readDate(text: string | undefined): number | undefined {
  const form = text === undefined ? -1 : DATES.findIndex((form) => form.test(text))
  const time = form < 0 ? Number.NaN : Date.parse(form === 2 ? `${text} GMT` : String(text))
  return Number.isNaN(time) ? undefined : time
}

/** Whether a tag that was given out in some coding, or of a list in some place of its count, is of this state. */
const isSame = (given: string, tag: string) => given === tag || given.replace(CODING, '').replace(COUNTED, '') === tag.replace(COUNTED, '')

const matchesWeakly = (tags: TagList, tag: string) =>
  tags === '*' || tags.strong.some((given) => isSame(given, tag)) || tags.weak.some((given) => isSame(given, tag))

const matchesStrongly = (tags: TagList, tag: string) => tags === '*' || tags.strong.some((given) => isSame(given, tag))

/** Dates in headers have no fraction of a second. */
const toSeconds = (time: number | Date) => Math.floor(Number(time) / 1_000)

/**
 * The tag in If-None-Match that is of this state, as it was given out. Where that is all that the request is about, nothing else has to
 * be known to answer 304. Undefined where there is none, or another condition goes first.
 */
export function findMatchingTag(headers: IncomingHttpHeaders, tag: string): string | undefined {
  const given = headers['if-none-match']
  if (given === undefined || headers['if-match'] !== undefined || headers['if-unmodified-since'] !== undefined) return undefined
  // Nearly always it is the one that was given out last.
  if (given.length === tag.length + 2 && given === quoteTag(tag)) return tag
  const tags = readTags(given)
  return tags === undefined || tags === '*' ? undefined : [...tags.strong, ...tags.weak].find((one) => isSame(one, tag))
}

/** Whether the client has what is there: 304. Throws `precondition-failed`. In the order of RFC 9110, section 13.2.2. */
export function isNotModified(conditions: Preconditions, there: Validators): boolean {
  checkMatch(conditions, there)
  const { noneMatch, modifiedSince } = conditions
  if (noneMatch !== undefined) return matchesWeakly(noneMatch, there.tag)
  if (modifiedSince === undefined || there.modified === undefined) return false
  // Within the second of a change there may be another, of which a date would not tell.
  return toSeconds(there.modified) <= toSeconds(modifiedSince) && toSeconds(there.modified) < toSeconds(Date.now())
}

/** For a request that changes what is there. Throws `precondition-failed`. */
export function checkUnchanged(conditions: Preconditions, there: Validators): void {
  checkMatch(conditions, there)
  if (conditions.noneMatch !== undefined && matchesWeakly(conditions.noneMatch, there.tag)) throw createFailure('If-None-Match', there)
}

function checkMatch({ match, unmodifiedSince }: Preconditions, there: Validators): void {
  if (match !== undefined) {
    if (!matchesStrongly(match, there.tag)) throw createFailure('If-Match', there)
  } else if (unmodifiedSince !== undefined && there.modified !== undefined && toSeconds(there.modified) > toSeconds(unmodifiedSince)) {
    throw createFailure('If-Unmodified-Since', there)
  }
}

const createFailure = (header: string, { tag }: Validators) =>
  new Problem('precondition-failed', `${header} does not hold: this is not what you have read. Read it again, and decide anew.`, {
    headers: { etag: quoteTag(tag) },
  })
