// Schemas of the job operations: parameters, responses and the cursor of the list.
import { Type } from '@sinclair/typebox'
import { NoParameters } from '../openapi/operations.ts'
import { buildResponses, listAccessErrors, READ_ERRORS, WRITE_ERRORS } from '../openapi/responses.ts'
import { choice } from '../query/fields.ts'
import { DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE } from '../query/params.ts'
import { numberParameter, parameter } from '../query/querystring.ts'
import { Unreadable } from '../query/values.ts'
import { STATUSES } from './queue.ts'

const buildNullable = (type: string, description: string) => Type.Unsafe<unknown>({ type: [type, 'null'], description })

export const JobSchema = Type.Object(
  {
    id: Type.String({ format: 'uuid' }),
    kind: Type.String({ examples: ['products.notify'] }),
    status: Type.Unsafe({ type: 'string', enum: STATUSES, description: '`failed` is final unless the job is retried' }),
    payload: Type.Unknown({ description: 'Input of the job' }),
    attempts: Type.Integer({ description: 'Attempts so far' }),
    error: buildNullable('string', 'Error of the last attempt'),
    result: Type.Unknown({ description: 'Result of the job' }),
    run_at: Type.String({ format: 'date-time', description: 'Earliest start' }),
    key: buildNullable('integer', 'Id of the API key that started the job'),
    request: buildNullable('string', 'Id of the request that started the job'),
    created_at: Type.String({ format: 'date-time' }),
    started_at: buildNullable('string', 'Start of the last attempt'),
    finished_at: buildNullable('string', 'End of the last attempt'),
  },
  { $id: 'Job', additionalProperties: false },
)

export const JobList = Type.Object(
  { next: Type.Unsafe<string | null>({ type: ['string', 'null'], format: 'uri' }), results: Type.Array(Type.Ref('Job')) },
  { $id: 'JobList', additionalProperties: false },
)

const ID = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/

const JobParams = Type.Object({
  id: parameter<string>(
    { type: 'string', format: 'uuid' },
    {
      read(text) {
        if (!ID.test(text)) throw new Unreadable('is not a job id')
        return text
      },
      write: String,
    },
  ),
})

interface JobPosition {
  created_at: string
  id: string
}

/** Creation time of a job in a cursor. */
const CREATED_AT = /^2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

/** Position of the last job on a page, encoded as one opaque text. */
export const jobCursor = parameter<JobPosition>(
  { type: 'string', maxLength: 200, description: 'Cursor from `next`' },
  {
    read(text) {
      const [created_at = '', id = ''] = Buffer.from(text, 'base64url').toString().split(' ')
      // PostgreSQL would raise an error for times outside its range, such as the year -200000.
      if (!ID.test(id) || !CREATED_AT.test(created_at) || Number.isNaN(Date.parse(created_at)))
        throw new Unreadable('is not a valid cursor: follow the link in `next` unchanged')
      return { created_at: new Date(created_at).toISOString(), id }
    },
    write: ({ created_at, id }) => Buffer.from(`${created_at} ${id}`).toString('base64url'),
  },
)

const describeOperation = (name: string, summary: string) => ({ tags: ['jobs'], operationId: `jobs.${name}`, summary })

/** Builds the schema of the list. `kinds` are the values of its parameter `kind`. */
export const jobListSchema = (kinds: readonly string[]) => ({
  ...describeOperation('list', 'List jobs'),
  description: 'Newest jobs first.',
  querystring: Type.Object(
    {
      status: Type.Optional(choice(STATUSES)),
      kind: Type.Optional(choice(kinds)),
      page_size: Type.Optional(numberParameter(MAX_PAGE_SIZE, 'Jobs on a page', DEFAULT_PAGE_SIZE)),
      cursor: Type.Optional(jobCursor),
    },
    { additionalProperties: false, style: 'form', explode: false },
  ),
  response: buildResponses(200, { description: 'One page', schema: Type.Ref('JobList') }, [
    ...listAccessErrors('admin'),
    ...READ_ERRORS,
    'query-too-expensive',
  ]),
})

export const jobSchema = {
  ...describeOperation('read', 'Read a job'),
  description: 'Requires an admin key, or the key that started the job.',
  params: JobParams,
  querystring: NoParameters,
  response: buildResponses(200, { description: 'The job', schema: Type.Ref('Job') }, [
    ...listAccessErrors('key'),
    ...READ_ERRORS,
    'not-found',
  ]),
}

export const retrySchema = {
  ...describeOperation('retry', 'Retry a failed job'),
  params: JobParams,
  querystring: NoParameters,
  response: buildResponses(200, { description: 'The job, which is waiting again', schema: Type.Ref('Job') }, [
    ...listAccessErrors('admin'),
    ...WRITE_ERRORS,
    'not-found',
    'job-not-failed',
  ]),
}
