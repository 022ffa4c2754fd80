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
const COMMON: readonly ErrorCode[] = [
  'invalid-request',
  'malformed-request',
  'request-timeout',
  'expectation-failed',
  'headers-too-large',
  'internal-error',
]
/** Errors of a request that may not do what it asks for, not so often, or not now. */
export const guard = (access: Access): readonly ErrorCode[] =>
  access === 'unchecked'
    ? []
    : [
        'key-refused',
        'quota-exceeded',
        'overloaded',
        ...(access === 'anyone' ? [] : (['key-required', ...(access === 'read' ? [] : ['forbidden' as const])] as const)),
      ]
export const READING: readonly ErrorCode[] = ['database-unavailable']
export const WRITING: readonly ErrorCode[] = [...READING, 'database-busy']
export const WITH_BODY: readonly ErrorCode[] = ['malformed-json', 'body-too-large', 'unsupported-media-type']

/** What a browser is not to make of an answer. The page at /docs/ has others. */
export const FIXED_HEADERS: Record<string, string> = {
  'X-Content-Type-Options': 'nosniff',
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
  'Referrer-Policy': 'no-referrer',
}

/** Headers of every answer. */
const common = {
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
  Vary: { type: 'string', description: '`Prefer`, and `Origin` where other origins may call the service' },
}
const retryAfter = { 'Retry-After': { type: 'integer', description: 'Seconds after which to try again' } }

/** Of answers that are about this moment only. */
export const noStore = { 'Cache-Control': { type: 'string', const: 'no-store', description: 'Not to be kept' } }

export const MERGE_PATCH = 'application/merge-patch+json'

export interface Success {
  description: string
  schema?: TSchema
  headers?: object
  /** Headers of the problems too. */
  always?: object
}

/** The answers of an operation: the good one and, by status, the problems. */
export function responses(status: number, { description, schema, headers, always }: Success, codes: readonly ErrorCode[] = []) {
  const problems = Object.groupBy([...COMMON, ...codes], (code) => errors[code].status)
  return {
    [status]: {
      description,
      headers: { ...common, ...headers, ...always },
      ...(schema ? { content: { 'application/json': { schema } } } : { type: 'null' }),
    },
    ...Object.fromEntries(Object.entries(problems).map(([failure, of]) => [failure, problemResponse(Number(failure), of ?? [], always)])),
  }
}

const problemResponse = (status: number, codes: readonly ErrorCode[], always: object | undefined) => ({
  description: codes.map((code) => `\`${code}\`: ${errors[code].title}.`).join(' '),
  headers: {
    ...common,
    ...always,
    ...(status === 401 && { 'WWW-Authenticate': { type: 'string', description: 'How to say who asks (RFC 6750)' } }),
    ...((status === 429 || status === 503) && retryAfter),
    ...(status === 415 && { 'Accept-Patch': { type: 'string', description: 'On PATCH: the types that it takes (RFC 5789)' } }),
  },
  content: { 'application/problem+json': { schema: Type.Ref('Problem') } },
})
