// Turns every failure into RFC 9457 problem+json, including failures that Fastify or Node would answer themselves.
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

/** Problems for Fastify's errors, by error code. `limit` is the largest body of the route, in bytes. */
const frameworkProblems: Record<string, [ErrorCode, string | ((limit: number | undefined) => string)]> = {
  FST_ERR_BAD_URL: ['malformed-request', 'The path has an invalid percent-encoding or is not UTF-8.'],
  FST_ERR_MAX_PARAM_LENGTH: ['not-found', 'There is no record with such an id.'],
  FST_ERR_CTP_BODY_TOO_LARGE: ['body-too-large', (limit) => `The body is larger than ${limit} bytes, the limit of this URL.`],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: ['unsupported-media-type', 'Send application/json.'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: ['malformed-request', 'The body is not as long as Content-Length says.'],
}

/** Seconds after which a client may retry a 503. */
const RETRY_AFTER = '1'

/** 5xx codes that are not logged as errors. They are expected, and `pressure` logs an overload itself. */
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

/** Adds the headers that every response has. */
function addHeaders(reply: FastifyReply, { id }: FastifyRequest): void {
  reply.header('x-request-id', id)
  for (const name in FIXED_HEADERS) reply.header(name, FIXED_HEADERS[name])
}

/** Handler for Fastify's `frameworkErrors`: failures before routing do not reach the error handler. */
export function frameworkErrors(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  addHeaders(reply, request)
  send(reply, request, toProblem(error))
  request.log.info({ res: reply }, 'request completed')
}

/** Handler for Fastify's `clientErrorHandler`: answers invalid HTTP on the raw socket. */
export function clientErrorHandler(this: FastifyInstance, error: ConnectionError, socket: Duplex & { bytesWritten: number }): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return
  // After an earlier response on the connection, the client or a proxy would take this one for the response to another request.
  if (socket.bytesWritten > 0) return void socket.destroy()
  const [code, detail] = NODE_PROBLEMS[error.code] ?? ['malformed-request', 'The request is not HTTP/1.1, or its method is unknown.']
  sendRaw(this, socket, new Problem(code, detail, { cause: error.code }))
}

const NODE_PROBLEMS: Record<string, [ErrorCode, string]> = {
  HPE_HEADER_OVERFLOW: ['headers-too-large', 'The URL and the headers together are larger than 16 KiB.'],
  HPE_INVALID_URL: ['malformed-request', 'The URL has a character that must be percent-encoded.'],
  ERR_HTTP_REQUEST_TIMEOUT: ['request-timeout', 'The request did not arrive in time.'],
}

/** Problem for Node's `checkExpectation`. Node itself handles `100-continue`, the only expectation in HTTP. */
export const unmetExpectation = new Problem('expectation-failed', 'The only supported expectation is "Expect: 100-continue".')

/** Problem for Node's `connect`. */
export const connectRefused = new Problem('malformed-request', 'CONNECT is not supported: this server is not a proxy.')

/** Milliseconds for a client that keeps sending to read the response. */
const LINGER = 1_000

/** Sends a problem on a raw socket, and closes it. */
export function sendRaw({ log }: FastifyInstance, socket: Duplex, problem: Problem): void {
  const id = randomUUID()
  const { status } = errors[problem.code]
  log.info({ reqId: id, res: { statusCode: status }, code: problem.code, cause: problem.cause }, 'invalid request answered')
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
  // The client may never close its side.
  setTimeout(() => socket.destroy(), LINGER).unref()
}

interface ErrorContext {
  app?: FastifyInstance
  request?: FastifyRequest
}

function toProblem(error: unknown, { app, request }: ErrorContext = {}): Problem {
  if (error instanceof Problem) return error
  const { code, statusCode = 500 } = (error ?? {}) as Partial<FastifyError>
  const entry = frameworkProblems[code ?? ''] ?? databaseProblems[app?.db?.classifyFailure(error) as Failure]
  if (entry) {
    const [name, detail] = entry
    return new Problem(name, typeof detail === 'string' ? detail : detail(request?.routeOptions.bodyLimit), { cause: error })
  }
  if (statusCode < 500) return new Problem('malformed-request', 'The request is malformed.', { cause: error })
  return new Problem('internal-error', 'An internal error occurred. The log has details under the id of this request.', { cause: error })
}

/** Adds the faults of other parts of a request. Fastify stops at the first invalid part, but a response lists all faults. */
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

/** Finds faults that need the database. Finds none for a body that is not an object. */
async function findFurtherFaults(request: FastifyRequest, faults: readonly Fault[]): Promise<readonly Fault[]> {
  const { findFaults } = request.routeOptions.config
  const { body } = request
  const faulty = listMembers(faults)
  if (!findFaults || typeof body !== 'object' || body === null || Array.isArray(body) || faulty.has('')) return []
  try {
    return await findFaults(request, faulty)
  } catch (err) {
    if (err instanceof Problem) return err.faults
    // The faults found so far are still valid, so the request gets its 400.
    request.log.warn({ err }, 'further faults of a request could not be checked')
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
