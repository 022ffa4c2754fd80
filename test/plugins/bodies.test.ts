// Admission of large bodies before they are read, over real connections: a few at a time, each with a time limit.
import { once } from 'node:events'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { issueKey } from '../../src/auth/keys.ts'
import { COMMAND_LINE } from '../../src/changelog/record.ts'
import { LARGE_BODIES, type TIMEOUTS } from '../../src/http/limits.ts'
import type { App } from '../../src/http/routes.ts'
import { DIALECTS, type Dialect } from '../dialects.ts'
import { build } from '../helper.ts'

const [embedded] = DIALECTS as [Dialect]

const SIZE = 1_048_576
const BODY = '{"operations":[{"op":"delete","id":99}],"atomic":false}'.padEnd(SIZE)
const PART = 1_000
const { places, placesPerClient, waiting, waitingPerClient } = LARGE_BODIES

interface Upload {
  socket: Socket
  /** Resolves with the status of the answer, or 0 if the connection closes without one. */
  status: Promise<number>
  finish(): void
}

interface Service {
  app: App
  keys: string[]
  /** Sends the headers and the beginning of a body, and resolves when the server has received them. */
  begin(key: string, length?: string): Promise<Upload>
  /** The server's sockets, in the order of their connections. */
  ends: Socket[]
}

async function serve(t: Test, timeouts: Partial<typeof TIMEOUTS> = {}, clients = 3): Promise<Service> {
  const app = await build(t, embedded, { timeouts: { admission: 60_000, body: 60_000, request: 120_000, ...timeouts } })
  const keys = await Promise.all(
    Array.from({ length: clients }, async (_, n) => (await issueKey(app.db, { name: `Key ${n}`, role: 'write' }, COMMAND_LINE)).token),
  )
  const ends: Socket[] = []
  app.server.on('connection', (socket) => ends.push(socket))
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const begin = async (key: string, length = `Content-Length: ${SIZE}`): Promise<Upload> => {
    const socket = connect({ port, host: '127.0.0.1' })
    t.teardown(() => socket.destroy())
    socket.on('error', () => {})
    const arrived = once(app.server, 'request')
    const isChunked = length.startsWith('Transfer')
    const chunk = (text: string) => (isChunked ? `${text.length.toString(16)}\r\n${text}\r\n` : text)
    const headers = [
      'POST /api/products/bulk/ HTTP/1.1',
      'Host: localhost',
      `Authorization: Bearer ${key}`,
      'Content-Type: application/json',
    ]
    socket.write(`${[...headers, length].join('\r\n')}\r\n\r\n${chunk(BODY.slice(0, PART))}`)
    let text = ''
    const status = new Promise<number>((resolve) => {
      socket.on('data', (data) => {
        text += data
        const [, code] = /^HTTP\/1\.1 (\d+)/.exec(text) ?? []
        if (code) resolve(Number(code))
      })
      socket.once('close', () => resolve(0))
    })
    await arrived
    return { socket, status, finish: () => void socket.write(chunk(BODY.slice(PART)) + (isChunked ? '0\r\n\r\n' : '')) }
  }
  return { app, keys, begin, ends }
}

/** Takes every place, with as many clients as needed. */
async function fill({ keys, begin }: Service): Promise<Upload[]> {
  const uploads: Upload[] = []
  for (let n = 0; n < places; n++) uploads.push(await begin(keys[Math.floor(n / placesPerClient)] as string))
  return uploads
}

/** Waits until a connection receives no more bytes, and returns the number received. */
async function waitUntilQuiet(socket: Socket): Promise<number> {
  for (let before = -1, same = 0; same < 5; same = socket.bytesRead === before ? same + 1 : 0) {
    before = socket.bytesRead
    await setTimeout(20)
  }
  return socket.bytesRead
}

