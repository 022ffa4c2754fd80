// Every error of the API: its code, status and title. The codes are part of the contract and never reused.

export const errors = {
  'invalid-request': { status: 400, title: 'The request has faults' },
  'malformed-request': { status: 400, title: 'The request cannot be read' },
  'malformed-json': { status: 400, title: 'The body is not JSON' },
  'key-required': { status: 401, title: 'An API key is required' },
  'key-refused': { status: 401, title: 'The API key is not valid' },
  forbidden: { status: 403, title: 'The API key does not permit this' },
  'not-found': { status: 404, title: 'Nothing exists at this URL' },
  'page-not-found': { status: 404, title: 'The page does not exist' },
  'method-not-allowed': { status: 405, title: 'The method is not allowed at this URL' },
  'request-timeout': { status: 408, title: 'The request took too long to arrive' },
  'not-unique': { status: 409, title: 'Another record has this value' },
  'in-use': { status: 409, title: 'Other records refer to this one' },
  'key-revoked': { status: 409, title: 'The API key was revoked' },
  'last-admin-key': { status: 409, title: 'This is the last admin key' },
  'idempotency-key-in-use': { status: 409, title: 'A request with this idempotency key is in progress' },
  'insufficient-stock': { status: 409, title: 'The stock is too low' },
  'too-many-webhooks': { status: 409, title: 'The number of webhooks has reached its limit' },
  'webhook-disabled': { status: 409, title: 'The webhook is disabled' },
  'job-not-failed': { status: 409, title: 'The job has not failed' },
  cycle: { status: 409, title: 'A record cannot be below itself' },
  'position-gone': { status: 410, title: 'The changes after this position are no longer stored' },
  'precondition-failed': { status: 412, title: 'A precondition of the request does not hold' },
  'body-too-large': { status: 413, title: 'The body is too large' },
  'unsupported-media-type': { status: 415, title: 'The media type of the body is not supported' },
  'expectation-failed': { status: 417, title: 'The expectation cannot be met' },
  'idempotency-key-reused': { status: 422, title: 'The idempotency key was used for another request' },
  'precondition-required': { status: 428, title: 'If-Match is required' },
  'quota-exceeded': { status: 429, title: 'Too many requests' },
  'headers-too-large': { status: 431, title: 'The URL or the headers are too large' },
  'internal-error': { status: 500, title: 'The service failed' },
  'query-too-expensive': { status: 503, title: 'The list takes too long' },
  'database-busy': { status: 503, title: 'The database is busy' },
  'database-unavailable': { status: 503, title: 'The database does not respond' },
  'too-many-streams': { status: 503, title: 'Too many streams are open' },
  overloaded: { status: 503, title: 'The service is overloaded' },
  'not-ready': { status: 503, title: 'The service is not ready' },
} as const

export type ErrorCode = keyof typeof errors

/** A fault of a request: in a parameter, or at a JSON Pointer (RFC 6901) into the body. */
export type Fault = ({ parameter: string } | { pointer: string }) & Reason

/** Description of a fault. `suggestion` is the known name that is most similar to an unknown one. */
export interface Reason {
  detail: string
  allowed?: readonly string[]
  suggestion?: string
}

/** Lists the names of the members of a body that have faults. The whole body is ''. */
export const listMembers = (faults: readonly Fault[]): Set<string> =>
  new Set(faults.flatMap((fault) => ('pointer' in fault ? [unescapePointer(fault.pointer.split('/', 2)[1] ?? '')] : [])))

const unescapePointer = (name: string) => name.replaceAll('~1', '/').replaceAll('~0', '~')

interface ProblemOptions {
  faults?: readonly Fault[]
  headers?: Record<string, string>
  /** Further members of the problem document. */
  members?: Record<string, unknown>
  cause?: unknown
}

/** An error response. The client sees `detail`; `cause` is only logged. */
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

/** Faults listed in one response, so that a request with thousands of faults does not get megabytes back. */
export const MAX_FAULTS = 100

/** Builds an `invalid-request` problem from all faults of a request. It lists those in `shown`. */
export function invalid(faults: readonly Fault[], shown = faults.slice(0, MAX_FAULTS)): Problem {
  const more = faults.length > shown.length ? ` (${shown.length} are listed)` : ''
  const detail = faults.length === 1 ? `1 fault${more}` : `${faults.length} faults${more}`
  return new Problem('invalid-request', `The request has ${detail}.`, { faults: shown })
}

/** Problem types that are registered with IANA. */
const REGISTERED: Partial<Record<ErrorCode, string>> = {
  'quota-exceeded': 'https://iana.org/assignments/http-problem-types#quota-exceeded',
}

/** Builds a problem document (RFC 9457) with `code` and `errors`. `instance` is the id of the request, as in `X-Request-Id`. */
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
