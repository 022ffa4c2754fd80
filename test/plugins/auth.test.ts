// Access to every route by every kind of caller.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { sql } from 'drizzle-orm'
import type { InjectOptions } from 'fastify'
import t from 'tap'
import { issueKey, revokeKey } from '../../src/auth/keys.ts'
import { COMMAND_LINE } from '../../src/changelog/record.ts'
import type { App } from '../../src/http/routes.ts'
import type { Resource } from '../../src/query/resource.ts'
import { DIALECTS, type Dialect } from '../dialects.ts'
import { build, onEach } from '../helper.ts'

const CALLERS = ['anonymous', 'read', 'write', 'admin', 'expired', 'revoked', 'garbage'] as const
type Caller = (typeof CALLERS)[number]

/** Statuses with which each kind of caller is refused, by the rule of a route. */
const bad = { expired: 401, revoked: 401, garbage: 401 }
const refusals = {
  unchecked: {},
  anyone: bad,
  read: bad,
  'read, with REQUIRE_KEY_TO_READ': { ...bad, anonymous: 401 },
  key: { ...bad, anonymous: 401 },
  write: { ...bad, anonymous: 401, read: 403 },
  admin: { ...bad, anonymous: 401, read: 403, write: 403 },
} satisfies Record<string, Partial<Record<Caller, number>>>

type Rule = keyof typeof refusals
/** The rule of a route and the status of its answers to permitted callers; undefined if any status will do. */
type Row = [Rule, status: number | undefined, body?: object, query?: string]

/** Every route, with its rule. A route without a row fails the test. */
const expected: Record<string, Row> = {
  'GET /api/products': ['read', 200],
  'POST /api/products': ['write', 201, { name: 'Shirt', price: '1' }],
  'GET /api/products/:id': ['read', 200],
  'PUT /api/products/:id': ['write', 200, { name: 'Shirt', price: '2' }],
  'PATCH /api/products/:id': ['write', 200, {}],
  'DELETE /api/products/:id': ['write', 404],
  'GET /api/products/:id/cached_detail': ['read', 404],
  'POST /api/products/:id/stock': ['write', 404, { delta: 1, reason: 'came' }],
  'GET /api/products/:id/history': ['key', 200],
  'POST /api/products/:id/restore': ['write', 404, { version: 1 }],
  'POST /api/products/bulk': ['write', 200, { operations: [{ op: 'create', body: { name: 'Shirt', price: '1' } }] }],
  'GET /api/categories': ['read', 200],
  'POST /api/categories': ['write', 409, { name: 'Clothing' }],
  'GET /api/categories/:id': ['read', 200],
  'PUT /api/categories/:id': ['write', 200, { name: 'Clothing' }],
  'PATCH /api/categories/:id': ['write', 200, {}],
  'DELETE /api/categories/:id': ['write', 404],
  'GET /api/categories/:id/history': ['key', 200],
  'POST /api/categories/:id/restore': ['write', 404, { version: 1 }],
  'GET /api/changes': ['key', 200],
  // The position is of another log, because a successful stream would not end.
  'GET /api/changes/stream': ['key', 410, undefined, '?since=1-AAAAAAAA'],
  'GET /api/keys': ['admin', 200],
  'POST /api/keys': ['admin', 201, { name: 'Key', role: 'read' }],
  'GET /api/keys/:id': ['admin', 200],
  'PATCH /api/keys/:id': ['admin', 200, {}],
  'DELETE /api/keys/:id': ['admin', 404],
  'POST /api/keys/:id/rotate': ['admin', 404],
  'POST /api/products/:id/notify_update': ['write', 404, {}],
  'GET /api/jobs': ['admin', 200],
  'GET /api/jobs/:id': ['key', 404],
  'POST /api/jobs/:id/retry': ['admin', 404],
  'GET /api/webhooks': ['admin', 200],
  'POST /api/webhooks': ['admin', 400, { url: 'http://127.0.0.1/', events: ['*'] }],
  'GET /api/webhooks/:id': ['admin', 404],
  'PATCH /api/webhooks/:id': ['admin', 404, {}],
  'DELETE /api/webhooks/:id': ['admin', 404],
  'POST /api/webhooks/:id/rotate': ['admin', 404],
  'POST /api/webhooks/:id/test': ['admin', 404],
  'POST /api/webhooks/:id/replay': ['admin', 404, { since: '2026-01-31' }],
  'GET /api/deliveries': ['admin', 200],
  'GET /api/deliveries/:id': ['admin', 404],
  'POST /api/deliveries/:id/replay': ['admin', 404],
  'GET /': ['anyone', 302],
  'GET /api': ['anyone', 200],
  'GET /openapi.json': ['anyone', 200],
  'GET /livez': ['unchecked', 200],
  'GET /readyz': ['unchecked', 200],
  'GET /docs': ['anyone', 200],
}

