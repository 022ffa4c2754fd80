// What a route tells Fastify, and the OpenAPI document, of a resource.
import { type TObject, Type } from '@sinclair/typebox'
import type { ErrorCode } from '../errors.ts'
import { MAX_INTEGER } from './fields.ts'
import { type ListQuery, MAX_FILTERS } from './params.ts'
import { parameter } from './querystring.ts'
import type { Body, Resource } from './resource.ts'
import { guard, MERGE_PATCH, READING, responses, type Success, WITH_BODY, WRITING } from './responses.ts'
import { Unreadable } from './values.ts'

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
    [...guard(resource.access.read), ...READING, 'page-not-found', 'query-too-expensive'],
  ),
})

const conflicts = ({ unique }: Resource): readonly ErrorCode[] => (unique.length > 0 ? ['not-unique'] : [])

/** Of the answer to a create where it is more than the record. */
type Made = Pick<Success, 'schema' | 'headers'>

export const createSchema = (resource: Resource, made: Made = {}) => ({
  ...operation(resource, 'create', `Create a ${resource.singular}`),
  querystring: NoParameters,
  body: Type.Unsafe<Body>(Type.Ref(resource.schemas.create.$id as string)),
  response: responses(
    201,
    {
      description: 'The record as it was made',
      schema: made.schema ?? Type.Ref(resource.schemas.record.$id as string),
      headers: { Location: { type: 'string', format: 'uri', description: 'Its URL' }, ...made.headers },
    },
    [...guard(resource.access.write), ...WRITING, ...WITH_BODY, ...conflicts(resource)],
  ),
})

const ofRecord = (resource: Resource, name: string, summary: string) => ({
  ...operation(resource, name, `${summary} a ${resource.singular}`),
  params: IdParams,
  querystring: NoParameters,
})

/** Of something that is done to a record, by POST to a URL below the record's own. */
export const actionSchema = (
  resource: Resource,
  { name, ...texts }: { name: string; summary: string; description: string },
  success: Success,
  codes: readonly ErrorCode[],
) => ({
  ...ofRecord(resource, name, ''),
  ...texts,
  response: responses(200, success, [...guard(resource.access.write), ...WRITING, 'not-found', ...codes]),
})

const answer = (resource: Resource) => ({ description: 'The record', schema: Type.Ref(resource.schemas.record.$id as string) })

export const readSchema = (resource: Resource) => ({
  ...ofRecord(resource, 'read', 'Read'),
  response: responses(200, answer(resource), [...guard(resource.access.read), ...READING, 'not-found']),
})

const changing = (resource: Resource): readonly ErrorCode[] => [
  ...guard(resource.access.write),
  ...WRITING,
  ...WITH_BODY,
  'not-found',
  ...conflicts(resource),
  ...(resource.references.some(({ target }) => target === resource.table) ? (['cycle'] as const) : []),
]

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
    ...guard(resource.access.write),
    ...WRITING,
    'not-found',
    ...(resources.some(({ references }) => references.some(({ target }) => target === resource.table)) ? (['in-use'] as const) : []),
  ]),
})
