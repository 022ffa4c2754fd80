// Slow or excessive clients, over real connections, which end within their limits while other requests are served.
import { once } from 'node:events'
import { type AddressInfo, connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { MAX_HEADERS } from '../../src/http/limits.ts'
import type { App } from '../../src/http/routes.ts'
import { DIALECTS, type Dialect } from '../dialects.ts'
import { authorization, build } from '../helper.ts'

const [embedded] = DIALECTS as [Dialect]

/** Milliseconds, in the proportions of src/http/limits.ts. */
const TIMEOUTS = { headers: 1_000, request: 2_000, idle: 2_500, keepAlive: 1_500, check: 100 }

/** Milliseconds between two bytes of a dripping client. */
const DRIP = 20

/** Starts an application. `gone` has a promise for the end of each of its connections. */
async function listen(t: Test): Promise<{ app: App; closed: Promise<unknown>[] }> {
  const app = await build(t, embedded, { timeouts: TIMEOUTS })
  const closed: Promise<unknown>[] = []
  app.server.on('connection', (socket) => closed.push(new Promise((resolve) => socket.once('close', resolve))))
  await app.listen({ host: '127.0.0.1', port: 0 })
  return { app, closed: closed }
}

interface Outcome {
  status: number[]
  /** The code of the last answer. */
  code: string | undefined
  /** Milliseconds until the server ended the connection. */
  lasted: number
}

/** Connects, calls `act`, and waits until the server ends the connection. The client never ends its side. */
async function attack(app: App, act: (socket: Socket) => void): Promise<Outcome> {
  const socket = connect({ port: (app.server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true })
  const start = performance.now()
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk
  })
  socket.on('error', () => {})
  await once(socket, 'connect')
  act(socket)
  await new Promise((resolve) => socket.once('end', resolve).once('close', resolve))
  return {
    status: [...text.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(([, status]) => Number(status)),
    code: /"code":"([^"]+)"(?!.*"code":)/s.exec(text)?.[1],
    lasted: performance.now() - start,
  }
}

/** Sends `text`, then repeats the character at intervals. */
const drip = (text: string, character: string) => (socket: Socket) => {
  socket.write(text)
  const timer = setInterval(() => socket.write(character), DRIP)
  socket.on('close', () => clearInterval(timer))
}

/** Sends `text`, then as much as the server accepts. */
const flood = (text: string, chunk: string) => (socket: Socket) => {
  const more = () => {
    while (socket.writable && socket.write(chunk));
  }
  socket.on('drain', more)
  socket.write(text)
  more()
}

const lines = (...all: string[]) => [...all, 'Host: stockroom.test', ''].join('\r\n')

t.test('a slow client gets 408 and is disconnected, and others are served meanwhile', async (t) => {
  const { app, closed } = await listen(t)
  const post = lines('POST /api/products/ HTTP/1.1', `Authorization: ${authorization(app).authorization}`, 'Content-Type: application/json')
  const read = `${lines('GET /livez HTTP/1.1')}\r\n`
  const { headers, request, keepAlive } = TIMEOUTS

  const rows: [title: string, act: (socket: Socket) => void, limit: number, status: number[]][] = [
    ['sends nothing', () => {}, headers, [408]],
    ['stops in its first line', (socket) => socket.write('GET /liv'), headers, [408]],
    ['drips its first line', drip('GET /', 'a'), headers, [408]],
    ['drips a header', drip(lines('GET /livez HTTP/1.1', 'X-A: '), 'a'), headers, [408]],
    ['drips headers', drip(lines('GET /livez HTTP/1.1'), 'X-A: a\r\n'), headers, [408]],
    ['does not send its body', (socket) => socket.write(`${post}Content-Length: 100\r\n\r\n`), request, [408]],
    ['drips its body', drip(`${post}Content-Length: 100000\r\n\r\n{"name":"`, 'a'), request, [408]],
    ['drips chunks', drip(`${post}Transfer-Encoding: chunked\r\n\r\n`, '1\r\na\r\n'), request, [408]],
    ['drips its second request', drip(`${read}GET /`, 'a'), headers, [200]],
    ['drips an unwanted body', drip(`${lines('POST /nothing HTTP/1.1')}Content-Length: 100000\r\n\r\n`, 'a'), request, [404]],
    ['sends no second request', (socket) => socket.write(read), keepAlive, [200]],
  ]
  const attacks = rows.map(([, act]) => attack(app, act))
  const many = Array.from({ length: 200 }, () => attack(app, drip('GET /', 'a')))

  let served = 0
  const all = Promise.all([...attacks, ...many]).then(() => true)
  while (!(await Promise.race([all, ask()]))) served++
  async function ask() {
    const { statusCode } = await app.inject('/api/products/')
    if (statusCode !== 200) t.fail(`others are answered ${statusCode}`)
    await new Promise((resolve) => setTimeout(resolve, DRIP))
    return false
  }
  t.ok(served > 0, `${served} others were served`)

  for (const [index, [title, , limit, status]] of rows.entries()) {
    const outcome = await (attacks[index] as Promise<Outcome>)
    t.strictSame(outcome.status, status, title)
    if (status[0] === 408) t.equal(outcome.code, 'request-timeout', title)
    t.ok(outcome.lasted > limit * 0.9, `${title}: it has its full time (${outcome.lasted})`)
  }
  for (const outcome of await Promise.all(many)) {
    if (outcome.status.join() !== '408') t.fail(`one of many: ${JSON.stringify(outcome)}`)
  }
  await Promise.all(closed)
  t.equal(closed.length, rows.length + many.length, 'no connection is left')
})