/** Access rule of each resource operation, computed from the declaration. */
const declared: Record<string, (access: Resource['access']) => Rule> = {
  'GET ': ({ read }) => read,
  'POST ': ({ write }) => write,
  'POST /bulk': ({ write }) => write,
  'GET /:id': ({ read }) => read,
  'PUT /:id': ({ write }) => write,
  'PATCH /:id': ({ write }) => write,
  'DELETE /:id': ({ write }) => write,
  'GET /:id/history': ({ read }) => (read === 'read' || read === 'anyone' ? 'key' : read),
  'POST /:id/restore': ({ write }) => write,
}

/** Returns rows of operations without one above. Permitted callers may get any other answer. */
const derivedRows = (resources: readonly Resource[], routes: ReadonlySet<string>): Record<string, Row> =>
  Object.fromEntries(
    resources.flatMap(({ table, access }) =>
      Object.entries(declared).flatMap(([operation, rule]): [string, Row][] => {
        const route = operation.replace(' ', ` /api/${table}`)
        return routes.has(route) && !(route in expected) ? [[route, [rule(access), undefined]]] : []
      }),
    ),
  )

/** Collects the routes that `make` registers, except HEAD, which accompanies each GET, and files of the documentation page. */
async function collectRoutes(make: () => Promise<App>): Promise<{ app: App; routes: Set<string> }> {
  const routes = new Set<string>()
  const listen = (message: unknown) => {
    const { fastify } = message as { fastify: App }
    fastify.addHook('onRoute', ({ method, url }) => {
      for (const one of [method].flat()) if (one !== 'HEAD' && !/^\/docs\/./.test(url)) routes.add(`${one} ${url.replace(/(.)\/$/, '$1')}`)
    })
  }
  subscribe('fastify.initialization', listen)
  try {
    return { app: await make(), routes }
  } finally {
    unsubscribe('fastify.initialization', listen)
  }
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

/** Returns the headers of each kind of caller. */
async function createCallers({ db }: App): Promise<Record<Caller, Record<string, string>>> {
  const issue = (role: string) => issueKey(db, { name: role, role }, COMMAND_LINE)
  const [read, write, admin, expired, revoked] = [
    await issue('read'),
    await issue('write'),
    await issue('admin'),
    await issue('admin'),
    await issue('admin'),
  ]
  await db.write((tx) => tx.run(sql`update keys set expires_at = created_at where id = ${expired.record.id}`))
  await revokeKey(db, revoked.record.id, COMMAND_LINE)
  return {
    anonymous: {},
    read: bearer(read.token),
    write: bearer(write.token),
    admin: bearer(admin.token),
    expired: bearer(expired.token),
    revoked: bearer(revoked.token),
    garbage: bearer(`stk_${admin.record.id}_${'0'.repeat(48)}`),
  }
}

/** Each request comes from a new address, because failed keys are limited per address. */
let clients = 0
const ask = (app: App, options: InjectOptions) => app.inject({ remoteAddress: `10.0.${clients >> 8}.${clients++ & 255}`, ...options })

onEach('every route admits exactly the callers of its rule', async (t, dialect) => {
  for (const REQUIRE_KEY_TO_READ of ['false', 'true']) {
    const { app, routes } = await collectRoutes(() => build(t, dialect, { env: { REQUIRE_KEY_TO_READ } }))
    const rows = { ...expected, ...derivedRows(app.resources, routes) }
    t.strictSame([...routes].sort(), Object.keys(rows).sort(), 'each route has a row')
    const callers = await createCallers(app)
    for (const [url, payload] of [
      ['/api/products/', { name: 'Shirt', price: '1' }],
      ['/api/categories/', { name: 'Clothing' }],
    ] as const)
      t.equal((await ask(app, { method: 'POST', url, payload, headers: callers.admin })).statusCode, 201)
    for (const [route, [rule, status, payload, query = '']] of Object.entries(rows)) {
      const [method, path = ''] = route.split(' ')
      const refused: Partial<Record<Caller, number>> =
        refusals[rule === 'read' && REQUIRE_KEY_TO_READ === 'true' ? 'read, with REQUIRE_KEY_TO_READ' : rule]
      for (const caller of CALLERS) {
        // A deleted record would be missing for the next caller.
        for (const url of (path === '/' ? [path] : [path, `${path}/`]).map((url) => url.replace(':id', status === 404 ? '99999' : '1'))) {
          if (url === '/docs') continue
          const answer = await ask(app, {
            method,
            url: url + query,
            headers: callers[caller],
            ...(payload && { payload }),
          } as InjectOptions)
          const title = `${caller}: ${method} ${url}`
          if (refused[caller] ?? status) t.equal(answer.statusCode, refused[caller] ?? status, title)
          else t.notOk([401, 403].includes(answer.statusCode), title)
          if (!refused[caller]) continue
          const { code, detail } = answer.json()
          t.equal(answer.headers['content-type'], 'application/problem+json; charset=utf-8', title)
          if (answer.statusCode === 403) t.equal(code, 'forbidden', title)
          else {
            t.equal(code, caller === 'anonymous' ? 'key-required' : 'key-refused', title)
            t.match(answer.headers['www-authenticate'], /^Bearer realm="Stockroom"/, title)
            t.match(detail, /stockroom keys create/, 'the detail says how to get a key')
          }
        }
      }
    }
    await app.close()
  }
})

onEach('a refused caller learns nothing about records and changes nothing', async (t, dialect) => {
  const app = await build(t, dialect)
  const callers = await createCallers(app)
  const list = async () => (await ask(app, { url: '/api/products/', headers: callers.admin })).json().count
  for (const caller of ['anonymous', 'read', 'expired', 'revoked', 'garbage'] as const) {
    for (const payload of ['{"name": "Shirt", "price": 1}', 'no JSON', '{}', `{"name": "${'x'.repeat(2_000_000)}"}`]) {
      const headers = { ...callers[caller], 'content-type': 'application/json' }
      const { statusCode } = await ask(app, { method: 'POST', url: '/api/products/', payload, headers })
      t.equal(statusCode, caller === 'read' ? 403 : 401, `${caller}: the body is not read`)
    }
  }
  t.equal(await list(), 0)
  for (const url of ['/api/nothing/', '/api/products/x/y/'])
    t.equal((await ask(app, { url })).statusCode, 404, 'missing URLs are no secret')
  const { statusCode, headers } = await ask(app, { method: 'PUT', url: '/api/products/' })
  t.match({ statusCode, headers }, { statusCode: 405, headers: { allow: 'GET, HEAD, POST, OPTIONS' } }, 'the methods are no secret')
})

const malformed: [what: string, authorization: string][] = [
  ['another scheme', 'Basic YWRtaW46YWRtaW4='],
  ['no scheme', 'stk_1_0'],
  ['no token', 'Bearer'],
  ['an empty token', 'Bearer '],
  ['two tokens', 'Bearer a b'],
  ['nothing', ''],
  ['a comma', 'Bearer a, Bearer b'],
  ['an id with a leading zero', `Bearer stk_01_${'a'.repeat(48)}`],
  ['an id beyond all', `Bearer stk_9999999999999999_${'a'.repeat(48)}`],
  ['a long one', `Bearer stk_1_${'a'.repeat(10_000)}`],
  ['an SQL injection', "Bearer stk_1_' or 1=1 --"],
]

onEach('a malformed Authorization header is refused', async (t, dialect) => {
  const app = await build(t, dialect)
  for (const [what, authorization] of malformed) {
    const { statusCode, headers } = await ask(app, { url: '/api/products/', headers: { authorization } })
    t.equal(statusCode, 401, what)
    t.match(headers['www-authenticate'], /error="invalid_token"/, what)
  }
  const { authorization = '' } = (await createCallers(app)).write
  for (const [what, good] of [
    ['the scheme in any case', authorization.replace('Bearer', 'bEARER')],
    ['more spaces', authorization.replace(' ', '   ')],
  ])
    t.equal((await ask(app, { url: '/api/products/', headers: { authorization: String(good) } })).statusCode, 200, String(what))
})

t.test('a second Authorization header is refused, even if both are the same', async (t) => {
  const app = await build(t, DIALECTS[0] as Dialect)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { authorization = '' } = (await createCallers(app)).read
  for (const second of [authorization, 'Basic YWRtaW46YWRtaW4=', ''])
    for (const url of ['/api/products/', '/nothing']) {
      const { statusCode, code } = await new Promise<{ statusCode: number; code: string }>((resolve, reject) => {
        const { port } = app.server.address() as AddressInfo
        const headers = ['Host', 'stockroom.test', 'Authorization', authorization, 'authorization', second]
        request({ host: '127.0.0.1', port, path: url, headers, agent: false }, (answer) => {
          json(answer).then((body) => resolve({ statusCode: answer.statusCode ?? 0, code: (body as { code: string }).code }), reject)
        })
          .on('error', reject)
          .end()
      })
      t.match({ statusCode, code }, { statusCode: 400, code: 'malformed-request' }, `${url} with a second "${second.slice(0, 5)}"`)
    }
})

onEach('each role includes the lesser ones, and a changed role takes effect at once', async (t, dialect) => {
  const app = await build(t, dialect)
  const { admin } = await createCallers(app)
  const { record, token } = await issueKey(app.db, { name: 'Changing', role: 'read' }, COMMAND_LINE)
  const write = async () =>
    (await ask(app, { method: 'POST', url: '/api/products/', payload: { name: 'Shirt', price: '1' }, headers: bearer(token) })).statusCode
  const change = async (payload: object) =>
    t.equal((await ask(app, { method: 'PATCH', url: `/api/keys/${record.id}/`, payload, headers: admin })).statusCode, 200)
  t.equal(await write(), 403)
  await change({ role: 'write' })
  t.equal(await write(), 201)
  await change({ role: 'read' })
  t.equal(await write(), 403)
})

onEach('HEAD needs the role of GET', async (t, dialect) => {
  const app = await build(t, dialect, { env: { REQUIRE_KEY_TO_READ: 'true' } })
  const callers = await createCallers(app)
  for (const [url, allowed] of [
    ['/api/keys/', ['admin']],
    ['/api/keys/1/', ['admin']],
    ['/api/products/', ['read', 'write', 'admin']],
  ] as const) {
    for (const caller of CALLERS) {
      const { statusCode } = await ask(app, { method: 'HEAD', url, headers: callers[caller] })
      t.equal(
        statusCode === 200,
        allowed.some((one) => one === caller),
        `${caller}: ${url} is answered with ${statusCode}`,
      )
    }
  }
})

t.test('a route without an access rule is refused at start', async (t) => {
  for (const [title, options] of [
    ['a route without options', ''],
    ['a route that only hides from the document', '{ schema: { hide: true } }, '],
  ]) {
    const routes = t.testdir({ open: { 'index.js': `export default async (app) => { app.get('/', ${options}async () => 'open') }` } })
    await t.rejects(build(t, DIALECTS[0] as Dialect, { routes }), /GET \/open\/? has no config\.access/, String(title))
  }
})
