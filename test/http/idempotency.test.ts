// Repeated POSTs with an idempotency key get the same answer and have no second effect.
import t, { type Test } from 'tap'
import { issueKey } from '../../src/auth/keys.ts'
import { COMMAND_LINE } from '../../src/changelog/record.ts'
import { pruneResponses, RESPONSE_RETENTION, readIdempotencyKey } from '../../src/http/idempotency.ts'
import type { App } from '../../src/http/routes.ts'
import { connect, DIALECTS, type Dialect } from '../dialects.ts'
import { type Answer, ask, build, get, onEach } from '../helper.ts'

const [embedded, postgres] = DIALECTS as [Dialect, Dialect]
const LIST = '/api/products/'
const shirt = { name: 'Shirt', price: '29.90', sku: 'A' }

/** Maximum number of characters that the stored answer of the largest bulk takes. */
const MAX_STORED = 32_768

const post = (app: App, url: string, body: object | undefined, key: string, headers: Record<string, string> = {}) =>
  ask(app, 'POST', url, body, { 'idempotency-key': key, ...headers })

const isReplayed = ({ headers }: Answer) => headers['idempotency-replayed'] === 'true'

/** Every POST operation, with a URL whose answer shows how often it was done. Product 1 has a stock of 10. */
const posts: Record<string, [url: string, body: object | undefined, status: number, state: string]> = {
  create: [LIST, { name: 'Hat', price: 5 }, 201, `${LIST}?name=Hat`],
  category: ['/api/categories/', { name: 'Hats' }, 201, '/api/categories/'],
  stock: [`${LIST}1/stock/`, { delta: -3, reason: 'sold' }, 200, `${LIST}1/`],
  bulk: [`${LIST}bulk/`, { operations: [{ op: 'create', body: { name: 'Cap', price: 1 } }] }, 200, `${LIST}?name=Cap`],
  'bulk, in part': [
    `${LIST}bulk/`,
    {
      atomic: false,
      operations: [
        { op: 'create', body: { name: 'Cap', price: 1 } },
        { op: 'delete', id: 99 },
      ],
    },
    207,
    `${LIST}?name=Cap`,
  ],
  key: ['/api/keys/', { name: 'Shop', role: 'read' }, 201, '/api/keys/?name=Shop'],
  rotate: ['/api/keys/1/rotate/', undefined, 200, '/api/keys/1/'],
}

onEach('a POST repeated with its idempotency key is done once', async (t, dialect) => {
  for (const [name, [url, body, status, state]] of Object.entries(posts)) {
    const app = await build(t, dialect)
    await ask(app, 'POST', LIST, { ...shirt, stock: 10 })
    // The first API key sends all other requests, and may not be rotated.
    const { token } = await issueKey(app.db, { name: 'Second', role: 'admin' }, COMMAND_LINE)
    const by = { authorization: `Bearer ${token}` }
    const first = await post(app, url, body, '"k-1"', by)
    t.equal(first.status, status, name)
    t.notOk(isReplayed(first), name)
    const after = (await ask(app, 'GET', state, undefined, by)).body
    for (const key of ['"k-1"', 'k-1']) {
      const again = await post(app, url, body, key, by)
      t.ok(isReplayed(again), name)
      t.equal(again.status, status, name)
      if (url.startsWith('/api/keys/')) {
        t.strictSame(again.body, { ...first.body, key: null, withheld: ['key'] }, `${name}: the secret is withheld, and the answer says so`)
        t.match(first.body.key, /^stk_/, name)
      } else t.strictSame(again.body, first.body, name)
      for (const header of ['location', 'etag', 'last-modified', 'cache-control', 'content-type'])
        t.equal(again.headers[header], first.headers[header], `${name} ${header}`)
      t.strictSame((await ask(app, 'GET', state, undefined, by)).body, after, `${name}: nothing changed`)
    }
    const stored = await app.db.read.select().from(app.db.tables.idempotency_keys)
    t.equal(stored.length, 1, name)
    if (first.body.key) t.notMatch(JSON.stringify(stored), first.body.key.split('_')[2], `${name}: no secret is stored`)

    const other = await post(
      app,
      url,
      { ...body, [url.includes('bulk') ? 'atomic' : 'name']: url.includes('bulk') ? true : 'Other' },
      '"k-1"',
      by,
    )
    if (other.status !== 400) t.match(other, { status: 422, body: { code: 'idempotency-key-reused' } }, `${name}: another body`)
    t.strictSame((await ask(app, 'GET', state, undefined, by)).body, after)
  }
})

