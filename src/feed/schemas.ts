// What the OpenAPI document, and Fastify, are told of the feed, of a record's history and of bringing a state of it back.
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
export const MAX_FEED_PAGE = 1_000
export const DEFAULT_HISTORY_PAGE = 20
export const MAX_HISTORY_PAGE = 100

const buildResourceParameter = (resources: readonly Resource[]) => {
  const names = resources.map(({ table }) => String(table))
  return parameter<string>(
    { type: 'string', enum: names, description: 'Only what was done to records of this resource' },
    {
      read(text) {
        const name = text.trim()
        if (names.includes(name)) return name
        throw new Unreadable(describeUnknown('is no resource', name, names))
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

/** Of an entry, in the feed and in a record's history. */
const buildEntryMembers = (record: object) => ({
  operation: Type.Unsafe({ type: 'string', enum: ['create', 'update', 'delete', 'rotate'] }),
  version: Type.Unsafe({ type: 'integer', minimum: 1, maximum: MAX_INTEGER, description: 'Of the record afterwards or, deleted, before' }),
  at: Type.Unsafe({ type: 'string', format: 'date-time', description: 'When it was done' }),
  key: nullable('integer', 'Id of the API key that did it. Admins are told, and who did it; null for others, and for the command line'),
  request: nullable('string', 'Id of the request that did it: as `key`'),
  reason: nullable('string', 'Why, where it was said'),
  changes: Type.Unsafe({
    type: 'object',
    description: 'The old and the new value of each field that differs; null where there was, or is, no record',
    additionalProperties: { type: 'array', items: {}, minItems: 2, maxItems: 2 },
  }),
  record: Type.Unsafe({
    ...record,
    description: 'The record afterwards; null where it was deleted, and in entries of versions that did not keep it',
  }),
})

const FeedEntry = Type.Object(
  {
    position: Type.String({ description: 'Behind this entry' }),
    resource: Type.String(),
    id: Type.Integer({ minimum: 1, description: 'Of the record' }),
    ...buildEntryMembers({ type: ['object', 'null'] }),
  },
  { additionalProperties: false },
)

const FeedPage = Type.Object(
  {
    position: Type.String({ description: 'From where to go on' }),
    next: Type.String({ format: 'uri', description: 'The page that follows, now or later' }),
    more: Type.Boolean({ description: 'Whether there is something on it already' }),
    lag_seconds: Type.Number({
      minimum: 0,
      description: 'For how long the oldest change that cannot be shown yet has been waiting for a transaction that is still under way',
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
    'What was created, changed and deleted, in order',
    'Who follows `next` misses nothing and sees nothing twice. What only admins may read is shown to them alone. A page ends before its changes and records exceed 1 MiB, and has at least one entry. With `resource`, or without the role `admin`, a page may be empty while `more` is true: `position` has moved on.',
  ),
  querystring: buildQuerySchema<FeedQuery>({
    since: buildSinceParameter('from the first change that is kept'),
    resource: buildResourceParameter(resources),
    page_size: numberParameter(MAX_FEED_PAGE, 'Changes on a page', DEFAULT_FEED_PAGE),
  }),
  response: buildResponses(200, { description: 'Changes, the oldest first', schema: FeedPage }, FEED_ERRORS),
})

const STREAM_HEADERS = {
  'X-Accel-Buffering': { type: 'string', const: 'no', description: 'A proxy is to pass on each event at once' },
}

/** The media type of Server-Sent Events. */
export const EVENT_STREAM = 'text/event-stream'

export function buildStreamSchema(resources: readonly Resource[]) {
  const events = { description: 'Events, for as long as the client reads them', schema: Type.String(), headers: STREAM_HEADERS }
  return {
    ...buildOperation(
      'stream',
      'The same as Server-Sent Events, as it happens',
      'Each `data` is an entry as in the list, each `id` its position, each `event` the resource and the operation: `products.update`. `gone` is the last event where the position is no longer kept.',
    ),
    querystring: buildQuerySchema<Omit<FeedQuery, 'page_size'>>({
      since: buildSinceParameter('from now on'),
      resource: buildResourceParameter(resources),
    }),
    headers: buildHeadersSchema({
      'Last-Event-ID': { type: 'string', description: 'The `id` that the client has seen last. It goes before `since`' },
    }),
    response: buildResponses(200, { ...events, type: EVENT_STREAM }, [...FEED_ERRORS, 'too-many-streams']),
  }
}

export interface HistoryQuery {
  before?: number
  page_size?: number
}

/** An entry of a record's history: `ProductChange`. */
const buildHistorySchema = ({ schemas: { record } }: Resource) =>
  Type.Object(
    {
      next: Type.Unsafe({ type: ['string', 'null'], format: 'uri', description: 'The page with what was before' }),
      results: Type.Array(
        Type.Object(buildEntryMembers({ anyOf: [{ $ref: `${record.$id}#` }, { type: 'null' }] }), { additionalProperties: false }),
      ),
    },
    { additionalProperties: false },
  )

/** Old prices, reasons and deleted records are not public, so history needs a key even where records do not. */
export const computeHistoryAccess = ({ access: { read } }: Resource): Access => (read === 'read' || read === 'anyone' ? 'key' : read)

export const buildHistoryRouteSchema = (resource: Resource) => ({
  ...describeRead(resource, 'history', 'What was done to'),
  description:
    'The newest first, as far back as changes are kept. That of a record that was deleted is there too. It needs a key, of any role.',
  headers: buildHeadersSchema({}),
  querystring: buildQuerySchema<HistoryQuery>({
    before: numberParameter(MAX_INTEGER, 'Only what was done before this version'),
    page_size: numberParameter(
      MAX_HISTORY_PAGE,
      'Changes on a page; one more where a record was deleted, which has the version of the change before it',
      DEFAULT_HISTORY_PAGE,
    ),
  }),
  response: buildResponses(200, { description: 'What was done', schema: buildHistorySchema(resource) }, [
    ...listAccessErrors(computeHistoryAccess(resource)),
    ...READ_ERRORS,
    'query-too-expensive',
    'not-found',
  ]),
})

export const RestoreInput = Type.Object(
  {
    version: Type.Integer({
      minimum: 1,
      maximum: MAX_INTEGER,
      description: 'The version at which the record was as it is to be again',
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
      summary: `Bring back a state of a ${resource.singular}`,
      description:
        'As a new change. One that was deleted is there again under its id. What has to hold between records has to hold now: a value may be taken, and what it refers to be gone.',
    },
    { description: 'The record as it is now', schema: Type.Ref(resource.schemas.record.$id as string) },
    [...BODY_ERRORS, ...listChangeConflicts(resource)],
  ),
  body: RestoreInput,
})
