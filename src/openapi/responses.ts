// Responses in the OpenAPI document: their headers, and the problems of each operation.
import { type TSchema, Type } from '@sinclair/typebox'
import { type ErrorCode, errors } from '../errors.ts'
import type { Access } from '../roles.ts'

export const Problem = Type.Object(
  {
    type: Type.String({ format: 'uri', description: 'Identifier of the kind of error' }),
    title: Type.String({ description: 'Summary of the kind of error' }),
    status: Type.Integer(),
    detail: Type.String({ description: 'Description of this error' }),
    instance: Type.String({ description: 'Id of the request' }),
    code: Type.String({ enum: Object.keys(errors), description: 'Code of the kind of error, for programs' }),
    stock: Type.Optional(Type.Integer({ description: 'With `insufficient-stock`: the current stock' })),
    'violated-policies': Type.Optional(
      Type.Array(Type.String(), { description: 'With `quota-exceeded`: the limits that the request exceeds' }),
    ),
    errors: Type.Optional(
      Type.Array(
        Type.Object({
          parameter: Type.Optional(Type.String({ description: 'Name of the parameter' })),
          pointer: Type.Optional(Type.String({ description: 'JSON Pointer to the member of the body' })),
          detail: Type.String(),
          allowed: Type.Optional(Type.Array(Type.String())),
          suggestion: Type.Optional(Type.String({ description: 'The known name that is most similar' })),
        }),
        { description: 'All faults of the request' },
      ),
    ),
  },
  { $id: 'Problem' },
)

/** Errors of any request. */
const COMMON_ERRORS: readonly ErrorCode[] = [
  'invalid-request',
  'malformed-request',
  'request-timeout',
  'expectation-failed',
  'headers-too-large',
  'internal-error',
]
/** Lists the errors of authentication, authorization and rate limits. */
export const listAccessErrors = (access: Access): readonly ErrorCode[] =>
  access === 'unchecked'
    ? []
    : [
        'key-refused',
        'quota-exceeded',
        'overloaded',
        ...(access === 'anyone'
          ? []
          : (['key-required', ...(access === 'read' || access === 'key' ? [] : ['forbidden' as const])] as const)),
      ]
export const READ_ERRORS: readonly ErrorCode[] = ['database-unavailable', 'database-busy']
export const WRITE_ERRORS: readonly ErrorCode[] = READ_ERRORS
export const BODY_ERRORS: readonly ErrorCode[] = ['malformed-json', 'body-too-large', 'unsupported-media-type']

/** Security headers for browsers. The page at /docs/ has others. */
export const FIXED_HEADERS: Record<string, string> = {
  'X-Content-Type-Options': 'nosniff',
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
  'Referrer-Policy': 'no-referrer',
}

/** Headers of every response. */
const COMMON_HEADERS = {
  'X-Request-Id': {
    type: 'string',
    pattern: '^[\\w.:-]{1,64}$',
    description:
      'Id of the request, as in `instance` of a problem and in the log: the `X-Request-Id` of the request if it matches the pattern, otherwise a UUID',
  },
  ...Object.fromEntries(Object.entries(FIXED_HEADERS).map(([name, value]) => [name, { type: 'string', const: value }])),
  'Preference-Applied': { type: 'string', description: 'The `handling` that the request asked for with `Prefer` (RFC 7240)' },
  'RateLimit-Policy': {
    type: 'string',
    description: 'The rate limit of the client: `q` requests in any `w` seconds',
    examples: ['"anonymous";q=100;w=60'],
  },
  RateLimit: {
    type: 'string',
    description: 'Remaining requests `r`, and seconds `t` until one more is allowed',
    examples: ['"anonymous";r=37;t=12'],
  },
  Vary: {
    type: 'string',
    description:
      '`Prefer`; `Accept-Encoding` if the response depends on it; `Origin` if the service allows other origins; `X-Forwarded-Host` and `X-Forwarded-Proto` if links depend on them',
  },
}
const RETRY_AFTER = { 'Retry-After': { type: 'integer', description: 'Seconds to wait before another try' } }

/** Headers of responses that must not be cached: to writes, errors, and momentary states. */
const NO_STORE = { 'Cache-Control': { type: 'string', const: 'no-store', description: 'Must not be cached' } }

const ETAG = {
  type: 'string',
  pattern: '^"[!#-~]+"$',
  description: 'Entity tag of this state, for `If-None-Match` and `If-Match` (RFC 9110)',
}

/** Headers that identify the state of a record. */
export const STATE_HEADERS = {
  ETag: ETAG,
  'Last-Modified': { type: 'string', description: 'Time of the last change, in whole seconds' },
}