onEach('a bulk whose operations all fail stores little and is replayed in full', async (t, dialect) => {
  const app = await build(t, dialect)
  const operations = Array.from({ length: 1_000 }, (_, n) => ({ op: 'update', id: 1_000 + n, body: { stock: n } }))
  const first = await post(app, `${LIST}bulk/`, { atomic: false, operations }, '"k"')
  t.match([first.status, first.body.failed], [207, 1_000])
  const [{ body } = { body: '' }] = await app.db.read.select().from(app.db.tables.idempotency_keys)
  t.ok(body.length < MAX_STORED, 'few characters are stored', { stored: body.length, sent: JSON.stringify(first.body).length })
  const again = await post(app, `${LIST}bulk/`, { atomic: false, operations }, '"k"')
  t.ok(isReplayed(again))
  t.strictSame([again.status, again.body], [207, first.body])
})

onEach('an idempotency key belongs to its caller and URL for a day', async (t, dialect) => {
  const app = await build(t, dialect)
  const { token } = await issueKey(app.db, { name: 'Other', role: 'write' }, COMMAND_LINE)
  const first = await post(app, LIST, { name: 'a', price: 1 }, '"k"')
  const others = await post(app, LIST, { name: 'a', price: 1 }, '"k"', { authorization: `Bearer ${token}` })
  t.notOk(isReplayed(others), 'another caller has its own keys')
  t.not(others.body.id, first.body.id)
  t.equal((await post(app, '/api/categories/', { name: 'a' }, '"k"')).status, 422, 'another URL')
  t.equal(
    (await post(app, LIST.slice(0, -1), { name: 'a', price: 1 }, '"k"')).body.id,
    first.body.id,
    'the URL without the last slash is the same',
  )
  t.equal((await post(app, LIST, { name: 'a', price: 2 }, '"K"')).status, 201, 'case counts')

  const query = await connect(t, app.config.DATABASE_URL)
  const day = dialect === postgres ? `at - interval '${RESPONSE_RETENTION} milliseconds'` : `at - ${RESPONSE_RETENTION}`
  await query(`update idempotency_keys set at = ${day}`)
  const later = await post(app, LIST, { name: 'a', price: 1 }, '"k"')
  t.notOk(isReplayed(later), 'the key is free again after a day')
  t.equal(later.status, 201)
  t.equal(await pruneResponses(app.db, new Date(Date.now() - RESPONSE_RETENTION)), 2, 'pruning removes the expired answers')
  t.equal((await app.db.read.select().from(app.db.tables.idempotency_keys)).length, 1)
  t.ok(isReplayed(await post(app, LIST, { name: 'a', price: 1 }, '"k"')))
})

onEach('a failed POST can be repeated with its key', async (t, dialect) => {
  const app = await build(t, dialect)
  const { body } = await ask(app, 'POST', LIST, shirt)
  for (const [url, payload, status] of [
    [LIST, { ...shirt }, 409],
    [LIST, { name: 'x' }, 400],
    [`${LIST}${body.id}/stock/`, { delta: -1, reason: 'sold' }, 409],
    [`${LIST}99/stock/`, { delta: -1, reason: 'sold' }, 404],
    [`${LIST}bulk/`, { operations: [{ op: 'delete', id: 99 }] }, 404],
  ] as const) {
    t.equal((await post(app, url, payload, '"k"')).status, status, url)
    t.equal((await post(app, url, payload, '"k"')).status, status, url)
  }
  await ask(app, 'DELETE', `${LIST}${body.id}/`)
  const done = await post(app, LIST, shirt, '"k"')
  t.equal(done.status, 201, 'the POST succeeds once nothing conflicts')
  t.ok(isReplayed(await post(app, LIST, shirt, '"k"')))
})

onEach('concurrent POSTs with one key are done once, and the others wait for the answer', async (t, dialect) => {
  const app = await build(t, dialect)
  const answers = await Promise.all(Array.from({ length: 20 }, () => post(app, LIST, { name: 'a', price: 1 }, '"k"')))
  t.strictSame(new Set(answers.map(({ status, body }) => `${status} ${body.id}`)).size, 1)
  t.equal(answers.filter(isReplayed).length, 19)
  t.equal((await get(app, LIST)).body.count, 1)

  const mixed = await Promise.all(Array.from({ length: 10 }, (_, n) => post(app, LIST, { name: `b ${n}`, price: 1 }, '"m"')))
  t.strictSame(mixed.map(({ status }) => status).sort(), [201, ...Array(9).fill(422)], 'one of several different requests succeeds')
  const failing = await Promise.all(Array.from({ length: 5 }, () => post(app, LIST, { name: 'c', price: 1, category: 99 }, '"f"')))
  t.strictSame(new Set(failing.map(({ status }) => status)), new Set([400]))
})

