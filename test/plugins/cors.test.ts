// Cross-origin requests: which origins are allowed, which headers and errors they can read.
import type { InjectOptions } from 'fastify'
import t, { type Test } from 'tap'
import type { App } from '../../src/http/routes.ts'
import { DIALECTS, type Dialect } from '../dialects.ts'
import { authorization, build } from '../helper.ts'

const [embedded] = DIALECTS as [Dialect]

const SHOP = 'https://shop.example.com'
const ADMIN = 'http://localhost:5173'
const OTHER = 'https://other.example.com'
const NAMED = `${SHOP}, ${ADMIN}`

const READABLE = [
  'Accept-Patch',
  'Age',
  'Allow',
  'Cache-Status',
  'ETag',
  'Idempotency-Replayed',
  'Link',
  'Location',
  'Preference-Applied',
  'RateLimit',
  'RateLimit-Policy',
  'Retry-After',
  'WWW-Authenticate',
  'X-Request-Id',
]

interface Answer {
  status: number
  vary: string[]
  allow: unknown
  /** Headers about origins. */
  cors: Record<string, unknown>
}

async function ask(app: App, options: InjectOptions, origin?: string): Promise<Answer> {
  const { statusCode, headers } = await app.inject({ ...options, headers: { ...options.headers, ...(origin && { origin }) } })
  return {
    status: statusCode,
    vary: String(headers.vary ?? '').split(', '),
    allow: headers.allow,
    cors: Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith('access-control-'))),
  }
}

/** For each CORS_ORIGINS, origins of pages with the origin that the answer allows. */
const pages: Record<string, [origin: string | undefined, allowed: string | undefined][]> = {
  [NAMED]: [
    [SHOP, SHOP],
    [ADMIN, ADMIN],
    [OTHER, undefined],
    [undefined, undefined],
    ['null', undefined],
    [`${SHOP}.evil.test`, undefined],
    [SHOP.replace('https', 'http'), undefined],
  ],
  '*': [
    [OTHER, '*'],
    [undefined, '*'],
  ],
}

t.test('only a page of a configured origin may read answers', async (t) => {
  for (const [CORS_ORIGINS, rows] of Object.entries(pages)) {
    const app = await build(t, embedded, { env: { CORS_ORIGINS } })
    for (const [origin, allowed] of rows) {
      const { status, vary, cors } = await ask(app, { url: '/api/products/' }, origin)
      const title = `${CORS_ORIGINS}: ${origin}`
      t.equal(status, 200, title)
      t.equal(cors['access-control-allow-origin'], allowed, title)
      t.equal(cors['access-control-allow-credentials'], undefined, `${title}: no cookies`)
      t.strictSame(String(cors['access-control-expose-headers']).split(', '), READABLE, `${title}: readable headers`)
      t.strictSame(vary, CORS_ORIGINS === '*' ? ['Prefer', 'Accept-Encoding'] : ['Origin', 'Prefer', 'Accept-Encoding'], `${title}: Vary`)
    }
  }
})

const preflight = (method: string, headers?: string): InjectOptions['headers'] => ({
  'access-control-request-method': method,
  ...(headers && { 'access-control-request-headers': headers }),
})

t.test('a preflight of any URL is answered at once and not counted', async (t) => {
  const app = await build(t, embedded, { env: { CORS_ORIGINS: NAMED, RATE_LIMIT_ANONYMOUS: '1', REQUIRE_KEY_TO_READ: 'true' } })
  for (const url of ['/api/products/', '/api/products/1', '/api/nothing/', '/livez', '/docs/', '/']) {
    const headers = preflight('PATCH', 'authorization,content-type,if-match')
    const { status, cors } = await ask(app, { method: 'OPTIONS', url, headers }, SHOP)
    t.equal(status, 204, url)
    t.match(cors, {
      'access-control-allow-origin': SHOP,
      'access-control-allow-methods': 'GET, HEAD, POST, PUT, PATCH, DELETE',
      'access-control-allow-headers': 'authorization,content-type,if-match',
      'access-control-max-age': '600',
    })
    const other = await ask(app, { method: 'OPTIONS', url, headers }, OTHER)
    t.equal(other.cors['access-control-allow-origin'], undefined, `${url}: another origin is not allowed`)
  }
})

