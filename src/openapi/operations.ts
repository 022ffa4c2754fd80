// What a route tells Fastify, and the OpenAPI document, of a resource.
import { type TObject, type TSchema, Type } from '@sinclair/typebox'
import type { ErrorCode } from '../errors.ts'
import { MAX_INTEGER } from '../query/fields.ts'
import { type ListQuery, MAX_FILTERS } from '../query/params.ts'
import { parameter } from '../query/querystring.ts'
import { type Body, type Resource, upsertKey } from '../query/resource.ts'
import { Unreadable } from '../query/values.ts'
import {
  alike,
  CONDITIONS,
  guard,
  headersOf,
  IDEMPOTENCY_KEY,
  MERGE_PATCH,
  NONE_MATCH,
  notModified,
  READING,
  REPLAYED,
  RETRYING,
  responses,
  STATE,
  type Success,
  WITH_BODY,
  WRITING,
} from './responses.ts'

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
  description: `All filters have to hold; at most ${MAX_FILTERS} are taken. \`!\` behind the name of a filter negates it, as in \`brand!=Acme\` or \`price__gte!=50\`. The links in the answer carry a \`cursor\`: who follows them meets no record twice and misses none, whatever is written meanwhile. \`Prefer: handling=lenient\` has unknown parameters and \`ordering\` fields ignored, and a \`page_size\` above the maximum taken for the maximum.`,
  querystring: Type.Unsafe<ListQuery>(resource.list.querystring),
  headers: headersOf(NONE_MATCH),
  response: responses(
    200,
    {
      description: 'One page',
      schema: Type.Ref(`${resource.schemas.record.$id}List`),
      headers: {
        Link: { type: 'string', description: 'The first, previous, next and, where it is known, last page (RFC 8288)' },
      },
      cached: true,
      others: notModified(),
    },
    [...guard(resource.access.read), ...READING, 'page-not-found', 'query-too-expensive', 'precondition-failed'],
  ),
})

const conflicts = ({ unique }: Resource): readonly ErrorCode[] => (unique.length > 0 ? ['not-unique'] : [])

/** Of the answer to a create where it is more than the record. */
type Made = Pick<Success, 'schema'>

export const createSchema = (resource: Resource, made: Made = {}, codes: readonly ErrorCode[] = []) => ({
  ...operation(resource, 'create', `Create a ${resource.singular}`),
  querystring: NoParameters,
  headers: headersOf(IDEMPOTENCY_KEY),
  body: Type.Unsafe<Body>(Type.Ref(resource.schemas.create.$id as string)),
  response: responses(
    201,
    {
      description: 'The record as it was made',
      schema: made.schema ?? Type.Ref(resource.schemas.record.$id as string),
      headers: { Location: { type: 'string', format: 'uri', description: 'Its URL' }, ...STATE, ...REPLAYED },
    },
    [...guard(resource.access.write), ...WRITING, ...WITH_BODY, ...RETRYING, ...conflicts(resource), ...codes],
  ),
})

function upsertText(resource: Resource): string {
  const key = upsertKey(resource)
  return key === undefined ? '' : ` \`upsert\` changes the record with the same \`${key}\`, or makes it.`
}

/** `input` is what its bodies are. */
export const bulkSchema = <B extends TSchema>(resource: Resource, input: B) => ({
  ...operation(resource, 'bulk', `Create, change and delete many ${resource.table}`),
  description: `In the order in which they are given, in one transaction unless \`atomic\` is false.${upsertText(resource)} Ten operations count as one request.`,
  querystring: NoParameters,
  headers: headersOf(IDEMPOTENCY_KEY),
  body: input,
  response: responses(
    200,
    {
      description: 'All were done',
      schema: Type.Ref('BulkResult'),
      headers: REPLAYED,
      others: alike(
        207,
        'Some were done, some were not: `results` says which. Only with `atomic: false`',
        Type.Ref('BulkResult'),
        REPLAYED,
      ),
    },
    [...changing(resource), ...RETRYING, 'in-use'],
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
  headers: headersOf({ ...CONDITIONS, ...IDEMPOTENCY_KEY }),
  response: responses(success.status ?? 200, { ...success, headers: { ...(!success.status && STATE), ...REPLAYED, ...success.headers } }, [
    ...guard(resource.access.write),
    ...WRITING,
    ...RETRYING,
    'not-found',
    'precondition-failed',
    ...codes,
  ]),
})

const answer = (resource: Resource) => ({ description: 'The record', schema: Type.Ref(resource.schemas.record.$id as string) })

const modified = { 'Last-Modified': STATE['Last-Modified'] }

export const readSchema = (resource: Resource, name = 'read', summary = 'Read') => ({
  ...ofRecord(resource, name, summary),
  headers: headersOf(NONE_MATCH),
  response: responses(200, { ...answer(resource), cached: true, headers: modified, others: notModified(modified) }, [
    ...guard(resource.access.read),
    ...READING,
    'not-found',
    'precondition-failed',
  ]),
})

/** What a change of a record that is there can meet. */
const HELD: readonly ErrorCode[] = ['not-found', 'precondition-failed', 'precondition-required']

/** What has to hold between records, and a change may break. */
export const changeConflicts = (resource: Resource): readonly ErrorCode[] => [
  ...conflicts(resource),
  ...(resource.references.some(({ target }) => target === resource.table) ? (['cycle'] as const) : []),
]

const changing = (resource: Resource): readonly ErrorCode[] => [
  ...guard(resource.access.write),
  ...WRITING,
  ...WITH_BODY,
  ...HELD,
  ...changeConflicts(resource),
]

export const replaceSchema = (resource: Resource) => ({
  ...ofRecord(resource, 'replace', 'Replace'),
  description: 'Members that are left out return to their defaults.',
  headers: headersOf(CONDITIONS),
  body: Type.Unsafe<Body>(Type.Ref(resource.schemas.create.$id as string)),
  response: responses(200, answer(resource), changing(resource)),
})

export const mergeSchema = (resource: Resource, codes: readonly ErrorCode[] = []) => ({
  ...ofRecord(resource, 'merge', 'Change'),
  description: 'Members that are left out stay as they are, and JSON values are merged member by member (RFC 7396).',
  consumes: ['application/json', MERGE_PATCH],
  headers: headersOf(CONDITIONS),
  body: Type.Unsafe<Body>(Type.Ref(resource.schemas.merge.$id as string)),
  response: responses(200, { ...answer(resource), headers: STATE }, [...changing(resource), ...codes]),
})

/** `resources` are all of them: some may refer to this one. */
export const removeSchema = (resource: Resource, resources: readonly Resource[], codes: readonly ErrorCode[] = []) => ({
  ...ofRecord(resource, 'remove', 'Delete'),
  headers: headersOf(CONDITIONS),
  response: responses(204, { description: 'It is gone' }, [
    ...guard(resource.access.write),
    ...WRITING,
    ...HELD,
    ...(resources.some(({ references }) => references.some(({ target }) => target === resource.table)) ? (['in-use'] as const) : []),
    ...codes,
  ]),
})