/** Builds two applications over one database, which stand for two processes. */
async function buildTwo(t: Test, dialect: Dialect): Promise<[App, App, string]> {
  const url = await dialect.create(t)
  const first = await build(t, dialect, { env: { DATABASE_URL: url } })
  const second = await build(t, dialect, { env: { DATABASE_URL: url } })
  const { token } = await issueKey(first.db, { name: 'Both', role: 'write' }, COMMAND_LINE)
  return [first, second, `Bearer ${token}`]
}

onEach('concurrent POSTs with one key to two processes are done once', async (t, dialect) => {
  const [first, second, authorization] = await buildTwo(t, dialect)
  for (let round = 0; round < 10; round++) {
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, n) =>
        post(n % 2 ? first : second, LIST, { name: `a ${round}`, price: 1 }, `"k-${round}"`, { authorization }),
      ),
    )
    const done = answers.filter(({ status }) => status === 201)
    t.equal(new Set(done.map(({ body }) => body.id)).size, 1)
    t.equal(done.filter((answer) => !isReplayed(answer)).length, 1)
    for (const { status, body, headers } of answers.filter(({ status }) => status !== 201)) {
      t.strictSame([status, body.code, headers['retry-after']], [409, 'idempotency-key-in-use', '1'])
      t.equal(dialect, postgres, 'on SQLite no request is in progress elsewhere')
    }
    t.equal((await get(first, `${LIST}?name=a ${round}`)).body.count, 1)
  }
})

t.test('a POST answers 409 while another instance handles its key', { skip: postgres.skip }, async (t) => {
  const [first, , authorization] = await buildTwo(t, postgres)
  const holder = await connect(t, first.config.DATABASE_URL)
  const [{ id } = {}] = await holder(`select id from keys where name = 'Both'`)
  await holder('begin')
  await holder(`select pg_advisory_xact_lock(hashtextextended('${id} k', 0))`)
  t.match(await post(first, LIST, shirt, '"k"', { authorization }), { status: 409, body: { code: 'idempotency-key-in-use' } })
  await holder('rollback')
  t.equal((await post(first, LIST, shirt, '"k"', { authorization })).status, 201)
})

onEach('an Idempotency-Key is refused by operations that do not read it', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', LIST, shirt)
  const url = `${LIST}1/`
  const send = (method: 'PUT' | 'PATCH' | 'DELETE', body?: object) => ask(app, method, url, body, { 'idempotency-key': '"a"' })
  const detail = '`Idempotency-Key` only applies to POST. Use `If-Match` to make a PATCH, PUT or DELETE safe to retry.'
  for (const answer of [await send('PATCH', { price: 1 }), await send('PUT', { name: 'Hat', price: 1 }), await send('DELETE')])
    t.match(answer, { status: 400, body: { code: 'malformed-request', detail } })
  t.match(await post(app, '/api/jobs/8e03978e-40d5-43dd-bc93-6894a57f9324/retry/', undefined, '"a"'), {
    status: 400,
    body: { code: 'malformed-request', detail: '`Idempotency-Key` has no effect on this URL. Send the request without it.' },
  })
  for (const method of ['GET', 'HEAD'] as const) {
    const { statusCode } = await app.inject({ method, url, headers: { 'idempotency-key': '"a"' } })
    t.equal(statusCode, 200, method)
  }
  t.match(await get(app, url), { body: { ...shirt, version: 1 } }, 'nothing changed')
})

t.test('Idempotency-Key accepts quoted and plain keys, and refuses others', async (t) => {
  for (const [header, key] of [
    ['"a"', 'a'],
    ['"8e03978e-40d5-43dd-bc93-6894a57f9324"', '8e03978e-40d5-43dd-bc93-6894a57f9324'],
    ['8e03978e-40d5-43dd-bc93-6894a57f9324', '8e03978e-40d5-43dd-bc93-6894a57f9324'],
    [String.raw`"a \"b\" \\ c"`, String.raw`a "b" \ c`],
    [`"${'a'.repeat(255)}"`, 'a'.repeat(255)],
  ] as const)
    t.equal(readIdempotencyKey(header), key)
  const app = await build(t, embedded)
  for (const header of [
    '',
    '""',
    '"a',
    'a"',
    '"a" ',
    '"a", "b"',
    'a, b',
    '"a";x=1',
    '"ü"',
    `"${'a'.repeat(256)}"`,
    String.raw`"a\b"`,
    '"a\tb"',
  ]) {
    t.throws(() => readIdempotencyKey(header), { code: 'malformed-request' }, header)
    if (!/[ü\t]/.test(header)) t.match(await post(app, LIST, shirt, header), { status: 400, body: { code: 'malformed-request' } }, header)
  }
  t.equal((await get(app, LIST)).body.count, 0)
})
