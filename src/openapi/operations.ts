// Schemas of the operations of a resource, for Fastify and for the OpenAPI document.
import { type TObject, type TSchema, Type } from '@sinclair/typebox'
import type { ErrorCode } from '../errors.ts'
import { MAX_INTEGER } from '../query/fields.ts'
import { type ListQuery, MAX_FILTERS } from '../query/params.ts'
import { parameter } from '../query/querystring.ts'
import { type Body, findUpsertKey, type Resource } from '../query/resource.ts'
import { Unreadable } from '../query/values.ts'
import {
  BODY_ERRORS,
  buildFurtherResponse,
  buildHeadersSchema,
  buildNotModified,
  buildResponses,
  IDEMPOTENCY_ERRORS,
  IDEMPOTENCY_KEY,
  IDEMPOTENCY_REPLAYED,
  IF_MATCH,
  IF_NONE_MATCH,
  listAccessErrors,
  MERGE_PATCH,
  READ_ERRORS,
  STATE_HEADERS,
  type Success,
  WRITE_ERRORS,
} from './responses.ts'

/** The path parameter of a record. A text that is not an id leads to 404. */
const IdParams = Type.Object({
  id: parameter<number>(
    { type: 'integer', minimum: 1, maximum: MAX_INTEGER },
    {
      read(text) {
        const id = /^[1-9]\d{0,15}$/.test(text) ? Number(text) : Number.NaN
        if (!Number.isSafeInteger(id)) throw new Unreadable('is not an id')
        return id
      },
      write: String,
    },
  ),
})

export const NoParameters = Type.Object({}, { additionalProperties: false })

/** Builds the schema of a page of a list: `ProductList`. */
export const buildListSchema = ({ schemas: { record } }: Resource): TObject =>
  Type.Object(
    {
      count: Type.Unsafe({ type: ['integer', 'null'], minimum: 0, description: 'Number of records that match; null with `count=none`' }),
      count_exact: Type.Optional(
        Type.Unsafe({ const: false, description: 'Present if counting stopped at its limit: at least `count` records match' }),
      ),
      next: Type.Unsafe({ type: ['string', 'null'], format: 'uri' }),
      previous: Type.Unsafe({ type: ['string', 'null'], format: 'uri' }),
      results: Type.Array(Type.Ref(record.$id as string)),
    },
    { $id: `${record.$id}List`, additionalProperties: false },
  )

const buildOperation = ({ table }: Resource, name: string, summary: string) => ({ tags: [table], operationId: `${table}.${name}`, summary })

export const describeList = (resource: Resource) => ({
  ...buildOperation(resource, 'list', `List ${resource.table}`),
  description: `Lists the records that match all filters; at most ${MAX_FILTERS} are allowed. \`!\` after the name of a filter negates it, as in \`brand!=Acme\` or \`price__gte!=50\`. Links to other pages contain a \`cursor\`: following them never repeats or skips a record, even during writes. \`Prefer: handling=lenient\` ignores unknown parameters and \`ordering\` fields, and reduces a \`page_size\` above the maximum to the maximum.`,
  querystring: Type.Unsafe<ListQuery>(resource.list.querystring),
  headers: buildHeadersSchema(IF_NONE_MATCH),
  response: buildResponses(
    200,
    {
      description: 'A page of the list',
      schema: Type.Ref(`${resource.schemas.record.$id}List`),
      headers: {
        Link: { type: 'string', description: 'Links to the first, previous, next and, if known, last page (RFC 8288)' },
      },
      cached: true,
      others: buildNotModified(),
    },
    [...listAccessErrors(resource.access.read), ...READ_ERRORS, 'page-not-found', 'query-too-expensive', 'precondition-failed'],
  ),
})

const listConflicts = ({ unique }: Resource): readonly ErrorCode[] => (unique.length > 0 ? ['not-unique'] : [])

/** Schema of the response to a create, if it is more than the record. */
type CreateSuccess = Pick<Success, 'schema'>

export const describeCreate = (resource: Resource, made: CreateSuccess = {}, codes: readonly ErrorCode[] = []) => ({
  ...buildOperation(resource, 'create', `Create a ${resource.singular}`),
  querystring: NoParameters,
  headers: buildHeadersSchema(IDEMPOTENCY_KEY),
  body: Type.Unsafe<Body>(Type.Ref(resource.schemas.create.$id as string)),
  response: buildResponses(
    201,
    {
      description: 'The record that was created',
      schema: made.schema ?? Type.Ref(resource.schemas.record.$id as string),
      headers: { Location: { type: 'string', format: 'uri', description: 'URL of the record' }, ...STATE_HEADERS, ...IDEMPOTENCY_REPLAYED },
    },
    [
      ...listAccessErrors(resource.access.write),
      ...WRITE_ERRORS,
      ...BODY_ERRORS,
      ...IDEMPOTENCY_ERRORS,
      ...listConflicts(resource),
      ...codes,
    ],
  ),
})

function describeUpsert(resource: Resource): string {
  const key = findUpsertKey(resource)
  return key === undefined ? '' : ` \`upsert\` changes the record with the same \`${key}\`, or creates it.`
}

