// Validation and serialisation: codecs for paths and query strings, Ajv without coercion for bodies, plain JSON for responses.
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
    /** The raw body; null without one. */
    bytes: Buffer | null
  }
}

type Validate = (data: never) => { value: unknown } | { error: Problem }

/** An unparsed query string. */
interface RawQuery {
  raw: string
  handling?: Handling
}

/** Validators by part of the request. Fastify replaces the part by `value`, or passes `error` to the error handler. */
const parts: Record<string, (schema: TSchema) => Validate> = {
  querystring: (schema) => {
    const read = compileQuerystring(schema as TObject)
    return ({ raw, handling }: RawQuery) => {
      const { values, faults } = read(raw, handling)
      return faults.length > 0 ? { error: invalid(faults) } : { value: values }
    }
  },
  // Headers are validated where they are used.
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
      // Fastify passes null for a missing body.
      const members = typeof body === 'object' && !Array.isArray(body) ? Object.keys(body ?? {}).length : 0
      if (members > MAX_MEMBERS)
        return { error: invalid([{ pointer: '', detail: `has ${members} members: at most ${MAX_MEMBERS} are allowed` }]) }
      if (body === null && schema['x-optional']) return { value: {} }
      const faults = body === null ? [{ pointer: '', detail: 'must be a JSON object' }] : [...check(body), ...listRepeatedMembers(body)]
      return faults.length > 0 ? { error: invalid(faults) } : { value: body }
    }
  },
}

/** A quoted text, which may contain a comma or semicolon. An unterminated one extends to the end, so that matching takes linear time. */
const QUOTED = /"((?:[^"\\]|\\.?)*)(?:"|$)/g

/** Reads the first `handling` preference (RFC 7240, section 2). */
function readHandling(prefer: string | string[]): Handling | undefined {
  const plain = String(prefer).replace(QUOTED, (_, text: string) => (/^\w*$/.test(text) ? text : ''))
  const preferences = plain.split(',').map((preference) => (preference.split(';', 1)[0] ?? '').split('='))
  const [, stated] = preferences.find(([name]) => name?.trim().toLowerCase() === 'handling') ?? []
  return HANDLINGS.find((handling) => handling === stated?.trim().toLowerCase())
}

const HANDLINGS: readonly Handling[] = ['strict', 'lenient']

/** Methods that change a record without reading an `Idempotency-Key`. */
const CHANGING: ReadonlySet<string> = new Set(['PUT', 'PATCH', 'DELETE'])

/** Whether a request has a body that no schema describes or Fastify does not read. Node discards such a body before the next request. */
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
      if (!compile) throw new TypeError(`Validation of ${httpPart} is not supported.`)
      return compile(resolve(schema)) as ReturnType<Parameters<typeof app.setValidatorCompiler>[0]>
    })
    const handling = app.config.QUERY_HANDLING as Handling
    // Before validation, which sees only the parts of a request and not its headers.
    app.addHook('preValidation', (request, reply, done) => {
      const { prefer } = request.headers
      // `cors` may have set `Origin`.
      const vary = reply.getHeader('vary')
      reply.header('vary', vary === undefined ? 'Prefer' : `${vary}, Prefer`)
      const preferred = prefer === undefined ? undefined : readHandling(prefer)
      if (preferred) reply.header('preference-applied', `handling=${preferred}`)
      ;(request.query as RawQuery).handling = preferred ?? handling
      if (CHANGING.has(request.method)) rejectIdempotencyKey(request)
      if (hasUnreadBody(request)) throw invalid([{ pointer: '', detail: 'is not read here: send no body' }])
      done()
    })
    // Validation does not refuse poisoned bodies if a schema allows unknown members.
    app.addHook('preHandler', ({ body }, _reply, done) => {
      if (isPoisoned(body))
        throw invalid([{ pointer: '', detail: 'has a member __proto__, or constructor with a member prototype: no body may have them' }])
      done()
    })
    // Rows contain only public members, and a schema-based serialiser is no faster.
    app.setSerializerCompiler(() => JSON.stringify)

    app.removeAllContentTypeParsers()
    app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) =>
      parseJson(request, body),
    )
    app.addContentTypeParser(MERGE_PATCH, { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) => {
      if (request.method !== 'PATCH')
        throw new Problem('unsupported-media-type', 'A merge patch is only supported by PATCH. Send application/json.')
      return parseJson(request, body)
    })

    app.addSchema(ProblemSchema)
    app.addSchema(BulkResult)
    app.addSchema(JobSchema)
    app.addSchema(JobList)
    for (const resource of app.resources) {
      const { record, create, merge } = resource.schemas
      // A resource without writable members has no body schemas.
      for (const schema of [record, buildListSchema(resource), ...(resource.writable.size > 0 ? [create, merge] : [])])
        app.addSchema(schema)
    }
    // A route without declared parameters refuses all parameters, except hidden routes such as the files of the reference page.
    app.addHook('onRoute', (route) => {
      if (!route.schema?.hide) route.schema = { querystring: NoParameters, ...route.schema }
    })
  },
  { name: 'schemas' },
)
