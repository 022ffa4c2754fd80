// Everything that goes wrong is problem+json, over a real socket: what Fastify and Node answer by themselves too.
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { errors } from '../../src/errors.ts'
import { DIALECTS } from '../dialects.ts'
import { build, get } from '../helper.ts'

interface RawAnswer {
  status: number
  headers: Map<string, string>
  body: string
}

/** Sends bytes and reads until the server ends the connection, or the answer is whole. */
async function send(port: number, request: string | Buffer): Promise<RawAnswer> {
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  const bytes: Buffer[] = []
  socket.on('data', (chunk: Buffer) => bytes.push(chunk))
  // A server that answers before it has read everything may end the connection while we write.
  socket.on('error', () => {})
  socket.end(request)
  await once(socket, 'close')
  const [head = '', ...body] = Buffer.concat(bytes).toString().split('\r\n\r\n')
  const [first = '', ...lines] = head.split('\r\n')
  const headers = lines.map((line): [string, string] => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)])
  return { status: Number(first.split(' ')[1]), headers: new Map(headers), body: body.join('\r\n\r\n') }
}

/** The text of a request, with its last header and the length of its body. */
function request(line: string, body = '', headers: Record<string, string> = {}): string {
  const all: Record<string, string> = {
    Host: 'localhost',
    Connection: 'close',
    ...(body && { 'Content-Length': String(Buffer.byteLength(body)) }),
    ...headers,
  }
  return `${line} HTTP/1.1\r\n${Object.entries(all)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')}\r\n${body}`
}

const JSON_TYPE = { 'Content-Type': 'application/json' }
const post = (body: string, headers: Record<string, string> = JSON_TYPE) => request('POST /api/products/', body, headers)
const bytes = (head: string, ...body: number[]) =>
  Buffer.concat([Buffer.from(request(head, '', { ...JSON_TYPE, 'Content-Length': String(body.length) })), Buffer.from(body)])

type Code = keyof typeof errors

const LARGE = 'x'.repeat(20_000)

