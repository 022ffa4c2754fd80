// Every failure is RFC 9457 problem+json, also over a real connection, where Node answers many faults before Fastify sees a request.
import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import t, { type Test } from 'tap'
import type { AppOptions } from '../../src/app.ts'
import { type ErrorCode, errors } from '../../src/errors.ts'
import type { App } from '../../src/http/routes.ts'
import { FIXED_HEADERS } from '../../src/openapi/responses.ts'
import { DIALECTS, type Dialect } from '../dialects.ts'
import { ask, authorization, build, onEach } from '../helper.ts'

const BODY_LIMIT = 100_000

/** The database of tests whose result does not depend on it. */
const [embedded] = DIALECTS as [Dialect]

interface RawAnswer {
  status: number
  headers: Record<string, string>
  body: string
}

async function listen(t: Test, dialect: Dialect, options: Partial<AppOptions> & { env?: Record<string, string> } = {}): Promise<App> {
  const app = await build(t, dialect, options)
  await app.listen({ host: '127.0.0.1', port: 0 })
  return app
}

const readPort = (app: App) => (app.server.address() as AddressInfo).port

/** Milliseconds after which a server that neither answers nor closes the connection has failed. */
const PATIENCE = 10_000

/** Sends raw bytes and reads until the server closes the connection. With `hangUp` the client closes its side first. */
async function exchange(app: App, bytes: string | Buffer, { hangUp = false } = {}): Promise<RawAnswer[]> {
  // Every request that is sent with a Host gets an admin key.
  const key = `${HOST}\r\nAuthorization: ${authorization(app).authorization}\r\n`
  const request = Buffer.from(bytes.toString('latin1').replaceAll(`${HOST}\r\n`, key), 'latin1')
  const socket = connect(readPort(app), '127.0.0.1')
  const chunks: Buffer[] = []
  socket.on('data', (chunk) => chunks.push(chunk))
  socket.on('error', () => {})
  socket.setTimeout(PATIENCE, () => socket.destroy())
  socket.write(request)
  if (hangUp) socket.end()
  await once(socket, 'close')
  return parse(Buffer.concat(chunks), request.toString('latin1').startsWith('HEAD'))
}

function parse(bytes: Buffer, head: boolean): RawAnswer[] {
  const end = bytes.indexOf('\r\n\r\n')
  if (end < 0) return []
  const [statusLine = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n')
  const headers = Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)]),
  )
  const start = end + 4
  const length = head ? 0 : Number(headers['content-length'] ?? 0)
  const answer = { status: Number(statusLine.split(' ')[1]), headers, body: bytes.toString('utf8', start, start + length) }
  return [answer, ...parse(bytes.subarray(start + length), head)]
}

const HOST = 'Host: stockroom.test'
const CLOSE = 'Connection: close'

/** Builds a request as bytes. `headers` are lines, and `body` gets a Content-Length. */
function http(line: string, headers: readonly string[] = [], body?: string | Buffer): Buffer {
  const length = body === undefined ? [] : [`Content-Length: ${Buffer.byteLength(body)}`]
  const lines = [`${line} HTTP/1.1`, HOST, CLOSE, ...headers, ...length, '', '']
  return Buffer.concat([Buffer.from(lines.join('\r\n'), 'latin1'), Buffer.from(body ?? '')])
}

const json = (line: string, body: string | Buffer, type = 'application/json') => http(line, [`Content-Type: ${type}`], body)
const raw = (...lines: string[]) => [...lines, '', ''].join('\r\n')

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
/** Stack traces, SQL and names of dependencies. */
const INTERNALS = /\.ts\b|node_modules|\bat .+:\d+:\d+|\bselect\b|\binsert\b|\bupdate\b|sqlite|postgres|drizzle|FST_|HPE_|ERR_/i

const LISTED: readonly ErrorCode[] = ['invalid-request', 'not-unique', 'cycle']

