// Validation and serialisation: paths and query strings by their codecs, bodies by Ajv without coercion, answers as they are.
import type { TObject, TSchema } from '@sinclair/typebox'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { BulkResult } from '../src/bulk/schemas.ts'
import { invalid, Problem } from '../src/errors.ts'
import { rejectIdempotencyKey } from '../src/http/idempotency.ts'
import { isPoisoned, listRepeatedMembers, parseBody } from '../src/http/json.ts'
import { announcesBody, BODYLESS } from '../src/http/limits.ts'
import { JobList, JobSchema } from '../src/jobs/schemas.ts'
import { buildListSchema, NoParameters } from '../src/openapi/operations.ts'
import { MERGE_PATCH, Problem as ProblemSchema } from '../src/openapi/responses.ts'
import { compilePath, compileQuerystring, type Handling } from '../src/query/querystring.ts'
import { compileBody, MAX_MEMBERS } from '../src/validate.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The body as it came, where there is one. */
    bytes: Buffer | null
  }
}

type Validate = (data: never) => { value: unknown } | { error: Problem }

/** A query string before it is read. */
interface RawQuery {
  raw: string
  handling?: Handling
}

/** One for each part of a request. Fastify puts `value` in the part's place, or hands `error` to the error handler. */
const parts: Record<string, (schema: TSchema) => Validate> = {
  querystring: (schema) => {
    const read = compileQuerystring(schema as TObject)
    return ({ raw, handling }: RawQuery) => {
      const { values, faults } = read(raw, handling)
      return faults.length > 0 ? { error: invalid(faults) } : { value: values }
    }
  },
  // They are looked at where something is done by them.
  headers: () => (headers: unknown) => ({ value: headers }),
  params: (schema) => {
    const read = compilePath(schema as TObject)
    return (params: Record<string, string>) => {
      const values = read(params)
      return values ? { value: values } : { error: new Problem('not-found', 'There is no record with such an id.') }
    }
  },
  body: (schema) => {
    const check = compileBody(schema)
    return (body: unknown) => {
      // Fastify gives null for no body at all.
      const members = typeof body === 'object' && !Array.isArray(body) ? Object.keys(body ?? {}).length : 0
      if (members > MAX_MEMBERS)
        return { error: invalid([{ pointer: '', detail: `has ${members} members: at most ${MAX_MEMBERS} are read` }]) }
      if (body === null && schema['x-optional']) return { value: {} }
      const faults = body === null ? [{ pointer: '', detail: 'must be a JSON object' }] : [...check(body), ...listRepeatedMembers(body)]
      return faults.length > 0 ? { error: invalid(faults) } : { value: body }
    }
  },
}

/** A quoted text, which may have in it what looks like a preference. One without an end goes to the end, so that no quote is tried twice. */
const QUOTED = /"((?:[^"\\]|\\.?)*)(?:"|$)/g

/** The preference that a request states first (RFC 7240, section 2). */
function preferredHandling(prefer: string | string[]): Handling | undefined {
  const plain = String(prefer).replace(QUOTED, (_, text: string) => (/^\w*$/.test(text) ? text : ''))
  const preferences = plain.split(',').map((preference) => (preference.split(';', 1)[0] ?? '').split('='))
  const [, stated] = preferences.find(([name]) => name?.trim().toLowerCase() === 'handling') ?? []
  return HANDLINGS.find((handling) => handling === stated?.trim().toLowerCase())
}

const HANDLINGS: readonly Handling[] = ['strict', 'lenient']

/** Methods that change a record without reading an `Idempotency-Key`. */
const CHANGING: ReadonlySet<string> = new Set(['PUT', 'PATCH', 'DELETE'])

/** Whether a request has a body that no schema describes, or that Fastify leaves unread. Node discards the latter before the next request. */
const hasUnreadBody = ({ method, headers, body, routeOptions }: FastifyRequest): boolean =>
  BODYLESS.has(method) ? announcesBody(headers) : body !== undefined && body !== null && !routeOptions.schema?.body

function parseJson(request: FastifyRequest, body: Buffer): unknown {
  const { headers } = request
  request.bytes = body
  const encoding = headers['content-encoding'] ?? 'identity'
  const charset = /charset="?([^\s;"]+)/i.exec(headers['content-type'] ?? '')?.[1] ?? 'utf-8'
  if (encoding !== 'identity' || !/^utf-?8$/i.test(charset))
    throw new Problem('unsupported-media-type', 'Send JSON in UTF-8, not compressed.')
  if (body.length === 0) return undefined
  try {
    return parseBody(body)
  } catch (error) {
    throw new Problem('malformed-json', error instanceof SyntaxError ? `${error.message}.` : 'The body is not UTF-8.', { cause: error })
  }
}

export default fp(
  async function schemas(app: FastifyInstance) {
    const resolve = (schema: TSchema): TSchema => (schema.$ref ? (app.getSchema(schema.$ref) as TSchema) : schema)
    app.decorateRequest('bytes', null)
    app.setValidatorCompiler<TSchema>(({ schema, httpPart }) => {
      const compile = parts[httpPart ?? '']
      if (!compile) throw new TypeError(`no route can validate its ${httpPart} yet`)
      return compile(resolve(schema)) as ReturnType<Parameters<typeof app.setValidatorCompiler>[0]>
    })
    const handling = app.config.QUERY_HANDLING as Handling
    // Before validation, which sees nothing of a request but its parts.
    app.addHook('preValidation', (request, reply, done) => {
      const { prefer } = request.headers
      // Where other origins may call, it is `Origin` already.
      const vary = reply.getHeader('vary')
      reply.header('vary', vary === undefined ? 'Prefer' : `${vary}, Prefer`)
      const preferred = prefer === undefined ? undefined : preferredHandling(prefer)
      if (preferred) reply.header('preference-applied', `handling=${preferred}`)
      ;(request.query as RawQuery).handling = preferred ?? handling
      if (CHANGING.has(request.method)) rejectIdempotencyKey(request)
      if (hasUnreadBody(request)) throw invalid([{ pointer: '', detail: 'is not read here: send no body' }])
      done()
    })
    // Where the schema is open.
    app.addHook('preHandler', ({ body }, _reply, done) => {
      if (isPoisoned(body))
        throw invalid([{ pointer: '', detail: 'has a member __proto__, or constructor with a member prototype: no body may have them' }])
      done()
    })
    // Rows have only what the contract shows, and a serialiser made for them is no faster.
    app.setSerializerCompiler(() => JSON.stringify)

    app.removeAllContentTypeParsers()
    app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) =>
      parseJson(request, body),
    )
    app.addContentTypeParser(MERGE_PATCH, { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) => {
      if (request.method !== 'PATCH') throw new Problem('unsupported-media-type', 'Only PATCH takes a merge patch. Send application/json.')
      return parseJson(request, body)
    })

    app.addSchema(ProblemSchema)
    app.addSchema(BulkResult)
    app.addSchema(JobSchema)
    app.addSchema(JobList)
    for (const resource of app.resources) {
      const { record, create, merge } = resource.schemas
      // Where nothing can be set, there are no bodies.
      for (const schema of [record, buildListSchema(resource), ...(resource.writable.size > 0 ? [create, merge] : [])])
        app.addSchema(schema)
    }
    // A route that says nothing of parameters has none, and says so to a client that sends one. The files of the docs page are not ours.
    app.addHook('onRoute', (route) => {
      if (!route.schema?.hide) route.schema = { querystring: NoParameters, ...route.schema }
    })
  },
  { name: 'schemas' },
)