t.test('a client that does not read its answer is disconnected before the idle timeout', async (t) => {
  // More bytes than the buffers of both ends hold.
  const body = "export default async (app) => { app.get('/', { config: { access: 'unchecked' } }, async () => Buffer.alloc(33_554_432)) }"
  const routes = t.testdir({ large: { 'index.js': body } })
  const app = await build(t, embedded, { routes, timeouts: { stalled: 200, check: 20 } })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const accepted = once(app.server, 'connection')
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  const [serverSocket] = await accepted
  const closed = once(serverSocket, 'close')
  socket.pause().write(`${lines('GET /large HTTP/1.1')}\r\n`)
  await closed
  t.pass('the server ended it')
})

const headers = (count: number) => Array.from({ length: count }, (_, index) => `X-${index}: a`)
const get = (...more: string[]) => `${lines('GET /livez HTTP/1.1', ...more, 'Connection: close')}\r\n`

/** Two headers are Host and Connection. */
const sizes: [title: string, act: (socket: Socket) => void, status: number, code?: string][] = [
  ['the maximum number of headers', (socket) => socket.write(get(...headers(MAX_HEADERS - 2))), 200],
  ['one header too many', (socket) => socket.write(get(...headers(MAX_HEADERS - 1))), 431, 'headers-too-large'],
  ['more headers than Node counts', (socket) => socket.write(get(...Array(2_500).fill('a:'))), 431, 'headers-too-large'],
  ['a header that is too large', (socket) => socket.write(get(`X-A: ${'a'.repeat(16_384)}`)), 431, 'headers-too-large'],
  ['a URL that is too large', (socket) => socket.write(`GET /${'a'.repeat(16_384)} HTTP/1.1\r\n`), 431, 'headers-too-large'],
  ['a header without an end', flood(lines('GET /livez HTTP/1.1', 'X-A: '), 'a'.repeat(4_096)), 431, 'headers-too-large'],
  ['headers without an end', flood(lines('GET /livez HTTP/1.1'), 'X-A: a\r\n'.repeat(512)), 431, 'headers-too-large'],
  ['a URL without an end', flood('GET /', 'a'.repeat(4_096)), 431, 'headers-too-large'],
]

t.test('oversized requests are refused without reading them completely', async (t) => {
  const { app, closed } = await listen(t)
  const post = lines('POST /api/products/ HTTP/1.1', `Authorization: ${authorization(app).authorization}`, 'Content-Type: application/json')
  const rows = [
    ...sizes,
    ['a body that says it is too large', flood(`${post}Content-Length: 999999999\r\n\r\n`, 'a'.repeat(65_536)), 413, 'body-too-large'],
    [
      'a body without an end',
      flood(`${post}Transfer-Encoding: chunked\r\n\r\n`, `10000\r\n${'a'.repeat(65_536)}\r\n`),
      413,
      'body-too-large',
    ],
  ] as typeof sizes
  const outcomes = await Promise.all(rows.map(([, act]) => attack(app, act)))
  for (const [index, [title, , status, code]] of rows.entries()) {
    const outcome = outcomes[index] as Outcome
    t.strictSame([outcome.status, outcome.code], [[status], code], title)
  }
  await Promise.all(closed)
  t.equal(closed.length, rows.length, 'no connection is left')
})
