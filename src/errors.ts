// Every error that the API answers with: a code, its status and its title. The codes are part of the contract and never reused.

export const errors = {
  'invalid-request': { status: 400, title: 'The request has faults' },
  'malformed-request': { status: 400, title: 'The request cannot be read' },
  'malformed-json': { status: 400, title: 'The body is not JSON' },
  'not-found': { status: 404, title: 'There is nothing here' },
  'page-not-found': { status: 404, title: 'There is no such page' },
  'method-not-allowed': { status: 405, title: 'The method does not apply here' },
  'request-timeout': { status: 408, title: 'The request took too long to arrive' },
  'not-unique': { status: 409, title: 'Another record has this value' },
  'in-use': { status: 409, title: 'Other records refer to this one' },
  cycle: { status: 409, title: 'A record cannot be below itself' },
  'body-too-large': { status: 413, title: 'The body is too large' },
  'unsupported-media-type': { status: 415, title: 'The body is not of a type that is read here' },
  'expectation-failed': { status: 417, title: 'The expectation cannot be met' },
  'headers-too-large': { status: 431, title: 'The URL or the headers are too large' },
  'internal-error': { status: 500, title: 'Something went wrong here' },
  'query-too-expensive': { status: 503, title: 'The list takes too long' },
  'database-busy': { status: 503, title: 'The database is busy' },
  'database-unavailable': { status: 503, title: 'The database does not answer' },
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

interface ProblemOptions {
  faults?: readonly Fault[]
  headers?: Record<string, string>
  cause?: unknown
}

/** An answer other than the one asked for. `detail` is shown to the client, `cause` is only logged. */
export class Problem extends Error {
  readonly code: ErrorCode
  readonly faults: readonly Fault[]
  readonly headers: Record<string, string>

  constructor(code: ErrorCode, detail: string, { faults = [], headers = {}, cause }: ProblemOptions = {}) {
    super(detail, { cause })
    this.code = code
    this.faults = faults
    this.headers = headers
  }
}

/** Faults listed in one answer; a request made of thousands must not be answered by megabytes. */
const MAX_FAULTS = 100

/** A request with faults, all of them at once. */
export function invalid(faults: readonly Fault[]): Problem {
  const more = faults.length > MAX_FAULTS ? ` (the first ${MAX_FAULTS} are listed)` : ''
  const detail = faults.length === 1 ? '1 fault' : `${faults.length} faults${more}`
  return new Problem('invalid-request', `The request has ${detail}.`, { faults: faults.slice(0, MAX_FAULTS) })
}

/** RFC 9457's members, with `code` and `errors` beside them. `instance` is the request's id, as in its `X-Request-Id` header. */
export function problemDocument(problem: Problem, instance: string) {
  const { status, title } = errors[problem.code]
  return {
    type: `urn:stockroom:problem:${problem.code}`,
    title,
    status,
    detail: problem.message,
    instance,
    code: problem.code,
    ...(problem.faults.length > 0 && { errors: problem.faults }),
  }
}
