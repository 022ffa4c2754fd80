// Liveness, readiness, and graceful shutdown.
import { once } from 'node:events'
import { Agent, get as httpGet, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { setImmediate } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import t, { type Test } from 'tap'
import { buildApp } from '../../src/app.ts'
import { issueKey } from '../../src/auth/keys.ts'
import { COMMAND_LINE } from '../../src/changelog/record.ts'
import { loadConfig } from '../../src/config.ts'
import type { App } from '../../src/http/routes.ts'
import { DIALECTS, type Dialect, existing } from '../dialects.ts'
import { ask, build, get, onEach } from '../helper.ts'
import { startProxy } from '../tcp-proxy.ts'

const readPort = (server: { address(): unknown }) => (server.address() as AddressInfo).port

async function checkReadiness(t: Test, app: App, expected: boolean, title: string): Promise<void> {
  const { status, headers, body } = await get(app, '/readyz')
  const { 'cache-control': cache, 'retry-after': retry } = headers
  t.strictSame(
    [status, cache, retry, body.code],
    expected ? [200, 'no-store', undefined, undefined] : [503, 'no-store', '1', 'not-ready'],
    title,
  )
  t.equal((await get(app, '/livez')).status, 200, `${title}: it lives`)
}

onEach('a working service answers ok', async (t, dialect) => {
  const app = await build(t, dialect)
  for (const url of ['/livez', '/livez/', '/readyz', '/readyz/']) {
    const { status, headers, body } = await get(app, url)
    const { feed_lag_seconds: lag, ...rest } = body
    t.strictSame([status, headers['cache-control'], rest], [200, 'no-store', { status: 'ok' }], url)
    t.equal(url.startsWith('/readyz') ? lag >= 0 : lag === undefined, true, '/readyz has the lag of the feed')
    t.equal((await ask(app, 'HEAD', url)).status, 200, `HEAD ${url}`)
  }
})

onEach('a service with another schema than its code is not ready', async (t, dialect) => {
  const log: string[] = []
  const app = await build(t, dialect, { env: { LOG_LEVEL: 'warn' }, log: { write: (line) => log.push(line) } })
  const rows = await app.db.read.all<{ kind: string; name: string; hash: string }>(sql`select kind, name, hash from stockroom_schema`)
  const insert = ({ kind, name, hash }: { kind: string; name: string; hash: string }) =>
    app.db.write((tx) => tx.run(sql`insert into stockroom_schema (kind, name, hash) values (${kind}, ${name}, ${hash})`))
  const remove = ({ kind, name }: { kind: string; name: string }) =>
    app.db.write((tx) => tx.run(sql`delete from stockroom_schema where kind = ${kind} and name = ${name}`))
  for (const kind of ['migration', 'derived']) {
    for (const row of rows.filter((row) => row.kind === kind)) {
      await remove(row)
      await checkReadiness(t, app, false, `without the ${kind} ${row.name}`)
      await insert({ ...row, hash: 'other' })
      // A newer version may derive a part in another way.
      await checkReadiness(t, app, kind === 'derived', `with another ${kind} ${row.name}`)
      await remove(row)
      await insert(row)
    }
  }
  await checkReadiness(t, app, true, 'the original schema')
  const [part] = rows.filter(({ kind }) => kind === 'derived')
  if (!part) throw new Error('the schema has no derived part')
  await remove(part)
  log.length = 0
  await checkReadiness(t, app, false, `without ${part.name}`)
  await checkReadiness(t, app, false, `still without ${part.name}`)
  const lines = log.map((line) => JSON.parse(line))
  t.match(lines, [{ msg: 'not ready', err: { message: new RegExp(`behind the code .*${part.name}`) } }], 'the log says why')
  t.equal(lines.length, 1, 'the log says it once')
  t.strictSame(await app.db.migrate(), [part.name])
  await checkReadiness(t, app, true, 'after another instance has migrated')
})

const [embedded, postgres] = DIALECTS as [Dialect, Dialect]

t.test('a service without its database is not ready until the database returns', { skip: postgres.skip }, async (t) => {
  const { url, disconnect, reconnect } = await startProxy(t, await postgres.create(t), 5432)
  const app = await build(t, existing(postgres, url))
  await checkReadiness(t, app, true, 'at first')
  await disconnect()
  await checkReadiness(t, app, false, 'out of reach')
  const { status, headers, body } = await get(app, '/api/products/')
  t.strictSame([status, body.code, headers['retry-after']], [503, 'database-unavailable', '1'])
  await reconnect()
  await checkReadiness(t, app, true, 'back')
  t.equal((await ask(app, 'POST', '/api/products/', { name: 'a', price: 1 })).status, 201)
})

/** Sends the first part of a request. `finish` sends the rest and reads the answer. */
async function begin(app: App, request: string) {
  const accepted = once(app.server, 'connection')
  const socket = connect(readPort(app.server), '127.0.0.1')
  const chunks: Buffer[] = []
  socket.on('data', (chunk) => chunks.push(chunk))
  const closed = once(socket, 'close')
  const [peer] = (await accepted) as [Socket]
  socket.write(request)
  while (peer.bytesRead < request.length) await setImmediate()
  return {
    socket,
    closed,
    async finish(rest = ''): Promise<string> {
      socket.write(rest)
      await closed
      return Buffer.concat(chunks).toString()
    },
  }
}

const ANSWERED = /^HTTP\/1\.1 200 OK\r\n(.+\r\n)*connection: close\r\n/i

onEach('a stopping service answers requests in progress and accepts no more', async (t, dialect) => {
  const app = await buildApp({ config: loadConfig({ DATABASE_URL: await dialect.create(t), LOG_LEVEL: 'silent' }) })
  t.teardown(() => app.close())
  const arrived = Promise.withResolvers<void>()
  const released = Promise.withResolvers<void>()
  app.get('/slow', { config: { access: 'anyone' } }, async () => {
    arrived.resolve()
    await released.promise
    return app.db.read.all(sql`select 7 as still_there`)
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const port = readPort(app.server)
  const { token } = await issueKey(app.db, { name: 'Tests', role: 'write' }, COMMAND_LINE)

  const slow = await begin(app, 'GET /slow HTTP/1.1\r\nHost: a\r\n\r\n')
  const half = (line: string) => begin(app, `${line} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\n`)
  const ready = await half('GET /readyz')
  const live = await half('GET /livez')
  const list = await half('GET /api/products/')
  const write = await half('DELETE /api/products/1/')
  const idle = await begin(app, 'GET /livez HTTP/1.1\r\nHost: a\r\n\r\n')
  await once(idle.socket, 'data')
  await arrived.promise

  let ended = false
  const closing = app.close().then(() => {
    ended = true
  })
  await idle.closed
  t.pass('an idle connection is closed at once')
  while (app.server.listening) await setImmediate()
  const [refused] = await once(
    connect(port, '127.0.0.1').on('connect', () => t.fail('a new connection was taken')),
    'error',
  )
  t.equal(refused.code, 'ECONNREFUSED')

  const notReady = await ready.finish('\r\n')
  t.match(notReady, /^HTTP\/1\.1 503 /, 'it is not ready')
  t.match(notReady, /"code":"not-ready"/)
  t.match(notReady, /\r\nconnection: close\r\n/)
  t.match(await live.finish('\r\n'), ANSWERED, 'it lives')
  t.match(await list.finish('\r\n'), ANSWERED, 'a list is answered')
  t.match(await write.finish('\r\n'), /^HTTP\/1\.1 404 /, 'a write is answered')
  t.notOk(ended, 'it waits for requests in progress')

  released.resolve()
  const answer = await slow.finish()
  t.match(answer, ANSWERED)
  t.match(answer, /\[\{"still_there":7\}\]$/, 'the database stays open to the end')
  await closing
})

/** Sends a request with a keep-alive agent and reads the whole answer. */
async function askOver(agent: Agent, port: number, path: string) {
  const [response] = (await once(httpGet({ agent, port, path, host: '127.0.0.1' }), 'response')) as [IncomingMessage]
  await response.resume().toArray()
  return { status: response.statusCode, connection: response.headers.connection }
}

t.test('draining fails readiness first, then closes connections, then the listener', async (t) => {
  const app = await build(t, embedded)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const port = readPort(app.server)
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  const ask = async () => [await askOver(agent, port, '/readyz'), await askOver(agent, port, '/api/products/')]
  const [open, closed] = ['keep-alive', 'close']
  const answers = (ready: number, connection: string) => [
    { status: ready, connection },
    { status: 200, connection },
  ]
  t.strictSame(await ask(), answers(200, open))

  const halves = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const pauses: number[] = []
  const drained = app.drain(1_000, (milliseconds) => Promise.resolve(halves[pauses.push(milliseconds) - 1]?.promise))
  t.strictSame(await ask(), answers(503, open), 'at once')
  halves[0]?.resolve()
  await setImmediate()
  t.strictSame(await ask(), answers(503, closed), 'from the middle on, new connections are still accepted')
  t.ok(app.server.listening)
  halves[1]?.resolve()
  await drained
  t.strictSame(pauses, [500, 500])
  await app.close()
  await t.rejects(ask(), { code: 'ECONNREFUSED' })
})

t.test('connections in the accept queue are answered when the listener closes', async (t) => {
  const app = await build(t, embedded)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const answers = Array.from({ length: 50 }, () => {
    const socket = connect(readPort(app.server), '127.0.0.1')
    socket.write('GET /livez HTTP/1.1\r\nHost: a\r\n\r\n')
    return text(socket).catch((error) => error.code)
  })
  // The kernel has completed the connections, but the server has accepted none.
  await app.close()
  for (const answer of await Promise.all(answers)) t.match(answer, ANSWERED)
})
