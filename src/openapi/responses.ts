// What answers look like in the OpenAPI document: their headers, and the problems that each operation can meet.
import { type TSchema, Type } from '@sinclair/typebox'
import { type ErrorCode, errors } from '../errors.ts'
import type { Access } from '../roles.ts'

export const Problem = Type.Object(
  {
    type: Type.String({ format: 'uri', description: 'A name for the kind of error' }),
    title: Type.String({ description: 'The same for every error of the kind' }),
    status: Type.Integer(),
    detail: Type.String({ description: 'What happened this time, for people' }),
    instance: Type.String({ description: 'The id of the request' }),
    code: Type.String({ enum: Object.keys(errors), description: 'For programs' }),
    stock: Type.Optional(Type.Integer({ description: 'With `insufficient-stock`: what there is' })),
    'violated-policies': Type.Optional(Type.Array(Type.String(), { description: 'With `quota-exceeded`: the limits that were reached' })),
    errors: Type.Optional(
      Type.Array(
        Type.Object({
          parameter: Type.Optional(Type.String({ description: 'The parameter of the URL that is meant' })),
          pointer: Type.Optional(Type.String({ description: 'JSON Pointer to the member of the body that is meant' })),
          detail: Type.String(),
          allowed: Type.Optional(Type.Array(Type.String())),
          suggestion: Type.Optional(Type.String({ description: 'The nearest known name' })),
        }),
        { description: 'Every fault of the request' },
      ),
    ),
  },
  { $id: 'Problem' },
)

/** Errors that any request can meet. */
const COMMON_ERRORS: readonly ErrorCode[] = [
  'invalid-request',
  'malformed-request',
  'request-timeout',
  'expectation-failed',
  'headers-too-large',
  'internal-error',
]
/** Errors of a request that may not do what it asks for, not so often, or not now. */
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

/** What a browser is not to make of an answer. The page at /docs/ has others. */
export const FIXED_HEADERS: Record<string, string> = {
  'X-Content-Type-Options': 'nosniff',
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
  'Referrer-Policy': 'no-referrer',
}

/** Headers of every answer. */
const COMMON_HEADERS = {
  'X-Request-Id': {
    type: 'string',
    pattern: '^[\\w.:-]{1,64}$',
    description:
      'The id of the request, as in `instance` of a problem and in the log: a UUID, or the `X-Request-Id` of the request where it is short and plain',
  },
  ...Object.fromEntries(Object.entries(FIXED_HEADERS).map(([name, value]) => [name, { type: 'string', const: value }])),
  'Preference-Applied': { type: 'string', description: 'The `handling` that the request preferred (RFC 7240)' },
  'RateLimit-Policy': {
    type: 'string',
    description: 'The limit that the request was counted against: `q` requests in any `w` seconds',
    examples: ['"anonymous";q=100;w=60'],
  },
  RateLimit: {
    type: 'string',
    description: 'What is left of it: `r` requests, and one more in `t` seconds',
    examples: ['"anonymous";r=37;t=12'],
  },
  Vary: {
    type: 'string',
    description:
      '`Prefer`, `Accept-Encoding` where that decides, `Origin` where other origins may call the service, and `X-Forwarded-Host` and `X-Forwarded-Proto` where links begin with them',
  },
}
const RETRY_AFTER = { 'Retry-After': { type: 'integer', description: 'Seconds after which to try again' } }

/** Of whatever is not to be kept: what was written, errors, what is about this moment only. */
const NO_STORE = { 'Cache-Control': { type: 'string', const: 'no-store', description: 'Not to be kept' } }

const ETAG = { type: 'string', pattern: '^"[!#-~]+"$', description: 'This state of it, for `If-None-Match` and `If-Match` (RFC 9110)' }

/** Of a record: which state of it this is. */
export const STATE_HEADERS = {
  ETag: ETAG,
  'Last-Modified': { type: 'string', description: 'When the record last changed, to the second' },
}

/** Of what may be kept, as long as it is asked about each time. */
const VALIDATION_HEADERS = {
  ETag: ETAG,
  'Cache-Control': {
    type: 'string',
    description: 'Who may keep it, and that they have to ask each time: `public` without a key, `private` with one',
  },
  'Cache-Status': { type: 'string', description: 'Whether it was ready (RFC 9211)', examples: ['stockroom; hit; ttl=57'] },
}

