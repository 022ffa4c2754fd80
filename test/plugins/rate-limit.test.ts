// Rate limits as a client sees them: which requests count, for whom, and the headers of answers. The clock is simulated.
import { randomInt } from 'node:crypto'
import type { InjectOptions, LightMyRequestResponse } from 'fastify'
import t, { type Test } from 'tap'
import { issueKey } from '../../src/auth/keys.ts'
import { COMMAND_LINE } from '../../src/changelog/record.ts'
import { docsFiles } from '../../src/docs/files.ts'
import type { App } from '../../src/http/routes.ts'
import { identifyAddress } from '../../src/limits/address.ts'
import { DIALECTS, type Dialect } from '../dialects.ts'
import { build } from '../helper.ts'
import { REDIS, skip } from '../redis.ts'

const [sqlite] = DIALECTS as [Dialect]
const LIST = '/api/products/?page_size=1'

interface Service {
  app: App
  clock: { now: number }
  ask(options?: InjectOptions): Promise<LightMyRequestResponse>
}

async function serve(t: Test, env: Record<string, string> = {}): Promise<Service> {
  const clock = { now: 1_000 }
  const limits = { RATE_LIMIT_ANONYMOUS: '5', RATE_LIMIT_AUTHENTICATED: '8', RATE_LIMIT_WINDOW: '60' }
  const app = await build(t, sqlite, { env: { ...limits, ...env }, clock: () => clock.now })
  return { app, clock, ask: (options = {}) => app.inject({ url: LIST, ...options }) }
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
const createKey = async ({ db }: App, role = 'read') => (await issueKey(db, { name: role, role }, COMMAND_LINE)).token
const readLimits = ({ headers }: LightMyRequestResponse) => [headers['ratelimit-policy'], headers.ratelimit]
/** Returns how many of `most` requests are answered before the first refusal. */
async function countAnswered(ask: (number: number) => Promise<LightMyRequestResponse>, most = 20): Promise<number> {
  for (let number = 0; number < most; number++) if ((await ask(number)).statusCode === 429) return number
  return most
}

t.test('answers state the remaining quota and its reset time', async (t) => {
  const { clock, ask } = await serve(t)
  for (const remaining of [4, 3, 2, 1, 0]) {
    t.strictSame(readLimits(await ask()), ['"anonymous";q=5;w=60', `"anonymous";r=${remaining};t=${60 - (4 - remaining)}`])
    clock.now += 1_000
  }
  const refused = await ask()
  t.equal(refused.statusCode, 429)
  t.strictSame(readLimits(refused), ['"anonymous";q=5;w=60', '"anonymous";r=0;t=55'])
  t.equal(refused.headers['retry-after'], '55')
  t.equal(refused.headers['content-type'], 'application/problem+json; charset=utf-8')
  t.match(refused.json(), {
    type: 'https://iana.org/assignments/http-problem-types#quota-exceeded',
    status: 429,
    code: 'quota-exceeded',
    detail: /5 requests in 60 seconds.*in 55 seconds/,
    'violated-policies': ['anonymous'],
    instance: refused.headers['x-request-id'],
  })
  clock.now += 54_999
  t.equal((await ask()).statusCode, 429, 'a millisecond before')
  clock.now += 1
  t.equal((await ask()).statusCode, 200, 'sixty seconds after the first request')
  t.equal((await ask()).statusCode, 429, 'only one is admitted, since refused requests did not count but the others do')
  clock.now += 400
  t.equal((await ask()).headers['retry-after'], '1', 'fractions of a second are rounded up')
})

const counted: [what: string, options: InjectOptions, status: number][] = [
  ['a list', {}, 200],
  ['HEAD', { method: 'HEAD' }, 200],
  ['a record that is not there', { url: '/api/products/7/' }, 404],
  ['a URL that is not there', { url: '/nothing' }, 404],
  ['a method that does not apply', { method: 'PUT', url: '/api/products/' }, 405],
  ['OPTIONS', { method: 'OPTIONS' }, 204],
  ['faults', { url: '/api/products/?pirce=1' }, 400],
  ['an invalid Host', { headers: { host: 'a b' } }, 400],
  ['a request that needs a key', { method: 'POST', url: '/api/products/', payload: {} }, 401],
  ['the document', { url: '/openapi.json' }, 200],
  ['the documentation page', { url: '/docs/' }, 200],
  ['a file of the documentation page', { url: `/docs/static/${(await docsFiles()).style.name}` }, 200],
  ['a file that the documentation page does not have', { url: '/docs/static/nothing.css' }, 404],
]
for (const [what, options, status] of counted) {
  t.test(`the request counts and shows the limit: ${what}`, async (t) => {
    const { ask } = await serve(t)
    const answer = await ask(options)
    t.equal(answer.statusCode, status)
    t.strictSame(readLimits(answer), ['"anonymous";q=5;w=60', '"anonymous";r=4;t=60'])
    t.equal(await countAnswered(() => ask(options)), 4)
    t.equal((await ask()).statusCode, 429, 'all requests share one limit')
  })
}

t.test('health checks do not count', async (t) => {
  const { ask } = await serve(t)
  for (const url of ['/livez', '/readyz', '/livez/']) {
    t.equal(await countAnswered(() => ask({ url })), 20, url)
    t.strictSame(readLimits(await ask({ url })), [undefined, undefined])
  }
  t.equal(await countAnswered(() => ask()), 5)
})

t.test('0 switches a limit off', async (t) => {
  const { app, ask } = await serve(t, { RATE_LIMIT_ANONYMOUS: '0', RATE_LIMIT_AUTHENTICATED: '0' })
  const headers = bearer(await createKey(app))
  for (const options of [{}, { headers }]) {
    t.equal(await countAnswered(() => ask(options)), 20)
    t.strictSame(readLimits(await ask(options)), [undefined, undefined])
  }
})

t.test('a key has a separate limit, from any address', async (t) => {
  const { app, ask } = await serve(t)
  const [one, other] = [bearer(await createKey(app)), bearer(await createKey(app))]
  t.strictSame(readLimits(await ask({ headers: one })), ['"authenticated";q=8;w=60', '"authenticated";r=7;t=60'])
  t.equal(await countAnswered((number) => ask({ headers: one, remoteAddress: `192.0.2.${number}` })), 7)
  const refused = await ask({ method: 'POST', url: '/api/products/', payload: {}, headers: one })
  t.match(refused.json(), { code: 'quota-exceeded', 'violated-policies': ['authenticated'] })
  t.match(refused.json().detail, /^A key may send 8 requests in 60 seconds\. Try again in 60 seconds\.$/)
  t.equal((await ask({ headers: other })).statusCode, 200)
  t.equal(await countAnswered(() => ask()), 5, 'requests with a key do not count against those without')
  t.equal((await ask({ method: 'POST', url: '/api/products/', payload: {}, headers: other })).statusCode, 403)
  t.equal(await countAnswered(() => ask({ headers: other })), 6, 'forbidden requests count too')
})

const ten = Array.from({ length: 10 }, (_, number) => bearer(`stk_1_${String(number).repeat(48)}`))

t.test('after ten invalid keys of an address further ones are refused, and a valid key still passes', async (t) => {
  const { app, clock, ask } = await serve(t)
  const unseen = async () => ({ headers: bearer(await createKey(app)) })
  for (const [number, headers] of ten.entries()) {
    const answer = await ask({ headers })
    t.equal(answer.statusCode, 401)
    t.strictSame(readLimits(answer), ['"failed-authentication";q=10;w=60', `"failed-authentication";r=${9 - number};t=${60 - number}`])
    clock.now += 1_000
  }
  for (const authorization of [`Bearer stk_1_${'f'.repeat(48)}`, `Bearer stk_99_${'f'.repeat(48)}`, 'Basic YWRtaW46YWRtaW4=']) {
    const refused = await ask({ headers: { authorization } })
    t.match(refused.json(), { code: 'quota-exceeded', 'violated-policies': ['failed-authentication'] }, authorization)
    t.equal(
      refused.json().detail,
      'This address sent 10 invalid keys in 60 seconds, so further invalid keys are refused. A valid key still works. Try again in 50 seconds.',
    )
    t.equal(refused.headers['retry-after'], '50')
  }
  for (let tries = 0; tries < 5; tries++) t.equal((await ask(await unseen())).statusCode, 200, 'a key that this process has not seen')
  t.equal((await ask()).statusCode, 200, 'a request without a key')
  clock.now += 50_000
  t.equal((await ask({ headers: bearer(`stk_1_${'f'.repeat(48)}`) })).statusCode, 401, 'one more is tried a minute after the first')
  t.equal((await ask({ headers: bearer(`stk_1_${'e'.repeat(48)}`) })).statusCode, 429)
})

t.test('failed Basic authorization from an address does not lock out a valid key', async (t) => {
  const { app, ask } = await serve(t)
  const headers = bearer(await createKey(app))
  const basic = { authorization: 'Basic YWRtaW46YWRtaW4=' }
  t.equal(await countAnswered(() => ask({ headers: basic })), 10)
  t.equal((await ask({ headers })).statusCode, 200)
})

t.test('concurrent guesses are limited like successive ones', async (t) => {
  const { app, ask } = await serve(t)
  const right = bearer(await createKey(app))
  const answers = await Promise.all([...ten, ...ten, ...ten, right].map((headers) => ask({ headers })))
  t.equal(answers.filter(({ statusCode }) => statusCode === 401).length, 10)
  t.equal(answers.at(-1)?.statusCode, 200, 'the valid key among them passes')
})

t.test('a malformed token costs no query, and a well-formed one costs a single look-up', async (t) => {
  const { app, ask } = await serve(t)
  const { readRows: rows } = app.db
  let queries = 0
  app.db.readRows = (...query) => {
    queries++
    return rows.apply(app.db, query)
  }
  for (const authorization of ['Basic YWRtaW46YWRtaW4=', 'Bearer stk_1_short', 'Bearer', `Bearer stk_0_${'a'.repeat(48)}`])
    t.equal((await ask({ headers: { authorization } })).statusCode, 401)
  t.equal(queries, 0)
  for (const headers of ten) t.match((await ask({ headers })).statusCode, /401|429/)
  t.equal(queries, ten.length)
})

t.test('a revoked key does not count as a guess', async (t) => {
  const { app, ask } = await serve(t)
  const { record, token } = await issueKey(app.db, { name: 'A', role: 'read' }, COMMAND_LINE)
  const { revokeKey } = await import('../../src/auth/keys.ts')
  await revokeKey(app.db, record.id, COMMAND_LINE)
  t.equal(await countAnswered(() => ask({ headers: bearer(token) })), 5, 'it counts as a request without a key')
  t.equal((await ask({ headers: ten[0] as Record<string, string> })).statusCode, 401)
})

/** Headers that vary in each request of one client. */
const spoofs: [what: string, trust: string, headers: (number: number) => Record<string, string>][] = [
  ['X-Forwarded-For, where no proxy is trusted', '', (n) => ({ 'x-forwarded-for': `192.0.2.${n}` })],
  [
    'every header that names an address',
    '',
    (n) =>
      Object.fromEntries(
        ['forwarded', 'x-real-ip', 'client-ip', 'cf-connecting-ip', 'true-client-ip', 'x-client-ip'].map((name) => [name, `192.0.2.${n}`]),
      ),
  ],
  ['another address in front of the one that the proxy adds', '127.0.0.1', (n) => ({ 'x-forwarded-for': `192.0.2.${n}, 198.51.100.1` })],
  ['many in front', '127.0.0.1', (n) => ({ 'x-forwarded-for': `${`192.0.2.${n}, `.repeat(50)}198.51.100.1` })],
  ['in front, with two proxies', '127.0.0.1,10.0.0.2', (n) => ({ 'x-forwarded-for': `192.0.2.${n}, 198.51.100.1, 10.0.0.2` })],
  ['in front, with proxies by address', '127.0.0.0/8,10.0.0.0/8', (n) => ({ 'x-forwarded-for': `192.0.2.${n}, 198.51.100.1, 10.0.0.2` })],
  ['a malformed address', '127.0.0.1', (n) => ({ 'x-forwarded-for': `me-${n}` })],
  [
    'an address in another spelling',
    '127.0.0.1',
    (n) => ({
      'x-forwarded-for': [
        '198.51.100.1',
        '::ffff:198.51.100.1',
        '::FFFF:c633:6401',
        '198.51.100.1:4711',
        '[::ffff:198.51.100.1]:1',
        ' 198.51.100.1 ',
      ][n % 6] as string,
    }),
  ],
  ['addresses of one IPv6 network', '127.0.0.1', (n) => ({ 'x-forwarded-for': `2001:db8:1:2:${n}::${n}` })],
  ['networks of one IPv6 subscriber', '127.0.0.1', (n) => ({ 'x-forwarded-for': `2001:db8:1:3${n.toString(16).padStart(2, '0')}::1` })],
  ['an address that a client invents, where it connects directly', '10.0.0.0/8', (n) => ({ 'x-forwarded-for': `192.0.2.${n}` })],
  ['another proxy than the trusted one', '10.0.0.1', (n) => ({ 'x-forwarded-for': `192.0.2.${n}` })],
  ['a user agent, a cookie, a parameter', '', (n) => ({ 'user-agent': `${n}`, cookie: `id=${n}` })],
  ['an empty list', '127.0.0.1', () => ({ 'x-forwarded-for': '' })],
  ['only commas', '127.0.0.1', (n) => ({ 'x-forwarded-for': ','.repeat(n) })],
]
for (const [what, TRUST_PROXY, headers] of spoofs) {
  t.test(`no header turns one client into several: ${what}`, async (t) => {
    const { ask } = await serve(t, { TRUST_PROXY })
    t.equal(await countAnswered((number) => ask({ headers: headers(number) })), 5)
  })
}

t.test('clients behind trusted proxies have separate limits', async (t) => {
  for (const [TRUST_PROXY, chain] of [
    ['127.0.0.1', ''],
    ['127.0.0.1,10.0.0.2', ', 10.0.0.2'],
    ['127.0.0.0/8,10.0.0.0/8', ', 10.0.0.2'],
  ] as const) {
    const { ask } = await serve(t, { TRUST_PROXY })
    for (const client of ['198.51.100.1', '198.51.100.2', '2001:db8:1:100::1', '2001:db8:1:200::1'])
      t.equal(await countAnswered(() => ask({ headers: { 'x-forwarded-for': client + chain } })), 5, `${TRUST_PROXY}: ${client}`)
  }
})

t.test('an IPv4 address is limited by itself, and an IPv6 address by its network', async (t) => {
  for (const [ip, connection, expected] of [
    ['192.0.2.1', undefined, '192.0.2.1'],
    ['::ffff:192.0.2.1', undefined, '192.0.2.1'],
    ['2001:DB8:0:1ab:2:3:4:5', undefined, '2001:db8:0:100::/56'],
    ['2001:db8:0:1ff::1', undefined, '2001:db8:0:100::/56'],
    ['2001:db8:0:200::1', undefined, '2001:db8:0:200::/56'],
    ['2001:db8::1', undefined, '2001:db8:0:0::/56'],
    ['::1', undefined, '0:0:0:0::/56'],
    ['fe80::1%eth0', undefined, 'fe80:0:0:0::/56'],
    ['192.0.2.1:80', '10.0.0.1', '192.0.2.1'],
    ['[2001:db8::1]:80', '10.0.0.1', '2001:db8:0:0::/56'],
    ['0x7f.1', '10.0.0.1', '10.0.0.1'],
    ['unknown', '::ffff:10.0.0.1', '10.0.0.1'],
    ['', undefined, 'unknown'],
  ] as const)
    t.equal(identifyAddress(ip, connection), expected, ip)
})

t.test('processes that share a Redis share the limits', { skip }, async (t) => {
  const env = { REDIS_URL: REDIS, RATE_LIMIT_ANONYMOUS: '6' }
  const apps = [await build(t, sqlite, { env }), await build(t, sqlite, { env })] as const
  // A random address, since entries of other tests stay in Redis for a minute.
  const remoteAddress = `2001:db8:${randomInt(65_536).toString(16)}:${randomInt(65_536).toString(16)}::1`
  const statuses: number[] = []
  for (let number = 0; number < 8; number++) {
    const app = apps[number % 2] ?? apps[0]
    statuses.push((await app.inject({ url: LIST, remoteAddress } as InjectOptions)).statusCode)
  }
  t.strictSame(statuses, [200, 200, 200, 200, 200, 200, 429, 429])
  for (const app of apps) t.match((await app.inject('/readyz')).json(), { status: 'ok', redis: 'ok' })
})

t.test('without its Redis a process counts by itself and reports it', async (t) => {
  const lines: string[] = []
  const log = { write: (line: string) => void lines.push(line) }
  const env = { REDIS_URL: 'redis://user:hunter2@127.0.0.1:1', RATE_LIMIT_ANONYMOUS: '5', LOG_LEVEL: 'info' }
  const app = await build(t, sqlite, { env, log })
  t.equal(await countAnswered(() => app.inject(LIST)), 5)
  t.match(await app.inject('/readyz').then((answer) => [answer.statusCode, answer.json()]), [200, { status: 'ok', redis: 'away' }])
  t.match(lines.join(''), /Redis is unavailable/)
  t.notMatch(lines.join(''), /hunter2/)
})

t.test('a bulk request counts as one for every ten operations', async (t) => {
  const { app, clock, ask } = await serve(t)
  const headers = bearer(await createKey(app, 'write'))
  const bulk = (operations: number) =>
    ask({ url: '/api/products/bulk/', method: 'POST', headers, payload: { operations: Array(operations).fill({ op: 'delete', id: 1 }) } })
  const readRemaining = async (operations: number) => {
    const answer = await bulk(operations)
    return [answer.statusCode, answer.headers.ratelimit]
  }
  t.strictSame(await readRemaining(10), [404, '"authenticated";r=7;t=60'])
  t.strictSame(await readRemaining(11), [404, '"authenticated";r=5;t=60'])
  t.strictSame(await readRemaining(50), [404, '"authenticated";r=0;t=60'])
  clock.now += 60_000
  t.strictSame(await readRemaining(31), [404, '"authenticated";r=4;t=60'])
  const refused = await bulk(45)
  t.match([refused.statusCode, refused.json()], [429, { code: 'quota-exceeded', 'violated-policies': ['authenticated'] }])
  t.equal(refused.headers['retry-after'], '60')
  t.strictSame(await readRemaining(10), [404, '"authenticated";r=2;t=60'], 'of a refused bulk only the request itself counts')
  clock.now += 60_000
  t.strictSame(await readRemaining(1_000), [404, '"authenticated";r=0;t=60'], 'a bulk that costs more than the limit uses up all of it')
})