/** Checks the constant parts of a problem exactly and the other members by rules. */
function checkProblem(t: Test, answer: RawAnswer | undefined, status: number, code: ErrorCode, title: string): void {
  const { type, detail, instance, errors: faults, ...rest } = JSON.parse(answer?.body || '{}')
  const right = {
    'a type that is a URI': URL.canParse(type) && type.endsWith(code),
    'a detail': typeof detail === 'string' && detail !== '',
    'the id of the request': UUID.test(instance) && answer?.headers['x-request-id'] === instance,
    'the headers of every answer': Object.entries(FIXED_HEADERS).every(([name, value]) => answer?.headers[name.toLowerCase()] === value),
    'its faults': Array.isArray(faults) === LISTED.includes(code),
    'nothing of the inside': !INTERNALS.test(answer?.body ?? ''),
  }
  const wrong = Object.entries(right).flatMap(([what, is]) => (is ? [] : [what]))
  t.strictSame(
    { answered: answer?.status, type: answer?.headers['content-type'], ...rest, wrong },
    { answered: status, type: 'application/problem+json; charset=utf-8', title: errors[code].title, status, code, wrong: [] },
    title,
  )
}

const CHUNKED = 'Transfer-Encoding: chunked'
const JSON_TYPE = 'Content-Type: application/json'
const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`
const PRODUCT = '{"name":"a","price":1}'

type Row = [title: string, request: string | Buffer, status: number, code: ErrorCode, headers?: Record<string, string | undefined>]

const bodies: Row[] = [
  ['JSON that ends early', json('POST /api/products/', '{"name":'), 400, 'malformed-json'],
  ['a form in place of JSON', json('POST /api/products/', 'name=a'), 400, 'malformed-json'],
  ['two JSON texts', json('POST /api/products/', `${PRODUCT}${PRODUCT}`), 400, 'malformed-json'],
  ['NaN', json('POST /api/products/', '{"name":"a","price":NaN}'), 400, 'malformed-json'],
  ['an empty body', json('POST /api/products/', ''), 400, 'invalid-request'],
  ['an empty body on PATCH', json('PATCH /api/products/1/', ''), 400, 'invalid-request'],
  ['bytes that are not UTF-8', json('POST /api/products/', Buffer.from('{"name":"\xff","price":1}', 'latin1')), 400, 'malformed-json'],
  ['a surrogate in UTF-8', json('POST /api/products/', Buffer.from('{"name":"\xed\xa0\x80","price":1}', 'latin1')), 400, 'malformed-json'],
  ['UTF-16', json('POST /api/products/', Buffer.from(`\ufeff${PRODUCT}`, 'utf16le')), 400, 'malformed-json'],
  ['a member __proto__', json('POST /api/products/', '{"__proto__":1}'), 400, 'invalid-request'],
  ['a prototype', json('POST /api/products/', '{"__proto__":{"name":"a","price":1}}'), 400, 'invalid-request'],
  ['arrays in arrays', json('POST /api/products/', '['.repeat(45_000) + ']'.repeat(45_000)), 400, 'invalid-request'],
  ['objects in objects', json('POST /api/products/', `${'{"name":'.repeat(9_000)}1${'}'.repeat(9_000)}`), 400, 'invalid-request'],
  ['no body', http('POST /api/products/'), 400, 'invalid-request'],
  ['plain text', json('POST /api/products/', PRODUCT, 'text/plain'), 415, 'unsupported-media-type', { 'accept-patch': undefined }],
  ['a form', json('POST /api/products/', 'name=a', 'application/x-www-form-urlencoded'), 415, 'unsupported-media-type'],
  ['no content type', http('POST /api/products/', [], PRODUCT), 415, 'unsupported-media-type'],
  ['a malformed content type', json('POST /api/products/', PRODUCT, ';;'), 415, 'unsupported-media-type'],
  ['a merge patch on PUT', json('PUT /api/products/1/', PRODUCT, 'application/merge-patch+json'), 415, 'unsupported-media-type'],
  [
    'another kind of patch',
    json('PATCH /api/products/1/', '[]', 'application/json-patch+json'),
    415,
    'unsupported-media-type',
    { 'accept-patch': 'application/json, application/merge-patch+json' },
  ],
  ['a body over the limit', json('POST /api/products/', 'x'.repeat(BODY_LIMIT + 1)), 413, 'body-too-large'],
  ['a Content-Length over the limit', http('POST /api/products/', [JSON_TYPE, 'Content-Length: 99999999999']), 413, 'body-too-large'],
  [
    'chunks over the limit',
    Buffer.concat([http('POST /api/products/', [JSON_TYPE, CHUNKED]), Buffer.from(chunk('x'.repeat(BODY_LIMIT / 2)).repeat(3))]),
    413,
    'body-too-large',
  ],
]

const urls: Row[] = [
  ['an unknown URL', http('GET /api/nothing/'), 404, 'not-found'],
  ['a URL with an empty segment', http('GET /api//products/'), 404, 'not-found'],
  ['a record without an id', http('GET /api/products//'), 404, 'not-found'],
  ['a URL below a record', http('GET /api/products/1/more/'), 404, 'not-found'],
  ['a URL in another case', http('GET /API/products/'), 404, 'not-found'],
  ['dots in a URL', http('GET /api/products/../../livez'), 404, 'not-found'],
  ['bad JSON to nothing', json('POST /api/nothing/', '{"name":'), 404, 'not-found'],
  ['plain text to nothing', json('POST /api/nothing/', 'x', 'text/plain'), 404, 'not-found'],
  ['a huge body to nothing', json('PUT /api/nothing/', 'x'.repeat(BODY_LIMIT * 2)), 404, 'not-found'],
  ['a huge body that does not come, to nothing', http('POST /api/nothing/', [JSON_TYPE, 'Content-Length: 99999999999']), 404, 'not-found'],
  ['a long URL', http(`GET /api/products/${'9'.repeat(10_000)}/`), 404, 'not-found'],
  ['a long URL of nothing', http(`GET /${'a/'.repeat(5_000)}`), 404, 'not-found'],
  ['% and no digits', http('GET /%zz'), 400, 'malformed-request'],
  ['% at the end', http('GET /api/products/%'), 400, 'malformed-request'],
  ['a path that is not UTF-8', http('GET /api/products/%ff/'), 400, 'malformed-request'],
  ['a NUL in a path', http('GET /api/products/%00/'), 404, 'not-found'],
  ['an unknown parameter', http('GET /livez?verbose=1'), 400, 'invalid-request'],
  ['a parameter that is not UTF-8', http('GET /api/products/?search=%ff'), 400, 'invalid-request'],
  ['a long query', http(`GET /api/products/?${'x=1&'.repeat(2_000)}`), 400, 'invalid-request'],
]

const LIST = 'GET, HEAD, POST, OPTIONS'
const RECORD = 'GET, HEAD, PUT, PATCH, DELETE, OPTIONS'
const READ = 'GET, HEAD, OPTIONS'

const methods: Row[] = (
  [
    ['PUT', '/api/products/', LIST],
    ['PATCH', '/api/products', LIST],
    ['DELETE', '/api/categories/', LIST],
    ['POST', '/api/products/1/', RECORD],
    ['POST', '/api/categories/1', RECORD],
    ['POST', '/api/products/1/?x=1', RECORD],
    ['PATCH', '/livez', READ],
    ['POST', '/readyz/', READ],
    ['DELETE', '/openapi.json', READ],
    ['PUT', '/docs/', READ],
    ['TRACE', '/livez', READ],
    ['PROPFIND', '/api/products/', LIST],
    ['MKCOL', '/api/products/1/', RECORD],
    ['QUERY', '/api/products/', LIST],
  ] as const
).map(([method, url, allow]) => [`${method} ${url}`, json(`${method} ${url}`, '{"name":'), 405, 'method-not-allowed', { allow }])

const protocol: Row[] = [
  ['a text that is not HTTP', raw('hello'), 400, 'malformed-request'],
  ['the beginning of TLS', Buffer.from('16030100c8010000c403', 'hex'), 400, 'malformed-request'],
  ['HTTP/2', raw('PRI * HTTP/2.0', '', 'SM'), 400, 'malformed-request'],
  ['an unknown method', raw('FOO /livez HTTP/1.1', HOST), 400, 'malformed-request'],
  ['a header without a name', http('GET /livez', [': x']), 400, 'malformed-request'],
  ['a header with a NUL', http('GET /livez', ['X-A: a\0b']), 400, 'malformed-request'],
  ['a space before the colon', http('GET /livez', ['X-A : a']), 400, 'malformed-request'],
  ['a length that is no number', http('POST /api/products/', [JSON_TYPE, 'Content-Length: x']), 400, 'malformed-request'],
  ['a negative length', http('POST /api/products/', [JSON_TYPE, 'Content-Length: -1']), 400, 'malformed-request'],
  ['two lengths', http('POST /api/products/', [JSON_TYPE, 'Content-Length: 1', 'Content-Length: 2']), 400, 'malformed-request'],
  ['a length and chunks', http('POST /api/products/', [JSON_TYPE, CHUNKED], PRODUCT), 400, 'malformed-request'],
  [
    'a chunk without a length',
    Buffer.concat([http('POST /api/products/', [JSON_TYPE, CHUNKED]), Buffer.from('zz\r\n')]),
    400,
    'malformed-request',
  ],
  ['headers over 16 KiB', http('GET /livez', [`X-A: ${'a'.repeat(20_000)}`]), 431, 'headers-too-large'],
  ['a URL over 8 KiB', http(`GET /api/products/?name=${'a'.repeat(8_192)}`), 431, 'headers-too-large'],
  ['a URL over 16 KiB', http(`GET /${'a'.repeat(20_000)}`), 431, 'headers-too-large'],
  ['an unknown expectation', http('GET /livez', ['Expect: nonsense']), 417, 'expectation-failed'],
  ['no Host', raw('GET /livez HTTP/1.1', CLOSE), 400, 'malformed-request'],
  ['no Host at an unknown URL', raw('GET / HTTP/1.1', CLOSE), 400, 'malformed-request'],
  ['an empty Host', raw('GET /livez HTTP/1.1', CLOSE, 'Host:'), 400, 'malformed-request'],
  ['two Hosts', raw('GET /livez HTTP/1.1', CLOSE, 'Host: a', 'Host: b'), 400, 'malformed-request'],
  ...['a b', 'evil/path', 'x"y', 'a@b', 'a?b', 'a#b', 'a\\b', 'a:port', 'a:99999', '[::1', '<script>', '%'].map(
    (host): Row => [`Host: ${host}`, raw('GET /api/products/ HTTP/1.1', CLOSE, `Host: ${host}`), 400, 'malformed-request'],
  ),
  ['a bad Host in HTTP/1.0', raw('GET /api/products/ HTTP/1.0', 'Host: evil/path'), 400, 'malformed-request'],
]

/**
 * Valid requests that look faulty, with the statuses of the answers and a pattern for the last body. They delete the first two products.
 */
const odd: [title: string, request: string | Buffer, status: number | number[], body?: RegExp][] = [
  [
    'HTTP/1.0 without a Host',
    raw('GET /api/products/?page_size=1 HTTP/1.0'),
    200,
    /"next":"\/api\/products\/\?cursor=[\w-]{24,}&page=2&page_size=1"/,
  ],
  [
    'HTTP/1.0 with a Host',
    raw('GET /api/products/?page_size=1 HTTP/1.0', 'Host: a:81'),
    200,
    /"next":"http:\/\/a:81\/api\/products\/\?cursor=/,
  ],
  ['an address as Host', raw('GET /api/products/?page_size=1 HTTP/1.1', CLOSE, 'Host: [::1]:3000'), 200, /"http:\/\/\[::1\]:3000\/api/],
  ['a URL with its origin', raw('GET http://stockroom.test/livez HTTP/1.1', HOST, CLOSE), 200],
  ['an offer to change the protocol', http('GET /livez', ['Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAAP__']), 200],
  ['GET with a content type', http('GET /livez', [JSON_TYPE]), 200],
  ['HEAD', http('HEAD /livez'), 200, /^$/],
  ['a body behind a byte order mark', json('POST /api/products/', '\ufeff{"name":"BOM","price":1}'), 201, /"name":"BOM"/],
  [
    'a body in chunks',
    Buffer.concat([
      http('POST /api/products/', [JSON_TYPE, CHUNKED]),
      Buffer.from(`${chunk('{"name":"chunked",')}${chunk('"price":1}')}0\r\n\r\n`),
    ]),
    201,
    /"name":"chunked"/,
  ],
  [
    'Expect: 100-continue',
    http('POST /api/products/', [JSON_TYPE, 'Expect: 100-continue'], '{"name":"expected","price":1}'),
    [100, 201],
    /"name":"expected"/,
  ],
  ['DELETE with a content type and no body', http('DELETE /api/products/1/', [JSON_TYPE]), 204, /^$/],
  ['DELETE with a content type and a length of 0', json('DELETE /api/products/2/', ''), 204, /^$/],
]

t.test('a 413 states the limit of its URL in bytes', async (t) => {
  const [dialect] = DIALECTS as [Dialect]
  const app = await build(t, dialect, { env: { BODY_LIMIT: '1024', BULK_BODY_LIMIT: '4096' } })
  for (const [url, limit] of [
    ['/api/products/', 1_024],
    ['/api/products/bulk/', 4_096],
  ] as const) {
    const { status, body } = await ask(app, 'POST', url, { name: 'x'.repeat(limit) })
    t.match([status, body.detail], [413, `The body is larger than ${limit} bytes, the limit of this URL.`], url)
  }
})

onEach('requests over a real connection', async (t, dialect) => {
  const app = await listen(t, dialect, { env: { BODY_LIMIT: String(BODY_LIMIT) } })
  const names = async () => (await ask(app, 'GET', '/api/products/')).body.results.map(({ name }: { name: string }) => name)
  for (const name of ['first', 'second']) await ask(app, 'POST', '/api/products/', { name, price: 1 })

  for (const [what, rows] of Object.entries({ body: bodies, URL: urls, method: methods, request: protocol })) {
    await t.test(`a faulty ${what} answers with a problem document`, async (t) => {
      for (const [title, request, status, code, headers = {}] of rows) {
        const [answer, ...more] = await exchange(app, request)
        checkProblem(t, answer, status, code, title)
        t.strictSame(more, [], `${title}: one answer`)
        for (const [name, value] of Object.entries(headers)) t.equal(answer?.headers[name], value, `${title}: ${name}`)
      }
      t.strictSame(await names(), ['first', 'second'], 'nothing was created or changed')
    })
  }

  await t.test('a client that disconnects in the middle of a request changes nothing', async (t) => {
    const announced = http('POST /api/products/', [JSON_TYPE, 'Content-Length: 100'])
    const inChunks = http('POST /api/products/', [JSON_TYPE, CHUNKED])
    for (const request of [
      announced,
      Buffer.concat([announced, Buffer.from(PRODUCT)]),
      Buffer.concat([inChunks, Buffer.from(chunk(PRODUCT))]),
      'GET /livez HTTP/1.1\r\nHost',
      '',
    ]) {
      for (const answer of await exchange(app, request, { hangUp: true }))
        checkProblem(t, answer, 400, 'malformed-request', 'half a request')
    }
    t.strictSame(await names(), ['first', 'second'], 'half a request creates nothing')
  })

  await t.test('a connection continues after an error, and an unread body is not parsed as a request', async (t) => {
    const inner = 'DELETE /api/products/1/ HTTP/1.1\r\nHost: a\r\n\r\n'
    const keepAliveRequests = [
      json('POST /nothing', inner),
      json('PUT /livez', inner),
      json('POST /api/products/', inner, 'text/plain'),
      json('POST /api/products/', '{}'),
      http('GET /%zz'),
    ].map((request) => request.toString('latin1').replace(`${CLOSE}\r\n`, ''))
    const answers = await exchange(app, [...keepAliveRequests, http('GET /livez').toString('latin1')].join(''))
    t.strictSame(
      answers.map(({ status }) => status),
      [404, 405, 415, 400, 400, 200],
    )
    t.strictSame(await names(), ['first', 'second'])
  })

  await t.test('unusual but valid requests are served', async (t) => {
    for (const [title, request, statuses, body = /(?:)/] of odd) {
      const answers = await exchange(app, request)
      t.strictSame(
        answers.map(({ status }) => status),
        [statuses].flat(),
        title,
      )
      t.match(answers.at(-1)?.body, body, title)
    }
    t.strictSame(await names(), ['BOM', 'chunked', 'expected'])
  })
})

onEach('a body of another length than its Content-Length is refused', async (t, dialect) => {
  const app = await build(t, dialect)
  const headers = { 'content-type': 'application/json', 'content-length': '5' }
  const { status, body } = await ask(app, 'POST', '/api/products/', PRODUCT, headers)
  t.strictSame([status, body.code], [400, 'malformed-request'])
})

t.test('a request that does not arrive in time answers 408', async (t) => {
  const app = await listen(t, embedded)
  // Node checks every minute. The test emits the error of such a check.
  app.server.once('connection', (socket) =>
    app.server.emit('clientError', Object.assign(new Error('late'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' }), socket),
  )
  const [answer] = await exchange(app, 'GET / HTTP/1.1\r\n')
  checkProblem(t, answer, 408, 'request-timeout', 'late')
})

const SECRET = 'select password from users'

/** Routes that fail in various ways. */
const FAILING = `
  export default async function (app) {
    const open = { config: { access: 'anyone' } }
    app.get('/throws/', open, async () => { throw new Error('${SECRET}') })
    app.get('/throws-early/', open, () => { throw new TypeError('${SECRET}') })
    app.get('/throws-text/', open, async () => { throw '${SECRET}' })
    app.get('/throws-nothing/', open, async () => { throw undefined })
    app.get('/pretends/', open, async () => { throw Object.assign(new Error('${SECRET}'), { statusCode: 502, code: 'E_SECRET' }) })
    app.get('/answers-what-is-no-json/', open, async () => ({ secret: 1n, sql: '${SECRET}' }))
    app.get('/asks-what-is-no-sql/', open, async () => app.db.read.all({ getSQL: () => { throw new Error('${SECRET}') } }))
    app.get('/writes-what-is-no-sql/', open, async () => app.db.write(async () => { throw new Error('${SECRET}') }))
  }`

onEach('an internal failure answers 500 and reveals no internals', async (t, dialect) => {
  const routes = t.testdir({ failing: { 'index.js': FAILING } })
  const app = await listen(t, dialect, { routes })
  for (const url of FAILING.match(/(?<=get\('\/)[^/]+/g) ?? []) {
    const [answer] = await exchange(app, http(`GET /failing/${url}/`))
    checkProblem(t, answer, 500, 'internal-error', url)
    t.notMatch(answer?.body, /secret|password/i, url)
  }
  const [head] = await exchange(app, http('HEAD /failing/throws/'))
  t.strictSame([head?.status, head?.body], [500, ''])
})

/** Configurations and requests, with the expected origin of links, or REFUSED. */
const REFUSED = 'refused'
const origins: [env: Record<string, string>, from: string, headers: Record<string, string>, origin: string][] = [
  [{}, '127.0.0.1', { host: 'a.test:8080' }, 'http://a.test:8080'],
  [{}, '127.0.0.1', { host: 'a.test', 'x-forwarded-host': 'b.test', 'x-forwarded-proto': 'https' }, 'http://a.test'],
  [{ PUBLIC_URL: 'https://shop.test' }, '127.0.0.1', { host: 'a.test' }, 'https://shop.test'],
  [
    { PUBLIC_URL: 'https://shop.test', TRUST_PROXY: '127.0.0.1' },
    '127.0.0.1',
    { host: 'a.test', 'x-forwarded-host': 'b.test' },
    'https://shop.test',
  ],
  [
    { TRUST_PROXY: '10.0.0.0/8' },
    '10.9.9.9',
    { host: 'a.test', 'x-forwarded-host': 'b.test', 'x-forwarded-proto': 'https' },
    'https://b.test',
  ],
  [{ TRUST_PROXY: '10.0.0.0/8' }, '10.9.9.9', { host: 'a.test' }, 'http://a.test'],
  [{ TRUST_PROXY: '10.0.0.0/8,127.0.0.1' }, '127.0.0.1', { host: 'a.test', 'x-forwarded-host': 'b.test' }, 'http://b.test'],
  [{ TRUST_PROXY: '10.0.0.0/8,127.0.0.1' }, '10.2.3.4', { host: 'a.test', 'x-forwarded-host': 'b.test' }, 'http://b.test'],
  [
    { TRUST_PROXY: '10.0.0.0/8' },
    '127.0.0.1',
    { host: 'a.test', 'x-forwarded-host': 'b.test', 'x-forwarded-proto': 'https' },
    'http://a.test',
  ],
  [{ TRUST_PROXY: '127.0.0.1' }, '127.0.0.1', { host: 'a.test', 'x-forwarded-host': 'evil/path?' }, REFUSED],
  [{ TRUST_PROXY: '127.0.0.1' }, '127.0.0.1', { host: 'a.test', 'x-forwarded-proto': 'javascript' }, REFUSED],
]

t.test('links begin with PUBLIC_URL, or else with the origin of the request', async (t) => {
  for (const [env, remoteAddress, headers, origin] of origins) {
    const title = JSON.stringify({ ...env, from: remoteAddress, ...headers })
    const app = await build(t, embedded, { env })
    const inject = (method: 'GET' | 'POST', payload?: object) =>
      app.inject({
        method,
        url: '/api/products/',
        headers: { ...headers, ...authorization(app) },
        remoteAddress,
        ...(payload && { payload }),
      })
    const created = await inject('POST', { name: 'a', price: 1 })
    const list = await inject('GET')
    if (origin === REFUSED) {
      t.strictSame([created.statusCode, list.statusCode], [400, 400], title)
      continue
    }
    t.equal(created.headers.location, `${origin}/api/products/1/`, title)
    t.equal(list.headers.link, `<${origin}/api/products/>; rel="first", <${origin}/api/products/>; rel="last"`, title)
  }
})
