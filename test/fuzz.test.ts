// Random bytes over a real socket never cause an internal error, and every refusal is a problem document.
// FUZZ_RUNS sets the number of random requests for each database, and FUZZ_SEED selects them. A failure prints the seed and the request.
import { type AddressInfo, connect } from 'node:net'
import fc from 'fast-check'
import type { Test } from 'tap'
import { type ErrorCode, errors } from '../src/errors.ts'
import type { App } from '../src/http/routes.ts'
import { ask, authorization, build, get, onEach } from './helper.ts'
import { anyRequest, certainRequests, encodeRequest, type Request } from './soak/requests.ts'

const SEED = Number(process.env.FUZZ_SEED || 20_260_101)
const RUNS = Number(process.env.FUZZ_RUNS || 1_500)

/** Milliseconds without an answer after which a request has failed. Any answer takes far less. */
const NO_ANSWER = 10_000

/** Sends a request and returns all bytes that the server sends before it closes the connection. */
async function exchange(port: number, request: Request): Promise<Buffer> {
  const socket = connect(port, '127.0.0.1')
  socket.setTimeout(NO_ANSWER, () => socket.destroy(new Error('no answer')))
  // The server may close the connection without reading an unwanted body.
  socket.on('error', () => {})
  if (request.cut) socket.end(encodeRequest(request))
  else socket.write(encodeRequest(request))
  const chunks: Buffer[] = []
  try {
    for await (const chunk of socket) chunks.push(chunk)
  } catch (error) {
    if ((error as { code?: string }).code !== 'ECONNRESET' && (error as { code?: string }).code !== 'EPIPE') throw error
  }
  return Buffer.concat(chunks)
}

interface Reply {
  status: number
  headers: Record<string, string>
  body: Buffer
}

/** Parses answers. Bytes after the request may look like further requests, so there can be several. */
function parse(bytes: Buffer, method: string): Reply[] {
  const end = bytes.indexOf('\r\n\r\n')
  if (end === -1) return []
  const [line = '', ...fields] = bytes.subarray(0, end).toString('latin1').split('\r\n')
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(line)?.[1])
  const rest = bytes.subarray(end + 4)
  if (status >= 100 && status < 200) return parse(rest, method)
  const headers = Object.fromEntries(fields.map((field) => [field.split(':', 1)[0]?.toLowerCase(), field.replace(/^[^:]*: */, '')]))
  const bodiless = status === 204 || (method === 'HEAD' && (rest.length === 0 || rest.toString('latin1', 0, 5) === 'HTTP/'))
  const length = bodiless ? 0 : Number(headers['content-length'] ?? rest.length)
  return [{ status, headers, body: rest.subarray(0, length) }, ...parse(rest.subarray(length), '')]
}

/** Describes what is wrong with an answer; undefined if nothing is. */
function findFault({ method }: Request, { status, headers, body }: Reply): string | undefined {
  if (!(status >= 200 && status < 500)) return `status ${status}`
  if (status < 400) return undefined
  if (!headers['content-type']?.startsWith('application/problem+json')) return `content-type ${headers['content-type']}`
  if (method === 'HEAD' && body.length === 0) return undefined
  if (Number(headers['content-length']) !== body.length) return `${body.length} bytes instead of ${headers['content-length']}`
  const problem = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
  const error = errors[problem.code as ErrorCode]
  if (!error) return `code ${problem.code}`
  if (problem.status !== status || error.status !== status) return `status ${problem.status} inside, ${error.status} by its code`
  if (problem.title !== error.title) return `title ${problem.title}`
  if (typeof problem.type !== 'string' || !problem.type.endsWith(problem.code)) return `type ${problem.type}`
  if (typeof problem.detail !== 'string' || problem.detail === '') return `detail ${problem.detail}`
  if (typeof problem.instance !== 'string' || problem.instance !== headers['x-request-id']) return `instance ${problem.instance}`
  if (status === 405 && !headers.allow) return '405 without Allow'
  const faults: { parameter?: unknown; pointer?: unknown; detail?: unknown }[] = problem.errors ?? []
  if (problem.code === 'invalid-request' && faults.length === 0) return 'no faults are listed'
  const odd = faults.find((fault) => typeof (fault.parameter ?? fault.pointer) !== 'string' || typeof fault.detail !== 'string')
  return odd && `fault ${JSON.stringify(odd)}`
}

async function fill(app: App): Promise<void> {
  for (const name of ['Food', 'Bread', 'Shirts']) await ask(app, 'POST', '/api/categories/', { name })
  for (const category of [1, 2, null])
    await ask(app, 'POST', '/api/products/', { name: 'Red shirt', price: '29.90', brand: 'Acme', category })
}

async function checkRecords(t: Test, app: App): Promise<void> {
  for (let next: string | null = '/api/products/?page_size=100'; next; ) {
    const { status, body }: Awaited<ReturnType<typeof get>> = await get(app, next)
    t.equal(status, 200, next)
    if (status !== 200) return
    for (const { name, price, stock, description } of body.results) {
      const fine =
        name.trim() === name &&
        name !== '' &&
        /^\d{1,8}\.\d\d$/.test(price) &&
        Number.isInteger(stock) &&
        stock >= 0 &&
        description.length <= 20_000
      if (!fine) t.fail('a record that the contract does not allow', { name, price, stock })
    }
    next = body.next
  }
}

/** Statuses that must occur, so that the random requests cover enough of the service. */
const VARIETY = [200, 201, 204, 400, 404, 405, 409, 413, 415, 431]

onEach('random requests cause no internal error, and refusals name their reason', async (t, dialect) => {
  const app = await build(t, dialect)
  await fill(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const counts = new Map<number, number>()
  const key = ['Authorization', authorization(app).authorization] as [string, string]
  const property = fc.asyncProperty(anyRequest, async (generated) => {
    const request = { ...generated, headers: [...generated.headers, key] }
    const replies = parse(await exchange(port, request), request.method)
    // A client that hangs up may get no answer.
    if (replies.length === 0 && !request.cut) throw new Error('no answer')
    for (const reply of replies) {
      const fault = findFault(request, reply)
      if (fault) throw new Error(`${fault}\n${reply.body.toString().slice(0, 1_000)}`)
      counts.set(reply.status, (counts.get(reply.status) ?? 0) + 1)
    }
  })
  await fc.assert(property, { seed: SEED, numRuns: certainRequests.length + RUNS, examples: certainRequests.map((request) => [request]) })
  t.comment(Object.fromEntries([...counts].sort()))
  t.strictSame(
    VARIETY.filter((status) => !counts.has(status)),
    [],
    'the requests cover every listed status',
  )
  await checkRecords(t, app)
})