/** Headers of a good answer that may be kept, beside those of the operation. */
const CACHE_HEADERS = {
  ...VALIDATION_HEADERS,
  Age: {
    type: 'integer',
    description: 'Seconds since it was made, where it was ready. It is not older than the last change of what it shows',
  },
  'Content-Encoding': { type: 'string', enum: ['br', 'gzip'], description: 'Of answers over 1 KiB, by `Accept-Encoding`' },
}

/** The answer to who has it already. */
export const buildNotModified = (headers: object = {}) => ({
  304: { description: 'It is what `If-None-Match` names', headers: { ...COMMON_HEADERS, ...VALIDATION_HEADERS, ...headers }, type: 'null' },
})

/** Another good answer. */
export const buildFurtherResponse = (status: number, description: string, schema: TSchema, headers: object) => ({
  [status]: { description, headers: { ...COMMON_HEADERS, ...NO_STORE, ...headers }, content: { 'application/json': { schema } } },
})

/** The headers of a request by which a client says which state of a record it knows. */
export const IF_MATCH = {
  'If-Match': { type: 'string', description: 'The `ETag` of the record as it was read: where it has changed since, nothing is done (412)' },
}
export const IF_NONE_MATCH = {
  'If-None-Match': {
    type: 'string',
    description: 'The `ETag` of an answer that the client has: where that still holds, it is not sent again (304)',
  },
}
export const IDEMPOTENCY_KEY = {
  'Idempotency-Key': {
    type: 'string',
    maxLength: 300,
    description:
      'A text in quotes that no other request of the client has, such as a UUID. Who sends the same request again with the same key gets the first answer again, and nothing is done twice',
  },
}
export const IDEMPOTENCY_REPLAYED = {
  'Idempotency-Replayed': {
    type: 'string',
    const: 'true',
    description: 'Where it is the stored answer to an earlier request with this key',
  },
}
/** What a POST with an Idempotency-Key can meet. */
export const IDEMPOTENCY_ERRORS: readonly ErrorCode[] = ['idempotency-key-in-use', 'idempotency-key-reused']

/** Of the headers of a request. */
export const buildHeadersSchema = (properties: Record<string, object>) =>
  Type.Unsafe<Record<string, unknown>>({ type: 'object', properties })

export const MERGE_PATCH = 'application/merge-patch+json'

export interface Success {
  /** Of an action: where it is not 200, the answer is not the record. */
  status?: number
  description: string
  schema?: TSchema
  /** Its media type, where that is not JSON. */
  type?: string
  headers?: object
  /** What it may be kept by; otherwise it is not to be kept. */
  cached?: boolean
  /** Answers besides, by status. */
  others?: Record<number, object>
}

/** The response to a POST that starts a job. */
export const JOB_ACCEPTED: Success = {
  status: 202,
  description: 'The job, which runs later',
  schema: Type.Ref('Job'),
  headers: { Location: { type: 'string', format: 'uri', description: 'URL of the job' }, ...IDEMPOTENCY_REPLAYED },
}

/** The answers of an operation: the good one and, by status, the problems. */
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
    ...Object.fromEntries(Object.entries(problems).map(([failure, of]) => [failure, buildProblemResponse(Number(failure), of ?? [])])),
  }
}

const buildProblemResponse = (status: number, codes: readonly ErrorCode[]) => ({
  description: codes.map((code) => `\`${code}\`: ${errors[code].title}.`).join(' '),
  headers: {
    ...COMMON_HEADERS,
    ...NO_STORE,
    ...(status === 412 && { ETag: { ...ETAG, description: 'The state that it has now' } }),
    ...(status === 401 && { 'WWW-Authenticate': { type: 'string', description: 'How to say who asks (RFC 6750)' } }),
    ...((status === 429 || status === 503) && RETRY_AFTER),
    ...(status === 415 && { 'Accept-Patch': { type: 'string', description: 'On PATCH: the types that it takes (RFC 5789)' } }),
  },
  content: { 'application/problem+json': { schema: Type.Ref('Problem') } },
})
