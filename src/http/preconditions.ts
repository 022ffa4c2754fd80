// Conditional requests (RFC 9110, section 13).
import type { IncomingHttpHeaders } from 'node:http'
import { Problem } from '../errors.ts'

/** The current state of a record or list: its entity tag, without quotes and coding, and the time of its last change. */
export interface Validators {
  tag: string
  modified?: Date
}

/** `*`, or the tags of a header without quotes. A weak tag never matches in the strong comparison. */
type TagList = '*' | { strong: readonly string[]; weak: readonly string[] }

export interface Preconditions {
  match?: TagList
  noneMatch?: TagList
  /** Milliseconds since 1970. */
  modifiedSince?: number | undefined
  unmodifiedSince?: number | undefined
}

/** Suffix of the entity tag of a compressed representation, whose bytes differ. */
export const CODING_SUFFIX = { br: '.br', gzip: '.gz' } as const

const TAG = /^(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"$/
const CODING = /\.(?:br|gz)$/
/** Suffix of a list whose count stopped at a limit. It is ignored in comparisons: the count is not part of the state. */
const COUNT_SUFFIX = /\.~\d+$/

export const quoteTag = (tag: string): string => `"${tag}"`

/**
 * Reads the preconditions of a request; undefined for none. Throws `malformed-request` for an unreadable If-Match, because ignoring it could
 * lose an update.
 */
export function readPreconditions(headers: IncomingHttpHeaders): Preconditions | undefined {
  const match = headers['if-match']
  const noneMatch = headers['if-none-match']
  const modified = headers['if-modified-since']
  const unmodified = headers['if-unmodified-since']
  if (match === undefined && noneMatch === undefined && modified === undefined && unmodified === undefined) return undefined
  const tags = match === undefined ? undefined : readTags(match)
  if (match !== undefined && !tags)
    throw new Problem(
      'malformed-request',
      'If-Match is unreadable. Send the value of ETag with its quotes, several of them separated by commas, or *.',
    )
  return {
    ...(tags && { match: tags }),
    ...(noneMatch !== undefined && { noneMatch: readTags(noneMatch) ?? { strong: [], weak: [] } }),
    // RFC 9110 says to ignore an invalid date.
    modifiedSince: readDate(modified),
    unmodifiedSince: readDate(unmodified),
  }
}

function readTags(text: string): TagList | undefined {
  if (text.trim() === '*') return '*'
  const strong: string[] = []
  const weak: string[] = []
  // A tag may contain a comma.
  for (const part of text.match(/\s*(?:[^",]|"[^"]*"?)+/g) ?? []) {
    const [, isWeak, tag] = TAG.exec(part.trim()) ?? []
    if (tag === undefined) return undefined
    ;(isWeak ? weak : strong).push(tag)
  }
  return strong.length + weak.length > 0 ? { strong, weak } : undefined
}

/** The three formats of an HTTP date (RFC 9110, section 5.6.7). The last one is in GMT without saying so. */
const DATES = [
  /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/,
  /^[A-Z][a-z]{5,8}, \d\d-[A-Z][a-z]{2}-\d\d \d\d:\d\d:\d\d GMT$/,
  /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}$/,
]

/** Parses an HTTP date to milliseconds since 1970; undefined for an invalid date. */
function readDate(text: string | undefined): number | undefined {
  const format = text === undefined ? -1 : DATES.findIndex((pattern) => pattern.test(text))
  const time = format < 0 ? Number.NaN : Date.parse(format === 2 ? `${text} GMT` : String(text))
  return Number.isNaN(time) ? undefined : time
}

/** Compares a client's tag with the current one, regardless of its coding and count suffix. */
const isSameTag = (clientTag: string, tag: string) =>
  clientTag === tag || clientTag.replace(CODING, '').replace(COUNT_SUFFIX, '') === tag.replace(COUNT_SUFFIX, '')

const matchesWeakly = (tags: TagList, tag: string) =>
  tags === '*' || tags.strong.some((clientTag) => isSameTag(clientTag, tag)) || tags.weak.some((clientTag) => isSameTag(clientTag, tag))

const matchesStrongly = (tags: TagList, tag: string) => tags === '*' || tags.strong.some((clientTag) => isSameTag(clientTag, tag))

/** HTTP dates have whole seconds. */
const toSeconds = (time: number | Date) => Math.floor(Number(time) / 1_000)

/**
 * Finds the tag in If-None-Match that matches the current one, in the client's spelling. A match suffices for a 304. Returns undefined
 * without a match, or if another condition takes precedence.
 */
export function findMatchingTag(headers: IncomingHttpHeaders, tag: string): string | undefined {
  const header = headers['if-none-match']
  if (header === undefined || headers['if-match'] !== undefined || headers['if-unmodified-since'] !== undefined) return undefined
  // Fast path: nearly all clients send the current tag unchanged.
  if (header.length === tag.length + 2 && header === quoteTag(tag)) return tag
  const tags = readTags(header)
  return tags === undefined || tags === '*' ? undefined : [...tags.strong, ...tags.weak].find((clientTag) => isSameTag(clientTag, tag))
}

/** Whether to answer 304. Evaluates conditions in the order of RFC 9110, section 13.2.2. Throws `precondition-failed`. */
export function isNotModified(conditions: Preconditions, current: Validators): boolean {
  checkMatch(conditions, current)
  const { noneMatch, modifiedSince } = conditions
  if (noneMatch !== undefined) return matchesWeakly(noneMatch, current.tag)
  if (modifiedSince === undefined || current.modified === undefined) return false
  // A second change within the same second would not change the date, so the current second never counts as unmodified.
  return toSeconds(current.modified) <= toSeconds(modifiedSince) && toSeconds(current.modified) < toSeconds(Date.now())
}

/** Checks the preconditions of a request that changes a record. Throws `precondition-failed`. */
export function checkUnchanged(conditions: Preconditions, current: Validators): void {
  checkMatch(conditions, current)
  if (conditions.noneMatch !== undefined && matchesWeakly(conditions.noneMatch, current.tag))
    throw createFailure('If-None-Match', current, 'the record exists in a state that the header excludes.')
}

function checkMatch({ match, unmodifiedSince }: Preconditions, current: Validators): void {
  if (match !== undefined) {
    if (!matchesStrongly(match, current.tag)) throw createFailure('If-Match', current)
  } else if (unmodifiedSince !== undefined && current.modified !== undefined && toSeconds(current.modified) > toSeconds(unmodifiedSince)) {
    throw createFailure('If-Unmodified-Since', current)
  }
}

const CHANGED = 'the record has changed. Read it again, then retry with its new ETag.'

const createFailure = (header: string, { tag }: Validators, reason = CHANGED) =>
  new Problem('precondition-failed', `${header} failed: ${reason}`, {
    headers: { etag: quoteTag(tag) },
  })
