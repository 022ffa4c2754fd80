// What a route tells Fastify, and the OpenAPI document, of a resource.
import { type TObject, type TSchema, Type } from '@sinclair/typebox'
import { type ErrorCode, errors } from '../errors.ts'
import { MAX_INTEGER } from './fields.ts'
import { type ListQuery, MAX_FILTERS } from './params.ts'
import { parameter } from './querystring.ts'
import type { Body, Resource } from './resource.ts'
import { Unreadable } from './values.ts'

export const Problem = Type.Object(
  {
    type: Type.String({ format: 'uri', description: 'A name for the kind of error' }),
    title: Type.String({ description: 'The same for every error of the kind' }),
    status: Type.Integer(),
    detail: Type.String({ description: 'What happened this time, for people' }),
    instance: Type.String({ description: 'The id of the request' }),
    code: Type.String({ enum: Object.keys(errors), description: 'For programs' }),
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

/** The path parameter of a record. Anything that cannot be an id is the id of nothing. */
export const IdParams = Type.Object({
  id: parameter<number>(
    { type: 'integer', minimum: 1, maximum: MAX_INTEGER },
    {
      read(text) {
        const id = /^[1-9]\d{0,15}$/.test(text) ? Number(text) : Number.NaN
        if (!Number.isSafeInteger(id)) throw new Unreadable('is no id')
        return id
      },
      write: String,
    },
  ),
})

export const NoParameters = Type.Object({}, { additionalProperties: false })

/** Errors that any request can meet. */
const COMMON: readonly ErrorCode[] = [
  'invalid-request',
  'malformed-request',
  'request-timeout',
  'expectation-failed',
  'headers-too-large',
  'internal-error',
]
const READING: readonly ErrorCode[] = ['database-unavailable']
const WRITING: readonly ErrorCode[] = [...READING, 'database-busy']
const WITH_BODY: readonly ErrorCode[] = ['malformed-json', 'body-too-large', 'unsupported-media-type']

/** Headers of every answer. */
const common = {
  'X-Request-Id': { type: 'string', format: 'uuid', description: 'The id of the request, as in `instance` of a problem and in the log' },
  'Preference-Applied': { type: 'string', description: 'The `handling` that the request preferred (RFC 7240)' },
  Vary: { type: 'string', const: 'Prefer' },
}
const retryAfter = { 'Retry-After': { type: 'integer', description: 'Seconds after which to try again' } }

/** Of answers that are about this moment only. */
export const noStore = { 'Cache-Control': { type: 'string', const: 'no-store', description: 'Not to be kept' } }

export const MERGE_PATCH = 'application/merge-patch+json'

interface Success {
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
    ...(status === 503 && retryAfter),
    ...(status === 415 && { 'Accept-Patch': { type: 'string', description: 'On PATCH: the types that it takes (RFC 5789)' } }),
  },
  content: { 'application/problem+json': { schema: Type.Ref('Problem') } },
})

/** A list in an answer: `ProductList`. */
export const listOf = ({ schemas: { record } }: Resource): TObject =>
  Type.Object(
    {
      count: Type.Unsafe({ type: ['integer', 'null'], minimum: 0, description: 'All records that match; null with `count=none`' }),
      count_exact: Type.Optional(
        Type.Unsafe({ const: false, description: 'There where counting was given up: at least `count` records match' }),
      ),
      next: Type.Unsafe({ type: ['string', 'null'], format: 'uri' }),
      previous: Type.Unsafe({ type: ['string', 'null'], format: 'uri' }),
      results: Type.Array(Type.Ref(record.$id as string)),
    },
    { $id: `${record.$id}List`, additionalProperties: false },
  )

const operation = ({ table }: Resource, name: string, summary: string) => ({ tags: [table], operationId: `${table}.${name}`, summary })

export const listSchema = (resource: Resource) => ({
  ...operation(resource, 'list', `List ${resource.table}`),
  description: `All filters have to hold; at most ${MAX_FILTERS} are taken. The links in the answer carry a \`cursor\`: who follows them meets no record twice and misses none, whatever is written meanwhile. \`Prefer: handling=lenient\` has unknown parameters and \`ordering\` fields ignored, and a \`page_size\` above the maximum taken for the maximum.`,
  querystring: Type.Unsafe<ListQuery>(resource.list.querystring),
  response: responses(
    200,
    {
      description: 'One page',
      schema: Type.Ref(`${resource.schemas.record.$id}List`),
      headers: {
        Link: { type: 'string', description: 'The first, previous, next and, where it is known, last page (RFC 8288)' },
      },
    },
    [...READING, 'page-not-found', 'query-too-expensive'],
  ),
})

export const createSchema = (resource: Resource) => ({
  ...operation(resource, 'create', `Create a ${resource.singular}`),
  querystring: NoParameters,
  body: Type.Unsafe<Body>(Type.Ref(resource.schemas.create.$id as string)),
  response: responses(
    201,
    {
      description: 'The record as it was made',
      schema: Type.Ref(resource.schemas.record.$id as string),
      headers: { Location: { type: 'string', format: 'uri', description: 'Its URL' } },
    },
    [...WRITING, ...WITH_BODY, 'not-unique'],
  ),
})

const ofRecord = (resource: Resource, name: string, summary: string) => ({
  ...operation(resource, name, `${summary} a ${resource.singular}`),
  params: IdParams,
  querystring: NoParameters,
})

const answer = (resource: Resource) => ({ description: 'The record', schema: Type.Ref(resource.schemas.record.$id as string) })

export const readSchema = (resource: Resource) => ({
  ...ofRecord(resource, 'read', 'Read'),
  response: responses(200, answer(resource), [...READING, 'not-found']),
})

const CHANGING: readonly ErrorCode[] = [...WRITING, ...WITH_BODY, 'not-found', 'not-unique']
const changing = (resource: Resource): readonly ErrorCode[] =>
  resource.references.some(({ target }) => target === resource.table) ? [...CHANGING, 'cycle'] : CHANGING

export const replaceSchema = (resource: Resource) => ({
  ...ofRecord(resource, 'replace', 'Replace'),
  description: 'Members that are left out return to their defaults.',
  body: Type.Unsafe<Body>(Type.Ref(resource.schemas.create.$id as string)),
  response: responses(200, answer(resource), changing(resource)),
})

export const mergeSchema = (resource: Resource) => ({
  ...ofRecord(resource, 'merge', 'Change'),
  description: 'Members that are left out stay as they are (RFC 7396).',
  consumes: ['application/json', MERGE_PATCH],
  body: Type.Unsafe<Body>(Type.Ref(resource.schemas.merge.$id as string)),
  response: responses(200, answer(resource), changing(resource)),
})

/** `resources` are all of them: some may refer to this one. */
export const removeSchema = (resource: Resource, resources: readonly Resource[]) => ({
  ...ofRecord(resource, 'remove', 'Delete'),
  response: responses(204, { description: 'It is gone' }, [
    ...WRITING,
    'not-found',
    ...(resources.some(({ references }) => references.some(({ target }) => target === resource.table)) ? (['in-use'] as const) : []),
  ]),
})