t.test('a large body without a place waits unread, and small bodies do not wait', async (t) => {
  const service = await serve(t)
  const { app, keys, begin, ends } = service
  const [first, ...others] = await fill(service)
  const last = keys.at(-1) as string
  const late = await begin(last)
  late.finish()
  const read = await waitUntilQuiet(ends.at(-1) as Socket)
  t.ok(read < SIZE / 2, 'the body is not read', { read })
  const small = await app.inject({
    method: 'POST',
    url: '/api/products/',
    headers: { authorization: `Bearer ${last}` },
    payload: { name: 'Hat', price: 1 },
  })
  t.equal(small.statusCode, 201)
  first?.finish()
  t.equal(await first?.status, 207)
  t.equal(await late.status, 207, 'the body gets the place of a finished one')
  for (const upload of others) upload.finish()
  t.strictSame(await Promise.all(others.map(({ status }) => status)), [207, 207, 207])
})

t.test('a body without a length needs a place too', async (t) => {
  const service = await serve(t)
  const { keys, begin, ends } = service
  const [first] = await fill(service)
  const late = await begin(keys.at(-1) as string, 'Transfer-Encoding: chunked')
  late.finish()
  t.ok((await waitUntilQuiet(ends.at(-1) as Socket)) < SIZE / 2)
  first?.finish()
  t.equal(await late.status, 207)
})

t.test('one client cannot take every place', async (t) => {
  const { keys, begin } = await serve(t)
  const [greedy, other] = keys as [string, string]
  for (let n = 0; n < placesPerClient + waitingPerClient; n++) await begin(greedy)
  const refused = await begin(greedy)
  t.equal(await refused.status, 503, 'a client has a limited number of waiting bodies')
  const upload = await begin(other)
  upload.finish()
  t.equal(await upload.status, 207)
})

t.test('a body that does not arrive in time answers 408, and another gets its place', async (t) => {
  const service = await serve(t, { body: 1_500 })
  const uploads = await fill(service)
  const late = await service.begin(service.keys.at(-1) as string)
  late.finish()
  t.strictSame(await Promise.all(uploads.map(({ status }) => status)), Array(places).fill(408))
  t.equal(await late.status, 207)
})

t.test('a body that waits too long or behind too many answers 503', async (t) => {
  const service = await serve(t, { admission: 300 })
  await fill(service)
  const late = await service.begin(service.keys.at(-1) as string)
  t.equal(await late.status, 503)
  const many = await serve(t, {}, 2 + waiting / waitingPerClient + 1)
  await fill(many)
  for (const key of many.keys.slice(2, -1)) for (let n = 0; n < waitingPerClient; n++) await many.begin(key)
  const last = await many.begin(many.keys.at(-1) as string)
  t.equal(await last.status, 503)
})

t.test('a body that is refused before its end causes no later failure', async (t) => {
  const app = await build(t, embedded, { env: { BULK_BODY_LIMIT: '100000' }, timeouts: { body: 200 } })
  const errors: unknown[] = []
  const note = (error: unknown) => errors.push(error)
  process.prependListener('uncaughtExceptionMonitor', note)
  t.teardown(() => process.off('uncaughtExceptionMonitor', note))
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { token } = await issueKey(app.db, { name: 'Key', role: 'write' }, COMMAND_LINE)
  const socket = connect({ port: (app.server.address() as AddressInfo).port, host: '127.0.0.1' })
  t.teardown(() => socket.destroy())
  socket.on('error', () => {})
  const headers = [
    'POST /api/products/bulk/ HTTP/1.1',
    'Host: localhost',
    `Authorization: Bearer ${token}`,
    'Content-Type: application/json',
  ]
  socket.write(`${headers.join('\r\n')}\r\nTransfer-Encoding: chunked\r\n\r\n${SIZE.toString(16)}\r\n${BODY.slice(0, 200_000)}`)
  const [answer] = await once(socket, 'data')
  t.match(String(answer), /^HTTP\/1\.1 413/)
  await setTimeout(400)
  t.strictSame(errors, [])
})

t.test('a client that disconnects gives up its place in use or in the queue', async (t) => {
  const service = await serve(t)
  const { keys, begin, ends } = service
  const uploads = await fill(service)
  const disconnected = await begin(keys.at(-1) as string)
  const closed = once(ends.at(-1) as Socket, 'close')
  disconnected.socket.destroy()
  await closed
  const late = await begin(keys.at(-1) as string)
  late.finish()
  uploads[0]?.socket.destroy()
  t.equal(await late.status, 207)
})
