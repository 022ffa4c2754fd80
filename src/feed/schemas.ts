// Schemas of the feed, of a record's history and of restoring a state: for OpenAPI and validation.
import { type TObject, Type } from '@sinclair/typebox'
import { describeUnknown } from '../did-you-mean.ts'
import type { ErrorCode } from '../errors.ts'
import { describeAction, describeRead, listChangeConflicts } from '../openapi/operations.ts'
import { BODY_ERRORS, buildHeadersSchema, buildResponses, listAccessErrors, READ_ERRORS } from '../openapi/responses.ts'
import { MAX_INTEGER } from '../query/fields.ts'
import { numberParameter, parameter } from '../query/querystring.ts'
import type { Resource } from '../query/resource.ts'
import { Unreadable } from '../query/values.ts'
import type { Access } from '../roles.ts'
import { buildSinceParameter, type Position } from './positions.ts'

export const DEFAULT_FEED_PAGE = 100
const MAX_FEED_PAGE = 1_000
export const DEFAULT_HISTORY_PAGE = 20
const MAX_HISTORY_PAGE = 100

const buildResourceParameter = (resources: readonly Resource[]) => {
  const names = resources.map(({ table }) => String(table))
  return parameter<string>(
    { type: 'string', enum: names, description: 'Only changes of this resource.' },
    {
      read(text) {
        const name = text.trim()
        if (names.includes(name)) return name
        throw new Unreadable(describeUnknown('is not a resource', name, names))
      },
      write: String,
    },
  )
}

export interface FeedQuery {
  since?: Position | 'now'
  resource?: string
  page_size?: number
}

const buildQuerySchema = <T>(parameters: Record<string, object>) =>
  Type.Unsafe<T>(
    Type.Object(Object.fromEntries(Object.entries(parameters).map(([name, schema]) => [name, Type.Optional(schema as TObject)])), {
      additionalProperties: false,
    }),
  )

const nullable = (type: string, description: string) => Type.Unsafe({ type: [type, 'null'], description })

/** Builds the members of an entry that the feed and the history share. */
const buildEntryMembers = (record: object) => ({
  operation: Type.Unsafe({ type: 'string', enum: ['create', 'update', 'delete', 'rotate'] }),
  version: Type.Unsafe({
    type: 'integer',
    minimum: 1,
    maximum: MAX_INTEGER,
    description: 'Version of the record after the change; before it, for a deletion.',
  }),
  at: Type.Unsafe({ type: 'string', format: 'date-time', description: 'Time of the change.' }),
  key: nullable(
    'integer',
    'Id of the API key of the change. Shown to admins and to the key itself; otherwise null. Null for the command line.',
  ),
  request: nullable('string', 'Id of the request. Shown to the same clients as `key`.'),
  reason: nullable('string', 'Reason that the client gave.'),
  changes: Type.Unsafe({
    type: 'object',
    description: 'Old and new value of each changed field; null if the record did not exist.',
    additionalProperties: { type: 'array', items: {}, minItems: 2, maxItems: 2 },
  }),
  record: Type.Unsafe({
    ...record,
    description: 'The record after the change. Null for a deletion, and in entries of old versions of Stockroom that did not store it.',
  }),
})

const FeedEntry = Type.Object(
  {
    position: Type.String({ description: 'Position after this entry.' }),
    resource: Type.String(),
    id: Type.Integer({ minimum: 1, description: 'Id of the record.' }),
    ...buildEntryMembers({ type: ['object', 'null'] }),
  },
  { additionalProperties: false },
)

const FeedPage = Type.Object(
  {
    position: Type.String({ description: 'Position after this page.' }),
    next: Type.String({ format: 'uri', description: 'URL of the next page. It may still be empty.' }),
    more: Type.Boolean({ description: 'Whether the next page has changes already.' }),
    lag_seconds: Type.Number({
      minimum: 0,
      description: 'Age of the oldest change that is held back by a running transaction, in seconds.',
    }),
    results: Type.Array(FeedEntry),
  },
  { additionalProperties: false },
)

const buildOperation = (name: string, summary: string, description: string) => ({
  tags: ['changes'],
  operationId: `changes.${name}`,
  summary,
  description,
})

const FEED_ERRORS: readonly ErrorCode[] = [...listAccessErrors('key'), ...READ_ERRORS, 'query-too-expensive', 'position-gone']

