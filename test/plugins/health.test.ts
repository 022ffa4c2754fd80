// Whether the service says truly that it can answer, and how it stops.
import { once } from 'node:events'
import { connect } from 'node:net'
import { sql } from 'drizzle-orm'
import { build, get, onEach } from '../helper.ts'

onEach('livez looks at nothing, readyz at the database and its schema', async (t, dialect) => {
  const app = await build(t, dialect)
  for (const url of ['/livez', '/readyz', '/livez/', '/readyz/']) {
    const answer = await get(app, url)
    t.match(answer, { status: 200, body: { status: 'ok' }, headers: { 'cache-control': 'no-store' } }, url)
  }
  await app.db.write((tx) => tx.run(sql`delete from stockroom_schema where name = 'products_counters'`))
  t.match(await get(app, '/readyz'), {
    status: 503,
    body: { code: 'not-ready' },
    headers: { 'retry-after': '1', 'cache-control': 'no-store' },
  })
  t.equal((await get(app, '/livez')).status, 200)
  await app.db.migrate()
  t.equal((await get(app, '/readyz')).status, 200)
})

onEach('what stops is not ready, and a request under way is answered before its connection is closed', async (t, dialect) => {
  const app = await build(t, dialect)
  const port = Number(new URL(await app.listen({ port: 0 })).port)
  const socket = connect(port, '127.0.0.1')
  const bytes: Buffer[] = []
  socket.on('data', (chunk: Buffer) => bytes.push(chunk))
  const body = JSON.stringify({ name: 'late', price: 1 })
  const arrived = once(app.server, 'request')
  socket.write(
    `POST /api/products/ HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body.slice(0, 5)}`,
  )
  await arrived
  const closed = app.close()
  while (app.server.listening) await new Promise(setImmediate)
  await t.rejects(app.checkReady(), { code: 'not-ready', message: 'The service is stopping.' })
  socket.write(body.slice(5))
  await once(socket, 'close')
  await closed
  t.match(Buffer.concat(bytes).toString(), /^HTTP\/1\.1 201 Created\r\n.*\r\nconnection: close\r\n/is)
})
