// Log lines of requests, and secrets that neither the log nor an answer contains: keys, passwords, SQL, stack traces.
import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import type { InjectOptions } from 'fastify'
import t, { type Test } from 'tap'
import { buildApp } from '../../src/app.ts'
import { loadConfig } from '../../src/config.ts'
import type { App } from '../../src/http/routes.ts'
import { maskSecrets } from '../../src/logger.ts'
import { DIALECTS, type Dialect } from '../dialects.ts'
import { authorization, build, onEach } from '../helper.ts'

const [embedded] = DIALECTS as [Dialect]

const PASSWORD = 'hunter2'
const DATABASE = `postgres://shop:${PASSWORD}@db.internal:5432/shop`
const COOKIE = 'session=0123456789abcdef'

/** Routes that log too much, and fail. */
const CARELESS = `
  import { sql } from 'drizzle-orm'
  const config = { access: 'anyone' }
  export default async function (app) {
    app.get('/logs/', { config, schema: { hide: true } }, async (request) => {
      const { headers } = request
      request.log.info(headers, 'all headers')
      request.log.info({ headers }, 'headers')
      request.log.info({ request: { headers } }, 'headers, deeper')
      request.log.info({ upstream: { request: { headers: { ...headers, 'Set-Cookie': ['${COOKIE}', 'b'] } } } }, 'still deeper')
      request.log.info({ headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toUpperCase(), value])) }, 'in capitals')
      request.log.warn('calls ' + request.url + ' with ' + headers.authorization)
      return {}
    })
    app.get('/throws/', { config, schema: { hide: true } }, async ({ headers, url }) => {
      throw new Error('select * from keys failed on ${DATABASE} for ' + url, { cause: { headers, url: '${DATABASE}' } })
    })
    app.get('/asks-for-no-table/', { config }, async () => app.db.read.all(sql\`select secret from no_such_table\`))
    app.get('/writes-to-no-table/', { config }, async () => app.db.write((tx) => tx.run(sql\`insert into no_such_table values (\${'${PASSWORD}'})\`)))
  }`

interface Line {
  level: number
  reqId?: string
  msg: string
  res?: { statusCode: number }
}

async function buildCareless(t: Test, dialect: Dialect, LOG_LEVEL: string) {
  const routes = t.testdir({ careless: { 'index.js': CARELESS } })
  const written: string[] = []
  const app = await build(t, dialect, { env: { LOG_LEVEL }, routes, log: { write: (line) => written.push(line) } })
  return { app, written, lines: () => written.map((line): Line => JSON.parse(line)) }
}

/** Requests with a key in every possible place. */
const uses = (key: string): (InjectOptions & { url: string })[] => {
  const base64 = Buffer.from(`user:${key}`).toString('base64')
  const payload = { payload: `{"name":"${key}`, headers: { 'content-type': 'application/json' } }
  return [
    { url: '/careless/logs/', headers: { authorization: `Bearer ${key}`, cookie: COOKIE } },
    { url: '/careless/logs/', headers: { authorization: `Bearer ${key}x` } },
    { url: '/careless/logs/', headers: { authorization: key } },
    { url: '/careless/logs/', headers: { authorization: `Basic ${base64}` } },
    { url: '/careless/logs/', headers: { 'proxy-authorization': `Basic ${base64}` } },
    { url: '/careless/logs/', headers: { 'x-api-key': key } },
    { url: '/careless/logs/', headers: { 'x-request-id': key } },
    { url: `/careless/logs/?key=${key}` },
    { url: `/careless/logs/?key=${key.replaceAll('_', '%5F')}` },
    { url: `/careless/throws/?key=${key}`, headers: { authorization: `Bearer ${key}`, cookie: COOKIE } },
    { url: `/${key}/` },
    { url: `/%zz?key=${key}` },
    { url: '/careless/logs/', method: 'POST', ...payload },
    { url: `/careless/nothing/?${key}`, method: 'PUT', ...payload },
    { url: '/careless/asks-for-no-table/', headers: { authorization: `Bearer ${key}` } },
  ]
}

onEach('keys, passwords and cookies never appear in the log', async (t, dialect) => {
  const { app, written, lines } = await buildCareless(t, dialect, 'trace')
  const key = authorization(app).authorization.replace('Bearer ', '')
  for (const request of uses(key)) await app.inject(request)
  await app.listen({ host: '127.0.0.1', port: 0 })
  await raw(app, `GET /?key=${key} HTTP/1.1\r\nHost: a\r\nAuthorization ${key}\r\n\r\n`)

  const text = written.join('')
  const [, secret = key] = /^stk_\d+_(.+)/.exec(key) ?? []
  t.notMatch(text, secret)
  t.notMatch(text, Buffer.from(`user:${key}`).toString('base64').slice(0, 40))
  t.notMatch(text, PASSWORD)
  t.notMatch(text, COOKIE)
  t.match(text, 'stk_1_[redacted]', 'the id of the key stays')
  t.match(text, 'shop:[redacted]@db.internal', 'the name of the database stays')
  t.ok(lines().length > 40, 'every line is JSON')
  t.ok(lines().some(({ level }) => level >= 50))
})