const options: [url: string, status: number, allow?: string][] = [
  ['/api/products/', 204, 'GET, HEAD, POST, OPTIONS'],
  ['/api/products', 204, 'GET, HEAD, POST, OPTIONS'],
  ['/api/products/1/', 204, 'GET, HEAD, PUT, PATCH, DELETE, OPTIONS'],
  ['/livez', 204, 'GET, HEAD, OPTIONS'],
  ['/api/nothing/', 404],
  ['/api/products//', 404],
  ['/', 204, 'GET, HEAD, OPTIONS'],
  ['/nothing', 404],
  ['*', 404],
  ['/%zz', 400],
]

t.test('other OPTIONS requests name the methods, with and without CORS', async (t) => {
  for (const CORS_ORIGINS of ['', NAMED, '*']) {
    const app = await build(t, embedded, { env: { CORS_ORIGINS } })
    for (const [url, expected, methods] of options) {
      for (const origin of [undefined, SHOP]) {
        const { status, allow } = await ask(app, { method: 'OPTIONS', url }, origin)
        t.strictSame([status, allow], [expected, methods], `CORS_ORIGINS=${CORS_ORIGINS}: ${url} from ${origin}`)
      }
    }
  }
})

const body = { payload: '{', headers: { 'content-type': 'application/json' } }

/** Refused requests, by the status of their answer. */
const refused: Record<number, (app: App) => InjectOptions | Promise<InjectOptions>> = {
  400: () => ({ url: '/api/products/?nmae=x' }),
  401: () => ({ url: '/api/products/', method: 'POST', ...body }),
  404: () => ({ url: '/api/nothing/' }),
  405: () => ({ url: '/api/products/', method: 'PUT' }),
  413: (app) => ({
    url: '/api/products/',
    method: 'POST',
    payload: 'x'.repeat(2_000),
    headers: { ...authorization(app), 'content-type': 'application/json' },
  }),
  429: () => ({ url: '/api/products/' }),
  503: async (app) => {
    await app.db.close()
    return { url: '/readyz' }
  },
}

t.test('pages of allowed origins can read errors', async (t) => {
  const app = await build(t, embedded, { env: { CORS_ORIGINS: SHOP, BODY_LIMIT: '1024', RATE_LIMIT_ANONYMOUS: '4' } })
  for (const [status, request] of Object.entries(refused)) {
    const answer = await ask(app, await request(app), SHOP)
    t.equal(answer.status, Number(status), status)
    t.equal(answer.cors['access-control-allow-origin'], SHOP, status)
    t.ok(answer.vary.includes('Origin'), `${status}: Vary`)
  }
})

t.test('without CORS_ORIGINS answers have no CORS headers', async (t) => {
  const app = await build(t, embedded, { env: { RATE_LIMIT_ANONYMOUS: '8' } })
  await closed(t, app, { url: '/api/products/' })
  await closed(t, app, { url: '/api/nothing/' })
  await closed(t, app, { url: '/api/products/', method: 'POST', ...body })
  await closed(t, app, { url: '/docs/' })
  await closed(t, app, { method: 'OPTIONS', url: '/api/products/' })
  await closed(t, app, { method: 'OPTIONS', url: '/api/products/', headers: preflight('PATCH', 'authorization') })
})

async function closed(t: Test, app: App, request: InjectOptions): Promise<void> {
  const { cors, vary } = await ask(app, request, SHOP)
  t.strictSame([cors, vary.includes('Origin')], [{}, false], `${request.method ?? 'GET'} ${request.url}`)
}
