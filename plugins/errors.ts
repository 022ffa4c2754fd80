// Turns every failure into RFC 9457 problem+json, those that Fastify or Node answer by themselves included.
import { randomUUID } from 'node:crypto'
import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { ConnectionError, FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Failure } from '../drizzle/database.ts'
import { buildProblemDocument, type ErrorCode, errors, type Fault, invalid, listMembers, Problem } from '../src/errors.ts'
import { databaseProblems } from '../src/http/database-problems.ts'
import { FIXED_HEADERS, MERGE_PATCH } from '../src/openapi/responses.ts'

const CONTENT_TYPE = 'application/problem+json; charset=utf-8'

/** Fastify's errors by their code. The text is ours: theirs is for engineers. `limit` is the largest body of the route, in bytes. */
const frameworkProblems: Record<string, [ErrorCode, string | ((limit: number | undefined) => string)]> = {
  FST_ERR_BAD_URL: ['malformed-request', 'The path has a % that two hexadecimal digits do not follow, or is not UTF-8.'],
  FST_ERR_MAX_PARAM_LENGTH: ['not-found', 'There is no record with such an id.'],
  FST_ERR_CTP_BODY_TOO_LARGE: ['body-too-large', (limit) => `The body is larger than ${limit} bytes, the limit of this URL.`],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: ['unsupported-media-type', 'Send application/json.'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: ['malformed-request', 'The body is not as long as Content-Length says.'],
}

/** Seconds after which a 503 can be tried again. */
const RETRY_AFTER = '1'

/** Being asked while it stops, or for more than there is to have, is nothing to report, and that it is overloaded `pressure` says once. */
const UNREPORTED: readonly ErrorCode[] = ['not-ready', 'overloaded', 'too-many-streams']

export default fp(
  async function problems(app: FastifyInstance) {
    app.addHook('onRequest', (request, reply, done) => {
      addHeaders(reply, request)
      done()
    })
    app.setErrorHandler(async (error, request, reply) => {
      const problem = await addOtherFaults(toProblem(error, { app, request }), error, request)
      if (errors[problem.code].status >= 500 && !UNREPORTED.includes(problem.code)) request.log.error({ err: error }, problem.message)
      return send(reply, request, problem)
    })
  },
  { name: 'errors' },
)

/** Those of every answer. */
function addHeaders(reply: FastifyReply, { id }: FastifyRequest): void {
  reply.header('x-request-id', id)
  for (const name in FIXED_HEADERS) reply.header(name, FIXED_HEADERS[name])
}

/** For Fastify's `frameworkErrors`: what fails before a route is found never comes to an error handler. */
export function frameworkErrors(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  addHeaders(reply, request)
  send(reply, request, toProblem(error))
  request.log.info({ res: reply }, 'request completed')
}

/** For Fastify's `clientErrorHandler`: what Node cannot read as HTTP is answered on the bare socket. */
export function clientErrorHandler(this: FastifyInstance, error: ConnectionError, socket: Duplex & { bytesWritten: number }): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return
  // On a connection that has had an answer, another would be taken for that of a request that was never made, or of another client.
  if (socket.bytesWritten > 0) return void socket.destroy()
  const [code, detail] = NODE_PROBLEMS[error.code] ?? ['malformed-request', 'The request is not HTTP/1.1.']
  sendRaw(this, socket, new Problem(code, detail, { cause: error.code }))
}

const NODE_PROBLEMS: Record<string, [ErrorCode, string]> = {
  HPE_HEADER_OVERFLOW: ['headers-too-large', 'The URL and the headers together are larger than 16 KiB.'],
  HPE_INVALID_URL: ['malformed-request', 'The URL has a character that must be percent-encoded.'],
  ERR_HTTP_REQUEST_TIMEOUT: ['request-timeout', 'The request did not arrive in time.'],
}