export const buildFeedSchema = (resources: readonly Resource[]) => ({
  ...buildOperation(
    'feed',
    'Feed of changes, in order',
    'A client that follows `next` misses no change and sees none twice. Changes of resources that only admins may read are hidden from others. A page is limited to 1 MiB of changes and records, but has at least one entry. With `resource`, or without the role `admin`, a page may be empty while `more` is true, because hidden changes were skipped.',
  ),
  querystring: buildQuerySchema<FeedQuery>({
    since: buildSinceParameter('the oldest change'),
    resource: buildResourceParameter(resources),
    page_size: numberParameter(MAX_FEED_PAGE, 'Changes on a page', DEFAULT_FEED_PAGE),
  }),
  response: buildResponses(200, { description: 'Changes, oldest first', schema: FeedPage }, FEED_ERRORS),
})

const STREAM_HEADERS = {
  'X-Accel-Buffering': { type: 'string', const: 'no', description: 'Tells proxies to pass on each event at once' },
}

/** The media type of Server-Sent Events. */
export const EVENT_STREAM = 'text/event-stream'

export function buildStreamSchema(resources: readonly Resource[]) {
  const events = { description: 'Events, until the client disconnects', schema: Type.String(), headers: STREAM_HEADERS }
  return {
    ...buildOperation(
      'stream',
      'Feed of changes as Server-Sent Events',
      '`data` is an entry as in the feed, `id` its position, and `event` the resource and the operation, such as `products.update`. The event `gone` ends the stream if changes after the position were pruned.',
    ),
    querystring: buildQuerySchema<Omit<FeedQuery, 'page_size'>>({
      since: buildSinceParameter('now'),
      resource: buildResourceParameter(resources),
    }),
    headers: buildHeadersSchema({
      'Last-Event-ID': { type: 'string', description: '`id` of the last event that the client received. Overrides `since`.' },
    }),
    response: buildResponses(200, { ...events, type: EVENT_STREAM }, [...FEED_ERRORS, 'too-many-streams']),
  }
}

export interface HistoryQuery {
  before?: number
  page_size?: number
}

/** Builds the schema of a page of a record's history. */
const buildHistorySchema = ({ schemas: { record } }: Resource) =>
  Type.Object(
    {
      next: Type.Unsafe({ type: ['string', 'null'], format: 'uri', description: 'URL of the page with earlier changes.' }),
      results: Type.Array(
        Type.Object(buildEntryMembers({ anyOf: [{ $ref: `${record.$id}#` }, { type: 'null' }] }), { additionalProperties: false }),
      ),
    },
    { additionalProperties: false },
  )

/** Returns the access that a history requires. It always requires a key: old prices, reasons and deleted records are not public. */
export const computeHistoryAccess = ({ access: { read } }: Resource): Access => (read === 'read' || read === 'anyone' ? 'key' : read)

export const buildHistoryRouteSchema = (resource: Resource) => ({
  ...describeRead(resource, 'history', 'List the changes of'),
  description: 'Newest first, as far back as changes are stored. Deleted records have a history too. Requires a key of any role.',
  headers: buildHeadersSchema({}),
  querystring: buildQuerySchema<HistoryQuery>({
    before: numberParameter(MAX_INTEGER, 'Only changes before this version'),
    page_size: numberParameter(
      MAX_HISTORY_PAGE,
      'Changes on a page. A deletion has the version of the change before it and is added to its page',
      DEFAULT_HISTORY_PAGE,
    ),
  }),
  response: buildResponses(200, { description: 'Changes, newest first', schema: buildHistorySchema(resource) }, [
    ...listAccessErrors(computeHistoryAccess(resource)),
    ...READ_ERRORS,
    'query-too-expensive',
    'not-found',
  ]),
})

const RestoreInput = Type.Object(
  {
    version: Type.Integer({
      minimum: 1,
      maximum: MAX_INTEGER,
      description: 'Version to restore.',
      examples: [1],
    }),
  },
  { $id: 'RestoreInput', additionalProperties: false },
)

export const buildRestoreSchema = (resource: Resource) => ({
  ...describeAction(
    resource,
    {
      name: 'restore',
      summary: `Restore an earlier state of a ${resource.singular}`,
      description:
        'Writes the earlier state as a new change. A deleted record gets its old id again. Constraints are checked as for any change: a unique value may be taken, or a referenced record deleted.',
    },
    { description: 'The restored record', schema: Type.Ref(resource.schemas.record.$id as string) },
    [...BODY_ERRORS, ...listChangeConflicts(resource)],
  ),
  body: RestoreInput,
})
