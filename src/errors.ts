// Every error that the API answers with: a code, its status and its title. The codes are part of the contract and never reused.

export const errors = {
  'invalid-request': { status: 400, title: 'The request has faults' },
  'malformed-request': { status: 400, title: 'The request cannot be read' },
  'malformed-json': { status: 400, title: 'The body is not JSON' },
  'key-required': { status: 401, title: 'This needs an API key' },
  'key-refused': { status: 401, title: 'The API key is not valid' },
  forbidden: { status: 403, title: 'The API key may not do this' },
  'not-found': { status: 404, title: 'There is nothing here' },
  'page-not-found': { status: 404, title: 'There is no such page' },
  'method-not-allowed': { status: 405, title: 'The method does not apply here' },
  'request-timeout': { status: 408, title: 'The request took too long to arrive' },
  'not-unique': { status: 409, title: 'Another record has this value' },
  'in-use': { status: 409, title: 'Other records refer to this one' },
  'key-revoked': { status: 409, title: 'The API key was revoked' },
  'last-admin-key': { status: 409, title: 'This is the last admin key' },
  'idempotency-key-in-use': { status: 409, title: 'A request with this idempotency key is under way' },
  'insufficient-stock': { status: 409, title: 'There is not so much in stock' },
  'too-many-webhooks': { status: 409, title: 'There are as many webhooks as there can be' },
  'webhook-disabled': { status: 409, title: 'The webhook is disabled' },
  'job-not-failed': { status: 409, title: 'The job has not failed' },
  cycle: { status: 409, title: 'A record cannot be below itself' },
  'position-gone': { status: 410, title: 'What came after this is no longer kept' },
  'precondition-failed': { status: 412, title: 'This is not what was read' },
  'body-too-large': { status: 413, title: 'The body is too large' },
  'unsupported-media-type': { status: 415, title: 'The body is not of a type that is read here' },
  'expectation-failed': { status: 417, title: 'The expectation cannot be met' },
  'idempotency-key-reused': { status: 422, title: 'The idempotency key was used for another request' },
  'precondition-required': { status: 428, title: 'This needs If-Match' },
  'quota-exceeded': { status: 429, title: 'Too many requests' },
  'headers-too-large': { status: 431, title: 'The URL or the headers are too large' },
  'internal-error': { status: 500, title: 'Something went wrong here' },
  'query-too-expensive': { status: 503, title: 'The list takes too long' },
  'database-busy': { status: 503, title: 'The database is busy' },
  'database-unavailable': { status: 503, title: 'The database does not respond' },
  'too-many-streams': { status: 503, title: 'There are too many streams' },
  overloaded: { status: 503, title: 'There is too much to do' },
  'not-ready': { status: 503, title: 'The service is not ready' },
} as const

export type ErrorCode = keyof typeof errors

/** One thing wrong with a request: in a parameter, or at a JSON Pointer (RFC 6901) into the body. */
export type Fault = ({ parameter: string } | { pointer: string }) & Reason

/** What is wrong, what would be right, and the known name nearest to an unknown one. */
export interface Reason {
  detail: string
  allowed?: readonly string[]
  suggestion?: string
}

/** The members of a body that have faults, by their names; the whole body is ''. */
export const listMembers = (faults: readonly Fault[]): Set<string> =>
  new Set(faults.flatMap((fault) => ('pointer' in fault ? [unescapePointer(fault.pointer.split('/', 2)[1] ?? '')] : [])))

const unescapePointer = (name: string) => name.replaceAll('~1', '/').replaceAll('~0', '~')

interface ProblemOptions {
  faults?: readonly Fault[]
  headers?: Record<string, string>
  /** Further members of the document. */
  members?: Record<string, unknown>
  cause?: unknown
}

/** An answer other than the one asked for. `detail` is shown to the client, `cause` is only logged. */
export class Problem extends Error {
  readonly code: ErrorCode
  readonly faults: readonly Fault[]
  readonly headers: Record<string, string>
  readonly members: Record<string, unknown>

  constructor(code: ErrorCode, detail: string, { faults = [], headers = {}, members = {}, cause }: ProblemOptions = {}) {
    super(detail, { cause })
    this.code = code
    this.faults = faults
    this.headers = headers
    this.members = members
  }
}

/** The server cannot listen at HOST and PORT. The message says why, and what to do. */
export class CannotListen extends Error {}

/** Faults listed in one answer; a request made of thousands must not be answered by megabytes. */
export const MAX_FAULTS = 100

/** A request with faults, all of them at once, of which `shown` are listed. */
export function invalid(faults: readonly Fault[], shown = faults.slice(0, MAX_FAULTS)): Problem {
  const more = faults.length > shown.length ? ` (${shown.length} are listed)` : ''
  const detail = faults.length === 1 ? `1 fault${more}` : `${faults.length} faults${more}`
  return new Problem('invalid-request', `The request has ${detail}.`, { faults: shown })
}

/** Kinds of problem that have a registered name. */
const REGISTERED: Partial<Record<ErrorCode, string>> = {
  'quota-exceeded': 'https://iana.org/assignments/http-problem-types#quota-exceeded',
}

/** RFC 9457's members, with `code` and `errors` beside them. `instance` is the request's id, as in its `X-Request-Id` header. */
export function buildProblemDocument(problem: Problem, instance: string) {
  const { status, title } = errors[problem.code]
  return {
    type: REGISTERED[problem.code] ?? `urn:stockroom:problem:${problem.code}`,
    title,
    status,
    detail: problem.message,
    instance,
    code: problem.code,
    ...problem.members,
    ...(problem.faults.length > 0 && { errors: problem.faults }),
  }
}