/** For Node's `checkExpectation`: there is one expectation in HTTP, 100-continue, and Node meets it. */
export const unmetExpectation = new Problem('expectation-failed', 'Only "Expect: 100-continue" is understood.')

/** For Node's `connect`. */
export const connectRefused = new Problem('malformed-request', 'CONNECT is for proxies.')

/** Milliseconds in which a client that goes on sending can read the answer. */
const LINGER = 1_000

export function sendRaw({ log }: FastifyInstance, socket: Duplex, problem: Problem): void {
  const id = randomUUID()
  const { status } = errors[problem.code]
  log.info({ reqId: id, res: { statusCode: status }, code: problem.code, cause: problem.cause }, 'what is no request was answered')
  const body = JSON.stringify(buildProblemDocument(problem, id))
  const headers = {
    'content-type': CONTENT_TYPE,
    'content-length': Buffer.byteLength(body),
    'x-request-id': id,
    'cache-control': 'no-store',
    ...FIXED_HEADERS,
    connection: 'close',
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${body}`)
  // The client may never end its side.
  setTimeout(() => socket.destroy(), LINGER).unref()
}

interface ErrorContext {
  app?: FastifyInstance
  request?: FastifyRequest
}

function toProblem(error: unknown, { app, request }: ErrorContext = {}): Problem {
  if (error instanceof Problem) return error
  const { code, statusCode = 500 } = (error ?? {}) as Partial<FastifyError>
  const known = frameworkProblems[code ?? ''] ?? databaseProblems[app?.db?.classifyFailure(error) as Failure]
  if (known) {
    const [name, detail] = known
    return new Problem(name, typeof detail === 'string' ? detail : detail(request?.routeOptions.bodyLimit), { cause: error })
  }
  if (statusCode < 500) return new Problem('malformed-request', 'The request cannot be read.', { cause: error })
  return new Problem('internal-error', 'The log has more under the id of this request.', { cause: error })
}

/** Fastify stops at the first part of a request that has faults. The client is to see them all, and those that only the database can tell. */
async function addOtherFaults(problem: Problem, error: unknown, request: FastifyRequest): Promise<Problem> {
  if (problem.code !== 'invalid-request') return problem
  const { validationContext: part } = error as FastifyError
  if (part !== 'body' && part !== 'querystring') return problem
  const inBody = part === 'body' ? problem.faults : []
  const query =
    part === 'body' ? (request.getValidationFunction('querystring')?.(request.query) as { error?: Problem } | undefined) : undefined
  const inQuery = part === 'body' ? (query?.error?.faults ?? []) : problem.faults
  const others = await findFurtherFaults(request, inBody)
  return query?.error || others.length > 0 ? invalid([...inBody, ...others, ...inQuery]) : problem
}

/** Nothing is looked up for a body whose members cannot be told apart. */
async function findFurtherFaults(request: FastifyRequest, faults: readonly Fault[]): Promise<readonly Fault[]> {
  const { findFaults } = request.routeOptions.config
  const { body } = request
  const faulty = listMembers(faults)
  if (!findFaults || typeof body !== 'object' || body === null || Array.isArray(body) || faulty.has('')) return []
  try {
    return await findFaults(request, faulty)
  } catch (err) {
    if (err instanceof Problem) return err.faults
    // What is known already is true all the same.
    request.log.warn({ err }, 'further faults of a request could not be looked for')
    return []
  }
}

function send(reply: FastifyReply, request: FastifyRequest, problem: Problem): FastifyReply {
  const { status } = errors[problem.code]
  return reply
    .code(status)
    .headers({
      'cache-control': 'no-store',
      ...(status === 503 && { 'retry-after': RETRY_AFTER }),
      ...problem.headers,
      ...(status === 415 && request.method === 'PATCH' && { 'accept-patch': `application/json, ${MERGE_PATCH}` }),
    })
    .type(CONTENT_TYPE)
    .serializer(JSON.stringify)
    .send(buildProblemDocument(problem, request.id))
}
