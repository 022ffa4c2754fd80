// Limits of client connections, tested over real ones: pipelined requests, unread answers, and connections per address.
import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as wait } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type ConnectionLimits, limitConnections, MAX_AHEAD } from '../../src/http/connections.ts'
import { DIALECTS, type Dialect } from '../dialects.ts'
import { build } from '../helper.ts'

const [embedded] = DIALECTS as [Dialect]

/** More bytes than the buffers of both ends hold. */
const LARGE = Buffer.alloc(16 * 1_024 * 1_024, 'a')

/** Milliseconds of a timeout that a test must never reach. */
const NEVER = 3_600_000

const LIMITS: ConnectionLimits = { perAddress: 0, isProxy: () => false, stalled: NEVER, check: NEVER, onRefuse: () => {} }

interface TestServer {
  server: Server
  /** URLs of requests in the order of their receipt. */
  received: string[]
  handled: string[]
}

async function listen(t: Test, limits: Partial<ConnectionLimits>, handler: RequestListener): Promise<TestServer> {
  const [received, handled]: [string[], string[]] = [[], []]
  const server = createServer((request, response) => {
    handled.push(request.url ?? '')
    handler(request, response)
  })
  limitConnections(server, { ...LIMITS, ...limits })
  server.on('request', ({ url = '' }) => received.push(url))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { server, received, handled }
}

/** Opens a client that reads nothing until it is resumed. A refused connection may have ended already. */
async function open(t: Test, server: Server): Promise<Socket> {
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  await once(socket, 'connect').catch(() => {})
  socket.pause()
  return socket
}

/** Waits until the server's next connection is closed on its side, since a client that does not read does not notice. */
const waitForEnd = (server: Server) => new Promise((resolve) => server.once('connection', (socket) => socket.once('close', resolve)))

const get = (url: string, ...headers: string[]) => `${[`GET ${url} HTTP/1.1`, 'Host: a', ...headers].join('\r\n')}\r\n\r\n`

/** Waits until the server has received `count` requests. */
async function waitForRequests({ server, received }: TestServer, count: number): Promise<void> {
  while (received.length < count) await once(server, 'request')
}

const answerWithUrl: RequestListener = ({ url }, response) => response.end(url === '/large' ? LARGE : `answer to ${url};`)

t.test('a pipelined request waits until the previous answer is read', async (t) => {
  const listening = await listen(t, {}, answerWithUrl)
  const socket = await open(t, listening.server)
  socket.write(get('/large') + get('/1') + get('/2'))
  await waitForRequests(listening, 3)
  // By the next turn Node would have handled the requests.
  await wait(1)
  t.strictSame(listening.handled, ['/large'])
  socket.write(get('/3') + get('/4', 'Connection: close'))
  const answers = await text(socket)
  t.strictSame(
    answers.match(/answer to [^;]+/g),
    ['answer to /1', 'answer to /2', 'answer to /3', 'answer to /4'],
    'all answers come, in order',
  )
  t.strictSame(listening.handled, ['/large', '/1', '/2', '/3', '/4'])
})

t.test('a body that is sent before the previous answer is read arrives whole', async (t) => {
  const bodies: number[] = []
  const { server } = await listen(t, {}, (request, response) => {
    if (request.method === 'GET') return void answerWithUrl(request, response)
    void text(request).then((body) => {
      bodies.push(body.length)
      response.end('taken;')
    })
  })
  const socket = await open(t, server)
  const length = 1_000_000
  const post = (...headers: string[]) =>
    `${['POST / HTTP/1.1', 'Host: a', `Content-Length: ${length}`, ...headers].join('\r\n')}\r\n\r\n${'b'.repeat(length)}`
  socket.write(get('/large') + post() + post('Connection: close'))
  t.equal((await text(socket)).match(/taken;/g)?.length, 2)
  t.strictSame(bodies, [length, length])
})