/** Headers of responses that can be cached, and must be validated before each use. */
const VALIDATION_HEADERS = {
  ETag: ETAG,
  'Cache-Control': {
    type: 'string',
    description: '`public` without an API key, `private` with one. Caches must validate the response before each use.',
  },
  'Cache-Status': {
    type: 'string',
    description: 'Whether the response comes from the cache of the service (RFC 9211)',
    examples: ['stockroom; hit; ttl=57'],
  },
}

/** Headers of a successful response that can be cached. */
const CACHE_HEADERS = {
  ...VALIDATION_HEADERS,
  Age: {
    type: 'integer',
    description: 'Seconds since the service cached the response. It is still up to date: no record in it has changed since.',
  },
  'Content-Encoding': { type: 'string', enum: ['br', 'gzip'], description: 'Coding of responses over 1 KiB, by `Accept-Encoding`' },
}

/** Builds the response 304, for a client that has the current state already. */
export const buildNotModified = (headers: object = {}) => ({
  304: {
    description: 'Not modified: `If-None-Match` names the current state',
    headers: { ...COMMON_HEADERS, ...VALIDATION_HEADERS, ...headers },
    type: 'null',
  },
})

/** Builds a further successful response. */
export const buildFurtherResponse = (status: number, description: string, schema: TSchema, headers: object) => ({
  [status]: { description, headers: { ...COMMON_HEADERS, ...NO_STORE, ...headers }, content: { 'application/json': { schema } } },
})

/** Precondition of a change: the state of the record that the client knows. */
export const IF_MATCH = {
  'If-Match': {
    type: 'string',
    description: '`ETag` of the record as the client read it. If the record has changed since, the request fails (412).',
  },
}
export const IF_NONE_MATCH = {
  'If-None-Match': {
    type: 'string',
    description: '`ETag` of a response that the client has. If it is current, the response is 304 without a body.',
  },
}
export const IDEMPOTENCY_KEY = {
  'Idempotency-Key': {
    type: 'string',
    maxLength: 300,
    description:
      'A quoted text that is unique to the request, such as a UUID. A retry with the same key returns the first response, and has no second effect.',
  },
}
export const IDEMPOTENCY_REPLAYED = {
  'Idempotency-Replayed': {
    type: 'string',
    const: 'true',
    description: 'Present if this is the stored response to an earlier request with this key',
  },
}
/** Errors of a POST with an Idempotency-Key. */
export const IDEMPOTENCY_ERRORS: readonly ErrorCode[] = ['idempotency-key-in-use', 'idempotency-key-reused']

/** Builds the schema of request headers. */
export const buildHeadersSchema = (properties: Record<string, object>) =>
  Type.Unsafe<Record<string, unknown>>({ type: 'object', properties })

export const MERGE_PATCH = 'application/merge-patch+json'

export interface Success {
  /** Status of an action. The response is the record only with the default, 200. */
  status?: number
  description: string
  schema?: TSchema
  /** Media type. The default is JSON. */
  type?: string
  headers?: object
  /** Whether clients can cache the response. */
  cached?: boolean
  /** Further responses by status. */
  others?: Record<number, object>
}

/** The response to a POST that starts a job. */
export const JOB_ACCEPTED: Success = {
  status: 202,
  description: 'The job, which runs later',
  schema: Type.Ref('Job'),
  headers: { Location: { type: 'string', format: 'uri', description: 'URL of the job' }, ...IDEMPOTENCY_REPLAYED },
}

/** Builds the responses of an operation: the successful one and, by status, the problems. */
export function buildResponses(
  status: number,
  { description, schema, type = 'application/json', headers, cached, others }: Success,
  codes: readonly ErrorCode[] = [],
) {
  const problems = Object.groupBy([...COMMON_ERRORS, ...codes], (code) => errors[code].status)
  return {
    [status]: {
      description,
      headers: { ...COMMON_HEADERS, ...(cached ? CACHE_HEADERS : NO_STORE), ...headers },
      ...(schema ? { content: { [type]: { schema } } } : { type: 'null' }),
    },
    ...others,
    ...Object.fromEntries(
      Object.entries(problems).map(([failure, failureCodes = []]) => [failure, buildProblemResponse(Number(failure), failureCodes)]),
    ),
  }
}

const buildProblemResponse = (status: number, codes: readonly ErrorCode[]) => ({
  description: codes.map((code) => `\`${code}\`: ${errors[code].title}.`).join(' '),
  headers: {
    ...COMMON_HEADERS,
    ...NO_STORE,
    ...(status === 412 && { ETag: { ...ETAG, description: 'Entity tag of the current state' } }),
    ...(status === 401 && { 'WWW-Authenticate': { type: 'string', description: 'Authentication scheme (RFC 6750)' } }),
    ...((status === 429 || status === 503) && RETRY_AFTER),
    ...(status === 415 && { 'Accept-Patch': { type: 'string', description: 'On PATCH: the media types that are supported (RFC 5789)' } }),
  },
  content: { 'application/problem+json': { schema: Type.Ref('Problem') } },
})