/** What is sent, the code that comes back, and headers beside it. */
const rows: [what: string, request: string | Buffer, Code, headers?: Record<string, string>][] = [
  ['an unknown URL', request('GET /nothing'), 'not-found'],
  ['an unknown URL with a body that cannot be read', request('POST /nothing', '{', { 'Content-Type': 'text/csv' }), 'not-found'],
  ['an unknown URL with a body that is too large', request('POST /nothing', LARGE, JSON_TYPE), 'not-found'],
  ['an id that is no number', request('GET /api/products/abc/'), 'not-found'],
  ['an id with a zero before it', request('GET /api/products/01/'), 'not-found'],
  ['an id of many digits', request(`GET /api/products/${'9'.repeat(23)}/`), 'not-found'],
  ['an id longer than the router takes', request(`GET /api/products/${'9'.repeat(500)}/`), 'not-found'],
  ['PUT on a list', request('PUT /api/products/', '{}', JSON_TYPE), 'method-not-allowed', { allow: 'GET, HEAD, POST, OPTIONS' }],
  [
    'POST on a record',
    request('POST /api/products/1/', '{}', JSON_TYPE),
    'method-not-allowed',
    { allow: 'GET, HEAD, PUT, PATCH, DELETE, OPTIONS' },
  ],
  ['DELETE on livez', request('DELETE /livez'), 'method-not-allowed', { allow: 'GET, HEAD, OPTIONS' }],
  ['a method of WebDAV', request('PROPFIND /api/products/'), 'method-not-allowed', { allow: 'GET, HEAD, POST, OPTIONS' }],
  ['a method that there is none of', request('FOO /api/products/'), 'malformed-request'],
  ['a path with a broken escape', request('GET /api/%zz'), 'malformed-request'],
  ['a path that is not UTF-8', request('GET /api/products/%ff/'), 'malformed-request'],
  ['a query with a broken escape', request('GET /api/products/?search=%zz'), 'invalid-request'],
  ['a query that is not UTF-8', request('GET /api/products/?search=%ff'), 'invalid-request'],
  ['a URL with a character that is not encoded', request('GET /api/products/?search=麥包'), 'malformed-request'],
  ['a NUL in a query', request('GET /api/products/?name=%00'), 'invalid-request'],
  ['something other than HTTP', 'hello\r\n\r\n', 'malformed-request'],
  ['no Host header', 'GET /api/products/ HTTP/1.1\r\nConnection: close\r\n\r\n', 'malformed-request'],
  ['a Host with a path', request('GET /api/products/', '', { Host: 'a/b' }), 'malformed-request'],
  ['a Host with a quote', request('GET /api/products/', '', { Host: 'a"b' }), 'malformed-request'],
  ['a Host with a space', request('GET /api/products/', '', { Host: 'a b' }), 'malformed-request'],
  ['an expectation that is none', request('GET /api/products/', '', { Expect: 'nonsense' }), 'expectation-failed'],
  ['headers that are too large', request('GET /api/products/', '', { 'X-Large': LARGE }), 'headers-too-large'],
  ['a URL that is too long', request(`GET /api/products/?name=${LARGE}`), 'headers-too-large'],
  ['a body that is not JSON', post('{x'), 'malformed-json'],
  ['a body of half a value', post('{"name":'), 'malformed-json'],
  ['NaN', post('{"price": NaN}'), 'malformed-json'],
  ['a body that is not UTF-8', bytes('POST /api/products/', 0x22, 0xff, 0x22), 'malformed-json'],
  ['no body', request('POST /api/products/'), 'invalid-request'],
  ['null', post('null'), 'invalid-request'],
  ['a list', post('[]'), 'invalid-request'],
  ['deep nesting', post(`${'['.repeat(4_000)}${']'.repeat(4_000)}`), 'invalid-request'],
  ['a member called __proto__', post('{"__proto__": {"name": "x"}, "name": "x", "price": 1}'), 'invalid-request'],
  ['half of a surrogate pair', post('{"name": "\\ud800", "price": 1}'), 'invalid-request'],
  ['a NUL in a text', post('{"name": "a\\u0000", "price": 1}'), 'invalid-request'],
  ['a body that is too large', post(JSON.stringify({ name: LARGE })), 'body-too-large'],
  [
    'a body of chunks that is too large',
    `${request('POST /api/products/', '', { ...JSON_TYPE, 'Transfer-Encoding': 'chunked' })}4e20\r\n${LARGE}\r\n0\r\n\r\n`,
    'body-too-large',
  ],
  ['a body of another type', post('name=x', { 'Content-Type': 'application/x-www-form-urlencoded' }), 'unsupported-media-type'],
  ['a merge patch to create', post('{}', { 'Content-Type': 'application/merge-patch+json' }), 'unsupported-media-type'],
  [
    'a patch of another type',
    request('PATCH /api/products/1/', 'x', { 'Content-Type': 'text/plain' }),
    'unsupported-media-type',
    { 'accept-patch': 'application/json, application/merge-patch+json' },
  ],
]

async function listening(t: Test, env: Record<string, string> = {}) {
  const [sqlite] = DIALECTS
  if (!sqlite) throw new Error('no database to serve from')
  const app = await build(t, sqlite, { env: { BODY_LIMIT: '10000', ...env } })
  return { app, port: Number(new URL(await app.listen({ port: 0 })).port) }
}

t.test('every failure is a problem', async (t) => {
  const { port } = await listening(t)
  for (const [what, bytes, code, headers = {}] of rows) {
    const answer = await send(port, bytes)
    t.equal(answer.status, errors[code].status, what)
    t.match(answer.headers.get('content-type'), 'application/problem+json', what)
    const problem = JSON.parse(answer.body)
    t.match(
      problem,
      { code, status: answer.status, title: errors[code].title, type: `urn:stockroom:problem:${code}`, detail: /^[A-Z].+\.$/ },
      what,
    )
    t.equal(problem.instance, answer.headers.get('x-request-id'), `${what}: the id of the request`)
    t.notMatch(answer.body, /node_modules|\.ts|select|FST_/, `${what}: nothing of the inside`)
    for (const [name, value] of Object.entries(headers)) t.equal(answer.headers.get(name), value, `${what}: ${name}`)
  }
})