t.test('pipelined requests up to the limit are answered, and one more ends the connection', async (t) => {
  for (const ahead of [MAX_AHEAD, MAX_AHEAD + 1, 3_000]) {
    const listening = await listen(t, {}, answerWithUrl)
    const end = waitForEnd(listening.server)
    const socket = await open(t, listening.server)
    socket.write(get('/large') + get('/').repeat(ahead - 1) + get('/', 'Connection: close'))
    if (ahead > MAX_AHEAD) {
      // The client does not read, since the server would answer a client that reads in time.
      await end
      t.strictSame(listening.handled, ['/large'], `${ahead} ahead`)
    } else t.equal((await text(socket)).match(/answer to/g)?.length, ahead, `${ahead} ahead`)
  }
})

t.test('a client that reads none of its answer is disconnected, whatever it sends', async (t) => {
  const { server } = await listen(t, { stalled: 100, check: 10 }, answerWithUrl)
  const end = waitForEnd(server)
  const socket = await open(t, server)
  socket.write(get('/large'))
  // Empty lines between requests are allowed.
  const sending = setInterval(() => socket.write('\r\n'), 5)
  t.teardown(() => clearInterval(sending))
  await end
  t.pass('the server closed the connection')
})

t.test('a client that reads its answer slowly gets all of it', async (t) => {
  const limits = { stalled: 200, check: 20 }
  const { server } = await listen(t, limits, answerWithUrl)
  const socket = await open(t, server)
  socket.write(get('/large', 'Connection: close'))
  let length = 0
  let steps = 0
  socket.on('data', (chunk: Buffer) => {
    length += chunk.length
    // The client pauses between steps, in total for longer than a client may read nothing.
    if (length < (steps + 1) * 1_024 * 1_024) return
    steps++
    socket.pause()
    setTimeout(() => socket.resume(), limits.check * 2)
  })
  await once(socket.resume(), 'end')
  t.ok(length > LARGE.length)
})

t.test('connections per address are limited', async (t) => {
  const refused: string[] = []
  const { server } = await listen(t, { perAddress: 2, onRefuse: (client) => refused.push(client) }, answerWithUrl)
  const answerOn = async (socket: Socket) => {
    socket.write(get('/', 'Connection: close'))
    return /answer to/.test(await text(socket).catch(() => ''))
  }
  const end = waitForEnd(server)
  const first = await open(t, server)
  const second = await open(t, server)
  const third = await open(t, server)
  t.equal(await answerOn(third), false)
  t.strictSame(refused, ['127.0.0.1'])
  t.equal(await answerOn(first), true)
  await end
  t.equal(await answerOn(await open(t, server)), true, 'a closed connection makes room for another')
  t.equal(await answerOn(second), true)
  t.strictSame(refused, ['127.0.0.1'], 'further refusals are not logged for a while')
})

t.test('the API limits connections per address, except those of trusted proxies', async (t) => {
  const env = { MAX_CONNECTIONS_PER_ADDRESS: '1' }
  for (const [more, answers] of [
    [{}, 1],
    [{ TRUST_PROXY: '127.0.0.1' }, 2],
    [{ MAX_CONNECTIONS_PER_ADDRESS: '0' }, 2],
  ] as const) {
    const app = await build(t, embedded, { env: { ...env, ...more } })
    await app.listen({ host: '127.0.0.1', port: 0 })
    const sockets = [await open(t, app.server), await open(t, app.server)]
    for (const socket of sockets) socket.write(get('/livez', 'Connection: close'))
    const texts = await Promise.all(sockets.map((socket) => text(socket).catch(() => '')))
    t.equal(texts.filter((text) => text.startsWith('HTTP/1.1 200')).length, answers, JSON.stringify(more))
  }
})

t.test('the API answers pipelined requests in order', async (t) => {
  const app = await build(t, embedded)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const socket = await open(t, app.server)
  socket.write(get('/livez') + get('/api/products/') + get('/nothing') + get('/livez', 'Connection: close'))
  t.strictSame((await text(socket)).match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 200', 'HTTP/1.1 200', 'HTTP/1.1 404', 'HTTP/1.1 200'])
})