/** Describes the bulk operation. `input` is the schema of its body. */
export const describeBulk = <B extends TSchema>(resource: Resource, input: B) => ({
  ...buildOperation(resource, 'bulk', `Create, change and delete many ${resource.table}`),
  description: `Runs the operations in their order, in one transaction unless \`atomic\` is false.${describeUpsert(resource)} Ten operations count as one request of the rate limit.`,
  querystring: NoParameters,
  headers: buildHeadersSchema(IDEMPOTENCY_KEY),
  body: input,
  response: buildResponses(
    200,
    {
      description: 'All operations succeeded',
      schema: Type.Ref('BulkResult'),
      headers: IDEMPOTENCY_REPLAYED,
      others: buildFurtherResponse(
        207,
        'Some operations failed; see `results`. Only with `atomic: false`',
        Type.Ref('BulkResult'),
        IDEMPOTENCY_REPLAYED,
      ),
    },
    [...listChangeErrors(resource), ...IDEMPOTENCY_ERRORS, 'in-use'],
  ),
})

const buildRecordOperation = (resource: Resource, name: string, summary: string) => ({
  ...buildOperation(resource, name, `${summary} a ${resource.singular}`),
  params: IdParams,
  querystring: NoParameters,
})

/** Describes an action on a record: a POST to a URL below that of the record. */
export const describeAction = (
  resource: Resource,
  { name, ...texts }: { name: string; summary: string; description: string },
  success: Success,
  codes: readonly ErrorCode[],
) => ({
  ...buildRecordOperation(resource, name, ''),
  ...texts,
  headers: buildHeadersSchema({ ...IF_MATCH, ...IDEMPOTENCY_KEY }),
  response: buildResponses(
    success.status ?? 200,
    { ...success, headers: { ...(!success.status && STATE_HEADERS), ...IDEMPOTENCY_REPLAYED, ...success.headers } },
    [...listAccessErrors(resource.access.write), ...WRITE_ERRORS, ...IDEMPOTENCY_ERRORS, 'not-found', 'precondition-failed', ...codes],
  ),
})

const buildRecordResponse = (resource: Resource) => ({ description: 'The record', schema: Type.Ref(resource.schemas.record.$id as string) })

const modified = { 'Last-Modified': STATE_HEADERS['Last-Modified'] }

export const describeRead = (resource: Resource, name = 'read', summary = 'Read') => ({
  ...buildRecordOperation(resource, name, summary),
  headers: buildHeadersSchema(IF_NONE_MATCH),
  response: buildResponses(200, { ...buildRecordResponse(resource), cached: true, headers: modified, others: buildNotModified(modified) }, [
    ...listAccessErrors(resource.access.read),
    ...READ_ERRORS,
    'not-found',
    'precondition-failed',
  ]),
})

/** Errors of a change to an existing record. */
const RECORD_ERRORS: readonly ErrorCode[] = ['not-found', 'precondition-failed', 'precondition-required']

/** Lists the errors of a change that violates constraints between records. */
export const listChangeConflicts = (resource: Resource): readonly ErrorCode[] => [
  ...listConflicts(resource),
  ...(resource.references.some(({ target }) => target === resource.table) ? (['cycle'] as const) : []),
]

const listChangeErrors = (resource: Resource): readonly ErrorCode[] => [
  ...listAccessErrors(resource.access.write),
  ...WRITE_ERRORS,
  ...BODY_ERRORS,
  ...RECORD_ERRORS,
  ...listChangeConflicts(resource),
]

export const describeReplace = (resource: Resource) => ({
  ...buildRecordOperation(resource, 'replace', 'Replace'),
  description: 'Omitted members return to their defaults.',
  headers: buildHeadersSchema(IF_MATCH),
  body: Type.Unsafe<Body>(Type.Ref(resource.schemas.create.$id as string)),
  response: buildResponses(200, buildRecordResponse(resource), listChangeErrors(resource)),
})

export const describeMerge = (resource: Resource, codes: readonly ErrorCode[] = []) => ({
  ...buildRecordOperation(resource, 'merge', 'Change'),
  description: 'Omitted members stay unchanged, and JSON values are merged member by member (RFC 7396).',
  consumes: ['application/json', MERGE_PATCH],
  headers: buildHeadersSchema(IF_MATCH),
  body: Type.Unsafe<Body>(Type.Ref(resource.schemas.merge.$id as string)),
  response: buildResponses(200, { ...buildRecordResponse(resource), headers: STATE_HEADERS }, [...listChangeErrors(resource), ...codes]),
})

/** Describes deletion. `resources` are all resources, since records of any of them can refer to this one. */
export const describeRemove = (resource: Resource, resources: readonly Resource[], codes: readonly ErrorCode[] = []) => ({
  ...buildRecordOperation(resource, 'remove', 'Delete'),
  headers: buildHeadersSchema(IF_MATCH),
  response: buildResponses(204, { description: 'The record was deleted' }, [
    ...listAccessErrors(resource.access.write),
    ...WRITE_ERRORS,
    ...RECORD_ERRORS,
    ...(resources.some(({ references }) => references.some(({ target }) => target === resource.table)) ? (['in-use'] as const) : []),
    ...codes,
  ]),
})