/** Lines before and after masking. */
const masked: [line: string, left: string][] = [
  ['{"a":"stk_12_abcDEF09"}', '{"a":"stk_12_[redacted]"}'],
  ['{"a":"?k=stk%5f1%5Fabc&x=1"}', '{"a":"?k=stk%5f1%5F[redacted]&x=1"}'],
  ['{"a":"stk_1","b":"stock_1_abc"}', '{"a":"stk_1","b":"stock_1_abc"}'],
  ['{"a":"redis://:p%40ss@h:1/0 rediss://u:p@h"}', '{"a":"redis://:[redacted]@h:1/0 rediss://u:[redacted]@h"}'],
  ['{"a":"postgres://u:a\\"b\\\\c@h"}', '{"a":"postgres://u:[redacted]@h"}'],
  ['{"a":"http://h:80","b":"me@example.com"}', '{"a":"http://h:80","b":"me@example.com"}'],
  ['{"a":"https://h:80/@x"}', '{"a":"https://h:80/@x"}'],
  ['{"a":{"authorization":"Basic a\\"b","c":1}}', '{"a":{"authorization":"[redacted]","c":1}}'],
  ['{"Set-Cookie":["a=1; b","c"],"d":1}', '{"Set-Cookie":"[redacted]","d":1}'],
  ['{"AUTHORIZATION":"a"}', '{"AUTHORIZATION":"[redacted]"}'],
  ['{"msg":"authorization is needed"}', '{"msg":"authorization is needed"}'],
]

t.test('masking removes only the secret from a line', async (t) => {
  for (const [line, expected] of masked) t.equal(maskSecrets(line), expected)
})

/** Sends text that may be no HTTP, and reads until the server closes the connection. */
async function raw(app: App, request: string): Promise<string> {
  const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk
  })
  socket.end(request)
  await once(socket, 'close')
  return text
}

t.test('every log line of a request has the id of its answer', async (t) => {
  const { app, lines } = await buildCareless(t, embedded, 'trace')
  const before = lines().length
  const requests = ['/api/products/', '/api/nothing/', '/%zz', '/careless/logs/', '/careless/throws/', '/docs/', '/api/products/?x=1']
  for (const url of requests) {
    const from = lines().length
    const { headers, statusCode } = await app.inject(url)
    const ownLines = lines().slice(from)
    t.strictSame([...new Set(ownLines.map(({ reqId }) => reqId))], [headers['x-request-id']], url)
    t.ok(ownLines.length >= 2, `${url}: a line for the request and one for the answer`)
    t.equal(ownLines.at(-1)?.res?.statusCode, statusCode, `${url}: its status`)
  }
  await app.listen({ host: '127.0.0.1', port: 0 })
  for (const [request, status] of [
    ['hello\r\n\r\n', 400],
    [`GET /${'a'.repeat(20_000)} HTTP/1.1\r\n\r\n`, 431],
    ['GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n', 417],
    ['CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n', 400],
  ] as const) {
    const answer = await raw(app, request)
    const { reqId, res } = lines().at(-1) ?? {}
    t.match(answer, `x-request-id: ${reqId}\r\n`, request.slice(0, 20))
    t.equal(res?.statusCode, status, request.slice(0, 20))
  }
  t.ok(lines().length > before + 20)
})

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

t.test("a client's request id is used only if it is short and plain", async (t) => {
  const { app, lines } = await buildCareless(t, embedded, 'info')
  const readRequestId = async (sentId: string | string[], url = '/api/nothing/') => {
    const { headers, body } = await app.inject({ url, headers: { 'x-request-id': sentId as string } })
    t.equal(JSON.parse(body).instance, headers['x-request-id'])
    t.equal(lines().at(-1)?.reqId, headers['x-request-id'])
    return String(headers['x-request-id'])
  }
  for (const id of ['1', 'a-b_c.d:e', '5c0b8a52-5bb8-4fb8-93fb-9a1e6c3a4f10', '01JCQ8ZV6T4M5N7P9R0S1T2V3W', 'x'.repeat(64)]) {
    t.equal(await readRequestId(id), id)
    t.equal(await readRequestId(id, '/%zz'), id)
  }
  const refused = ['', ' ', 'x'.repeat(65), 'a b', 'a,b', '"a"', 'é', '<a>', 'a\tb', '%41', '{}', `stk_1_${'a'.repeat(40)}`, 'x-stk_1_abc']
  for (const id of refused) t.match(await readRequestId(id), UUID, `not ${JSON.stringify(id)}`)
})

/** Internals that no answer may reveal. */
const INTERNALS =
  /\.ts\b|node_modules|\bat .+:\d+:\d+|\bselect\b|\binsert\b|no_such_table|sqlite|postgres|drizzle|internal:|hunter2|hostname/i

onEach('a failure is reported without SQL, stack traces and passwords', async (t, dialect) => {
  const { app, lines } = await buildCareless(t, dialect, 'error')
  for (const url of ['/careless/throws/', '/careless/asks-for-no-table/', '/careless/writes-to-no-table/']) {
    const { statusCode, headers, body } = await app.inject(url)
    const { detail, instance, ...rest } = JSON.parse(body)
    t.strictSame(rest, {
      type: 'urn:stockroom:problem:internal-error',
      title: 'The service failed',
      status: 500,
      code: 'internal-error',
    })
    t.equal(statusCode, 500, url)
    t.equal(detail, 'An internal error occurred. The log has details under the id of this request.', url)
    t.equal(instance, headers['x-request-id'], url)
    t.notMatch(JSON.stringify(headers), INTERNALS, url)
    t.match(lines().at(-1), { reqId: instance, err: { stack: /\n {4}at / } }, `${url}: the log has the stack`)
  }
})

t.test('an unreachable database is reported without its password', async (t) => {
  const written: string[] = []
  const config = loadConfig({ DATABASE_URL: `postgres://shop:${PASSWORD}@127.0.0.1:1/shop`, LOG_LEVEL: 'trace' })
  const error = await buildApp({ config, log: { write: (line) => written.push(line) } }).catch((error) => error)
  t.ok(error instanceof Error)
  t.notMatch(`${error.message} ${error.stack} ${JSON.stringify(error)} ${written.join('')}`, PASSWORD)
})
