// Conditional requests (RFC 9110, section 13): what a client says that it has, against what there is.
import type { IncomingHttpHeaders } from 'node:http'
import { Problem } from './errors.ts'

/** What there is: its entity tag without quotes and coding, and when it last changed, where that is told. */
export interface Validators {
  tag: string
  modified?: Date
}

/** `*`, or the tags that were named, without quotes. A weak one is never the same in the strong comparison. */
type Tags = '*' | { strong: readonly string[]; weak: readonly string[] }

export interface Preconditions {
  match?: Tags
  noneMatch?: Tags
  /** Milliseconds since 1970. */
  modifiedSince?: number
  unmodifiedSince?: number
}

/** What a tag in another coding ends in: the representation is the same, its bytes are not. */
export const CODING_SUFFIX = { br: '.br', gzip: '.gz' } as const

const TAG = /^(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"$/
const CODING = /\.(?:br|gz)$/
/** Behind the tag of a list that was not counted to the end: how far is no matter of its state. */
const COUNTED = /\.~\d+$/

export const quoted = (tag: string): string => `"${tag}"`

/** Undefined where a request has none. Throws `malformed-request` for an `If-Match` that cannot be read: to pass it over would lose an update. */
export function preconditionsOf(headers: IncomingHttpHeaders): Preconditions | undefined {
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
    ...(isDate(modified) && { modifiedSince: Date.parse(modified) }),
    ...(isDate(unmodified) && { unmodifiedSince: Date.parse(unmodified) }),
  }
}

function readTags(text: string): Tags | undefined {
  if (text.trim() === '*') return '*'
  const strong: string[] = []
  const weak: string[] = []
  // A comma may be in a tag.
  for (const part of text.match(/\s*(?:[^",]|"[^"]*"?)+/g) ?? []) {
    const [, isWeak, tag] = TAG.exec(part.trim()) ?? []
    if (tag === undefined) return undefined
    ;(isWeak ? weak : strong).push(tag.replace(CODING, ''))
  }
  return strong.length + weak.length > 0 ? { strong, weak } : undefined
}

/** Any of the three forms of a date that HTTP has had. */
const isDate = (text: string | undefined): text is string =>
  text !== undefined && /^[A-Z][a-z]{2,8},? /.test(text) && !Number.isNaN(Date.parse(text))

const isSame = (given: string, tag: string) => given === tag || given.replace(COUNTED, '') === tag

const inWeak = (tags: Tags, tag: string) =>
  tags === '*' || tags.strong.some((given) => isSame(given, tag)) || tags.weak.some((given) => isSame(given, tag))

const inStrong = (tags: Tags, tag: string) => tags === '*' || tags.strong.some((given) => isSame(given, tag))

/** Dates in headers have no fraction of a second. */
const seconds = (time: number | Date) => Math.floor(Number(time) / 1_000)

/** Whether a tag is all that the request is about, and names this one: nothing else has to be known to answer 304. */
export function hasTag(headers: IncomingHttpHeaders, tag: string): boolean {
  const given = headers['if-none-match']
  if (given === undefined || headers['if-match'] !== undefined || headers['if-unmodified-since'] !== undefined) return false
  // Nearly always it is the one that was given out last.
  if (given.length === tag.length + 2 && given === quoted(tag)) return true
  const tags = readTags(given)
  return tags !== undefined && tags !== '*' && inWeak(tags, tag)
}

/** Whether the client has what is there: 304. Throws `precondition-failed`. In the order of RFC 9110, section 13.2.2. */
export function isNotModified(conditions: Preconditions, there: Validators): boolean {
  refuseOther(conditions, there)
  const { noneMatch, modifiedSince } = conditions
  if (noneMatch !== undefined) return inWeak(noneMatch, there.tag)
  return modifiedSince !== undefined && there.modified !== undefined && seconds(there.modified) <= seconds(modifiedSince)
}

/** For a request that changes what is there. Throws `precondition-failed`. */
export function checkUnchanged(conditions: Preconditions, there: Validators): void {
  refuseOther(conditions, there)
  if (conditions.noneMatch !== undefined && inWeak(conditions.noneMatch, there.tag)) throw failed('If-None-Match', there)
}

function refuseOther({ match, unmodifiedSince }: Preconditions, there: Validators): void {
  if (match !== undefined) {
    if (!inStrong(match, there.tag)) throw failed('If-Match', there)
  } else if (unmodifiedSince !== undefined && there.modified !== undefined && seconds(there.modified) > seconds(unmodifiedSince)) {
    throw failed('If-Unmodified-Since', there)
  }
}

const failed = (header: string, { tag }: Validators) =>
  new Problem('precondition-failed', `${header} does not hold: this is not what you have read. Read it again, and decide anew.`, {
    headers: { etag: quoted(tag) },
  })
