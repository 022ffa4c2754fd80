// What the OpenAPI document says of jobs, and how their list is asked for.
import { Type } from '@sinclair/typebox'
import { NoParameters } from '../openapi/operations.ts'
import { guard, READING, responses, WRITING } from '../openapi/responses.ts'
import { choice } from '../query/fields.ts'
import { DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE } from '../query/params.ts'
import { numberParameter, parameter } from '../query/querystring.ts'
import { Unreadable } from '../query/values.ts'
import { STATUSES } from './queue.ts'

const orNull = (type: string, description: string) => Type.Unsafe<unknown>({ type: [type, 'null'], description })

export const JobSchema = Type.Object(
  {
    id: Type.String({ format: 'uuid' }),
    kind: Type.String({ examples: ['products.notify'] }),
    status: Type.Unsafe({ type: 'string', enum: STATUSES, description: '`failed` is for good, until it is asked for another try' }),
    payload: Type.Unknown({ description: 'What it was given' }),
    attempts: Type.Integer({ description: 'How often it was begun' }),
    error: orNull('string', 'Why the last attempt failed'),
    result: Type.Unknown({ description: 'What it came to' }),
    run_at: Type.String({ format: 'date-time', description: 'Not before then' }),
    key: orNull('integer', 'Id of the API key that asked for it'),
    request: orNull('string', 'Id of the request that asked for it'),
    created_at: Type.String({ format: 'date-time' }),
    started_at: orNull('string', 'When the last attempt began'),
    finished_at: orNull('string', 'When it came to an end'),
  },
  { $id: 'Job', additionalProperties: false },
)

export const JobList = Type.Object(
  { next: Type.Unsafe<string | null>({ type: ['string', 'null'], format: 'uri' }), results: Type.Array(Type.Ref('Job')) },
  { $id: 'JobList', additionalProperties: false },
)

const ID = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/

export const JobParams = Type.Object({
  id: parameter<string>(
    { type: 'string', format: 'uuid' },
    {
      read(text) {
        if (!ID.test(text)) throw new Unreadable('is no id of a job')
        return text
      },
      write: String,
    },
  ),
})

export interface Place {
  created_at: string
  id: string
}

/** The time at which a job was made, as links have it. */
const CREATED_AT = /^2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

/** Where a page begins, as one text: no client is to make one. */
export const jobCursor = parameter<Place>(
  { type: 'string', maxLength: 200, description: 'As `next` has it' },
  {
    read(text) {
      const [created_at = '', id = ''] = Buffer.from(text, 'base64url').toString().split(' ')
      // Other times than a job has, as of the year -200000, are an error of PostgreSQL.
      if (!ID.test(id) || !CREATED_AT.test(created_at) || Number.isNaN(Date.parse(created_at)))
        throw new Unreadable('is no cursor: follow a link as it is')
      return { created_at: new Date(created_at).toISOString(), id }
    },
    write: ({ created_at, id }) => Buffer.from(`${created_at} ${id}`).toString('base64url'),
  },
)

const operation = (name: string, summary: string) => ({ tags: ['jobs'], operationId: `jobs.${name}`, summary })

/** The schema of the list, whose parameter `kind` is one of `kinds`. */
export const jobListSchema = (kinds: readonly string[]) => ({
  ...operation('list', 'List jobs'),
  description: 'The newest first.',
  querystring: Type.Object(
    {
      status: Type.Optional(choice(STATUSES)),
      kind: Type.Optional(choice(kinds)),
      page_size: Type.Optional(numberParameter(MAX_PAGE_SIZE, 'Jobs on a page', DEFAULT_PAGE_SIZE)),
      cursor: Type.Optional(jobCursor),
    },
    { additionalProperties: false, style: 'form', explode: false },
  ),
  response: responses(200, { description: 'One page', schema: Type.Ref('JobList') }, [
    ...guard('admin'),
    ...READING,
    'query-too-expensive',
  ]),
})

export const jobSchema = {
  ...operation('read', 'Read a job'),
  description: 'Administrators may, and the key that asked for it.',
  params: JobParams,
  querystring: NoParameters,
  response: responses(200, { description: 'The job', schema: Type.Ref('Job') }, [...guard('key'), ...READING, 'not-found']),
}

export const retrySchema = {
  ...operation('retry', 'Try a job again that has failed for good'),
  params: JobParams,
  querystring: NoParameters,
  response: responses(200, { description: 'The job, which waits again', schema: Type.Ref('Job') }, [
    ...guard('admin'),
    ...WRITING,
    'not-found',
    'job-not-failed',
  ]),
}