t.test('what is unusual and right is answered', async (t) => {
  const { port } = await listening(t)
  const right: [string, string | Buffer, number][] = [
    ['HTTP/1.0 without a Host', 'GET /api/products/ HTTP/1.0\r\n\r\n', 200],
    ['a body with a byte order mark', post('\ufeff{"name": "x", "price": 1}'), 201],
    ['a charset beside the type', post('{"name": "x", "price": 1}', { 'Content-Type': 'application/json; charset=utf-8' }), 201],
    ['an expectation of 100-continue', post('{"name": "x", "price": 1}', { ...JSON_TYPE, Expect: '100-continue' }), 100],
    ['DELETE with a type and no body', request('DELETE /api/products/1/', '', { ...JSON_TYPE, 'Content-Length': '0' }), 204],
    ['a Host with a port', request('GET /api/products/', '', { Host: '[::1]:80' }), 200],
    ['HEAD', request('HEAD /api/products/'), 200],
  ]
  for (const [what, bytes, status] of right) t.equal((await send(port, bytes)).status, status, what)
})

t.test('OPTIONS names the methods of a URL', async (t) => {
  const { port } = await listening(t)
  const rows: [string, string][] = [
    ['/api/products/', 'GET, HEAD, POST, OPTIONS'],
    ['/api/products', 'GET, HEAD, POST, OPTIONS'],
    ['/api/categories/7/', 'GET, HEAD, PUT, PATCH, DELETE, OPTIONS'],
    ['/readyz', 'GET, HEAD, OPTIONS'],
  ]
  for (const [url, allow] of rows) {
    const answer = await send(port, request(`OPTIONS ${url}`))
    t.match({ status: answer.status, allow: answer.headers.get('allow') }, { status: 204, allow }, url)
  }
})

t.test('links begin with PUBLIC_URL, or where the client found the service', async (t) => {
  const first = (answer: RawAnswer) => answer.headers.get('link')?.split('>')[0]?.slice(1)
  const forwarded = { 'X-Forwarded-Host': 'shop.example', 'X-Forwarded-Proto': 'https', 'X-Forwarded-For': '192.0.2.1' }
  const ask = async (env: Record<string, string>) =>
    first(await send((await listening(t, env)).port, request('GET /api/products', '', forwarded)))
  t.equal(await ask({}), 'http://localhost/api/products/', 'a header that anyone can send is not believed')
  t.equal(await ask({ TRUST_PROXY: '1' }), 'https://shop.example/api/products/')
  t.equal(await ask({ TRUST_PROXY: '127.0.0.0/8' }), 'https://shop.example/api/products/')
  t.equal(await ask({ TRUST_PROXY: '10.0.0.0/8' }), 'http://localhost/api/products/')
  t.equal(await ask({ PUBLIC_URL: 'https://api.example.com' }), 'https://api.example.com/api/products/')
})

t.test('a fault of ours is a 500 that says nothing of it', async (t) => {
  const [sqlite] = DIALECTS
  if (!sqlite) throw new Error('no database to serve from')
  const routes = await mkdtemp(join(fileURLToPath(new URL('..', import.meta.url)), 'routes-'))
  t.teardown(() => rm(routes, { recursive: true }))
  await writeFile(join(routes, 'index.js'), `export default async (app) => app.get('/fault', () => { throw new Error('the secret') })`)
  const app = await build(t, sqlite, { routes })
  const answer = await get(app, '/fault')
  t.match(answer, { status: 500, body: { code: 'internal-error' } })
  t.notMatch(JSON.stringify(answer), /secret/)
})
