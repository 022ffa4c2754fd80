// Bulk requests: the result of each operation, and of all operations when one fails.
import { setImmediate, setTimeout } from 'node:timers/promises'
import { desc } from 'drizzle-orm'
import t from 'tap'
import type { App } from '../src/http/routes.ts'
import { DIALECTS, type Dialect } from './dialects.ts'
import { type Answer, ask, build, get, onEach } from './helper.ts'

const [embedded] = DIALECTS as [Dialect]
const LIST = '/api/products/'
const URL = `${LIST}bulk/`

type Operation = Record<string, unknown>

const bulk = (app: App, operations: unknown, more: object = {}) => ask(app, 'POST', URL, { operations, ...more })

/** Returns all products in their current state. */
const listProducts = async (app: App): Promise<Operation[]> => (await get(app, `${LIST}?page_size=100`)).body.results

const listPointers = ({ body }: Answer) => body.errors?.map(({ pointer }: { pointer: string }) => pointer)

async function start(t: Parameters<typeof build>[0], dialect: Dialect, env: Record<string, string> = {}): Promise<App> {
  const app = await build(t, dialect, { env })
  await ask(app, 'POST', '/api/categories/', { name: 'Clothing' })
  for (const sku of ['A', 'B', 'C']) await ask(app, 'POST', LIST, { sku, name: `Product ${sku}`, price: 1, description: 'as it was' })
  return app
}

onEach('operations have the effect of single requests, in their order', async (t, dialect) => {
  const app = await start(t, dialect)
  const { headers } = await get(app, `${LIST}2/`)
  const answer = await bulk(app, [
    { op: 'create', body: { name: '  Hat ', price: 5, sku: 'H' } },
    { op: 'update', id: 1, body: { price: '2.5', category: 1 } },
    { op: 'update', id: 2, body: { stock: 7 }, if_match: headers.etag },
    { op: 'upsert', body: { sku: 'H', stock: 3 } },
    { op: 'upsert', body: { sku: 'N', name: 'New', price: 9 } },
    { op: 'delete', id: 3 },
    { op: 'create', body: { sku: 'C', name: 'Another C', price: 1 } },
    { op: 'update', id: 1, body: {} },
  ])
  t.equal(answer.status, 200)
  t.same(
    answer.body.results.map(({ op, status, id, version }: Operation) => [op, status, id, version]),
    [
      ['create', 201, 4, 1],
      ['update', 200, 1, 2],
      ['update', 200, 2, 2],
      ['upsert', 200, 4, 2],
      ['upsert', 201, 5, 1],
      ['delete', 204, 3, undefined],
      ['create', 201, 6, 1],
      ['update', 200, 1, 2],
    ],
  )
  t.match(answer.body, { succeeded: 8, failed: 0 })
  t.match(await listProducts(app), [
    { id: 1, price: '2.50', category: 1, description: 'as it was' },
    { id: 2, stock: 7 },
    { id: 4, name: 'Hat', stock: 3, price: '5.00' },
    { id: 5, name: 'New', description: '' },
    { id: 6, sku: 'C', name: 'Another C' },
  ])
  for (const { id, etag } of answer.body.results.slice(2, 5)) t.equal((await get(app, `${LIST}${id}/`)).headers.etag, etag)
  t.equal((await get(app, `${LIST}?search=new`)).body.count, 1, 'the search finds it')
  t.equal((await get(app, LIST)).body.count, 5, 'the count includes it')
  const { changes } = app.db.tables
  const log = (await app.db.read.select().from(changes).orderBy(changes.id)).filter(
    ({ resource, request_id }) => resource === 'products' && request_id === answer.headers['x-request-id'],
  )
  t.strictSame(
    log.map(({ operation, record_id }) => [operation, record_id]),
    [
      ['create', 4],
      ['update', 1],
      ['update', 2],
      ['update', 4],
      ['create', 5],
      ['delete', 3],
      ['create', 6],
    ],
    'each change is in the log',
  )
})

/** Failing operations, with the status, the code and the pointers of their faults. */
const failing: Record<string, [operation: unknown, status: number, code: string, pointers: string[]]> = {
  'no such record': [{ op: 'update', id: 99, body: {} }, 404, 'not-found', ['']],
  'nothing to delete': [{ op: 'delete', id: 99 }, 404, 'not-found', ['']],
  'a taken value': [{ op: 'create', body: { sku: 'B', name: 'x', price: 1 } }, 409, 'not-unique', ['/body/sku']],
  'a taken value in an update': [{ op: 'update', id: 1, body: { sku: 'B' } }, 409, 'not-unique', ['/body/sku']],
  'an unknown reference': [{ op: 'update', id: 1, body: { category: 9 } }, 400, 'invalid-request', ['/body/category']],
  'another state': [{ op: 'update', id: 1, body: {}, if_match: '"x"' }, 412, 'precondition-failed', ['']],
  'another state of a deleted record': [{ op: 'delete', id: 1, if_match: '"x"' }, 412, 'precondition-failed', ['']],
  'a state of a missing record': [
    { op: 'upsert', body: { sku: 'Z', name: 'Z', price: 1 }, if_match: '*' },
    412,
    'precondition-failed',
    [''],
  ],
  'a state that cannot be read': [{ op: 'update', id: 1, body: {}, if_match: 'x' }, 400, 'malformed-request', ['']],
  'a new one without its price': [{ op: 'upsert', body: { sku: 'Z', name: 'Z' } }, 400, 'invalid-request', ['/body/price']],
  'an unknown member, and a bad one': [
    { op: 'create', body: { name: '', prise: 1 } },
    400,
    'invalid-request',
    ['/body/price', '/body/name', '/body/prise'],
  ],
  'no id': [{ op: 'update', body: {} }, 400, 'invalid-request', ['/id']],
  'a malformed id': [{ op: 'delete', id: '1' }, 400, 'invalid-request', ['/id']],
  'no body': [{ op: 'create' }, 400, 'invalid-request', ['/body']],
  'a body too many': [{ op: 'delete', id: 1, body: {} }, 400, 'invalid-request', ['/body']],
  'no sku': [{ op: 'upsert', body: { name: 'x', price: 1 } }, 400, 'invalid-request', ['/body/sku']],
  'null for a sku': [{ op: 'upsert', body: { sku: null, name: 'x', price: 1 } }, 400, 'invalid-request', ['/body/sku']],
  'no op': [{ id: 1 }, 400, 'invalid-request', ['/op']],
  'an unknown op': [{ op: 'constructor', id: 1 }, 400, 'invalid-request', ['/op']],
  'no object': [null, 400, 'invalid-request', ['']],
  'a list': [[], 400, 'invalid-request', ['']],
  'too many members': [
    { op: 'create', body: Object.fromEntries(Array.from({ length: 300 }, (_, n) => [`m${n}`, 1])) },
    400,
    'invalid-request',
    ['/body'],
  ],
}

onEach('a failure undoes all of an atomic bulk, and only itself in another', async (t, dialect) => {
  const app = await start(t, dialect)
  const before = await listProducts(app)
  const counters = () => app.db.readState(['products'])
  for (const [what, [operation, status, code, at]] of Object.entries(failing)) {
    const state = await counters()
    const operations = [
      { op: 'update', id: 1, body: { brand: what } },
      { op: 'create', body: { name: 'Made before', price: 1 } },
      operation,
      { op: 'delete', id: 2 },
    ]
    const refused = await bulk(app, operations)
    t.strictSame([refused.status, refused.body.code], [status, code], what)
    t.strictSame(listPointers(refused).sort(), at.map((pointer) => `/operations/2${pointer}`).sort(), what)
    t.strictSame(await listProducts(app), before, `${what}: no record changed`)
    t.equal(await counters(), state, `${what}: no counter changed`)
  }

  const answer = await bulk(
    app,
    [{ op: 'update', id: 1, body: { brand: 'first' } }, ...Object.values(failing).map(([operation]) => operation), { op: 'delete', id: 2 }],
    { atomic: false },
  )
  t.equal(answer.status, 207)
  const { results } = answer.body
  t.match(answer.body, { succeeded: 2, failed: Object.keys(failing).length })
  t.match(
    [results[0], results.at(-1)],
    [
      { op: 'update', status: 200, id: 1 },
      { op: 'delete', status: 204, id: 2 },
    ],
  )
  for (const [index, [what, [, status, code, at]]] of Object.entries(failing).entries()) {
    const { status: got, problem, op } = results[index + 1]
    t.ok(op === undefined || ['create', 'update', 'upsert', 'delete'].includes(op), `${what}: ${op}`)
    t.strictSame([got, problem.code, problem.status], [status, code, status], what)
    t.strictSame(listPointers({ body: problem } as Answer).sort(), at.map((pointer) => `/operations/${index + 1}${pointer}`).sort(), what)
  }
  t.match(await listProducts(app), [{ id: 1, brand: 'first', version: 2 }, { id: 3 }])
  t.equal((await listProducts(app)).length, 2)
})

onEach('a malformed operation does not stop the others', async (t, dialect) => {
  const app = await start(t, dialect)
  const deep = `${'['.repeat(50_000)}${']'.repeat(50_000)}`
  const odd = [
    `{"op":"upsert","body":{"sku":"a\\u0000b","name":"x","price":"1"}}`,
    `{"op":"upsert","body":{"sku":"\\ud800","name":"x","price":"1"}}`,
    `{"op":${deep}}`,
    `{"op":"create","body":${deep}}`,
    `{"op":"create","body":{"name":${deep},"price":1}}`,
    `{"op":"${'x'.repeat(100_000)}"}`,
    '{"op":{"a":1}}',
    '{"op":"update","id":1e300,"body":{}}',
    '{"op":"delete","id":-1}',
    '{"op":"delete","id":9007199254740992}',
  ]
  const json = { 'content-type': 'application/json' }
  for (const [index, one] of odd.entries()) {
    const payload = `{"atomic":false,"operations":[${one},{"op":"create","body":{"name":"ok","price":"1"}}]}`
    for (const headers of [json, { ...json, 'idempotency-key': `"odd-${index}"` }]) {
      const { status, body } = await ask(app, 'POST', URL, payload, headers)
      t.match([status, body.succeeded, body.results?.[0].status, body.results?.[1].status], [207, 1, 400, 201], one.slice(0, 60))
    }
    t.equal((await ask(app, 'POST', URL, payload.replace('false', 'true'), json)).status, 400, one.slice(0, 60))
  }
  const many = `{"op":"create","body":{${Array.from({ length: 190 }, (_, n) => `"m${n}":1`).join(',')}}}`
  const { body } = await ask(app, 'POST', URL, `{"atomic":false,"operations":[${Array(500).fill(many).join(',')}]}`, json)
  t.ok(JSON.stringify(body).length < 300_000, `an answer of ${JSON.stringify(body).length} bytes`)
  t.equal(body.failed, 500)
})

onEach('concurrent bulks that upsert the same new records in different orders all succeed', async (t, dialect) => {
  const app = await start(t, dialect)
  const skus = Array.from({ length: 20 }, (_, n) => `NEW-${n}`)
  const answers = await Promise.all(
    Array.from({ length: 12 }, (_, n) => {
      const order = n % 2 ? skus : skus.toReversed()
      const spelled = n % 3 ? order : order.map((sku) => ` ${sku} `)
      return bulk(
        app,
        spelled.map((sku) => ({ op: 'upsert', body: { sku, name: `By ${n}`, price: n } })),
        { atomic: n % 4 !== 0 },
      )
    }),
  )
  t.strictSame(new Set(answers.map(({ status, body }) => `${status} ${body.failed}`)), new Set(['200 0']))
  t.equal((await listProducts(app)).length, 23)
})

t.test('a malformed bulk request is refused and changes nothing', async (t) => {
  const app = await start(t, embedded, { BULK_BODY_LIMIT: '200000' })
  const one = { op: 'update', id: 1, body: {} }
  const rows: [what: string, payload: unknown, status: number, pointers: string[]][] = [
    ['no operations', {}, 400, ['/operations']],
    ['none at all', { operations: [] }, 400, ['/operations']],
    ['too many', { operations: Array(1_001).fill(one) }, 400, ['/operations']],
    ['not a list', { operations: one }, 400, ['/operations']],
    ['an unknown member', { operations: [one], atmoic: true }, 400, ['/atmoic']],
    ['atomic, as text', { operations: [one], atomic: 'false' }, 400, ['/atomic']],
    ['a list alone', [one], 400, ['']],
    [
      'many faults: the first 100 are named',
      { operations: Array(500).fill({ op: 'x' }) },
      400,
      Array.from({ length: 100 }, (_, n) => `/operations/${n}/op`),
    ],
  ]
  for (const [what, payload, status, at] of rows) {
    const answer = await ask(app, 'POST', URL, payload as object)
    t.equal(answer.status, status, what)
    t.strictSame(listPointers(answer), at, what)
  }
  t.equal(
    (await ask(app, 'POST', URL, { operations: [{ op: 'create', body: { name: 'x', price: 1, description: 'x'.repeat(200_000) } }] }))
      .status,
    413,
  )
  t.equal(
    (await ask(app, 'POST', LIST, { name: 'x', price: 1, description: 'x'.repeat(1_100_000) })).status,
    413,
    'other bodies keep their limit',
  )
  t.match(
    await ask(app, 'POST', URL, '{"operations":[{"op":"create","body":{"name":"x","price":1,"__proto__":{"a":1}}}]}', {
      'content-type': 'application/json',
    }),
    { status: 400 },
    'members of a prototype are refused',
  )
  for (const [method, status] of [
    ['GET', 405],
    ['DELETE', 405],
    ['PATCH', 405],
    ['HEAD', 405],
  ] as const)
    t.match(await ask(app, method, URL), { status, headers: { allow: 'POST, OPTIONS' } }, method)
  t.equal((await listProducts(app)).length, 3, 'nothing changed')
})

onEach('an unknown member of an operation is compared with the members of its record', async (t, dialect) => {
  const app = await start(t, dialect)
  for (const atomic of [true, false]) {
    const { body } = await bulk(app, [{ op: 'update', id: 1, body: { stok: 1 } }], { atomic })
    const [fault] = atomic ? body.errors : body.results[0].problem.errors
    t.match(fault, { suggestion: 'stock', detail: 'is not known; did you mean stock?' })
    t.ok(fault.allowed.includes('price'))
  }
})

onEach('a successful bulk logs no error', async (t, dialect) => {
  const lines: string[] = []
  const app = await build(t, dialect, { env: { LOG_LEVEL: 'warn' }, log: { write: (line) => lines.push(line) } })
  t.equal((await bulk(app, [{ op: 'create', body: { name: 'Hat', price: 1 } }])).status, 200)
  // Errors thrown by a handler after its reply are logged in a later turn.
  await setImmediate()
  t.strictSame(lines, [])
})

onEach('a thousand operations are one transaction, and other requests are served meanwhile', async (t, dialect) => {
  const app = await start(t, dialect)
  const state = await app.db.readState(['products'])
  let over = false
  const creation = bulk(
    app,
    Array.from({ length: 1_000 }, (_, n) => ({ op: 'create', body: { sku: `N${n}`, name: `Number ${n}`, price: n } })),
  ).finally(() => {
    over = true
  })
  let others = 0
  const partial: number[] = []
  while (!over) {
    // Cached answers need no turn of the event loop, but the bulk request does.
    await setTimeout(5)
    const { body } = await get(app, LIST)
    const isUnchanged = (await app.db.readState(['products'])) === state
    if (body.count !== 1_003 && (body.count !== 3 || !(isUnchanged || over))) partial.push(body.count)
    others++
  }
  t.match(await creation, { status: 200, body: { succeeded: 1_000 } })
  t.strictSame(partial, [], 'other requests see all records or none')
  t.ok(others > 1, `${others} lists were read meanwhile`)
  t.equal((await get(app, LIST)).body.count, 1_003)
})

onEach('a bulk too large for one transaction is refused, and succeeds as several', async (t, dialect) => {
  const app = await start(t, dialect)
  const large = { name: 'Large', price: 1, description: 'x'.repeat(10_000) }
  const creates = Array.from({ length: 53 }, () => ({ op: 'create', body: large }))
  const refused = await bulk(app, creates)
  t.match(
    [refused.status, refused.body],
    [413, { code: 'body-too-large', detail: /^The body is larger than 524288 bytes \(512 KiB\).*"atomic": false/ }],
  )
  t.match(await bulk(app, creates, { atomic: false }), { status: 200, body: { succeeded: 53 } })

  const ids = Array.from({ length: 53 }, (_, n) => 4 + n)
  const rows: [what: string, operation: (id: number) => Operation, place: number | undefined][] = [
    ['texts that change', (id) => ({ op: 'update', id, body: { brand: 'Acme' } }), 52],
    ['texts that are removed', (id) => ({ op: 'delete', id }), 52],
    ['texts that stay as they are', (id) => ({ op: 'update', id, body: { stock: 1 } }), undefined],
  ]
  for (const [what, operation, place] of rows) {
    const answer = await bulk(app, ids.map(operation))
    t.equal(answer.status, place === undefined ? 200 : 400, what)
    if (place !== undefined) t.strictSame(listPointers(answer), [`/operations/${place}`], what)
  }
  t.match((await get(app, `${LIST}4/`)).body, { stock: 1, brand: '' })
  t.equal((await get(app, LIST)).body.count, 56)
})

onEach('other requests write between the operations of a non-atomic bulk', async (t, dialect) => {
  const app = await start(t, dialect)
  let over = false
  const creation = bulk(
    app,
    Array.from({ length: 1_000 }, (_, n) => ({ op: 'create', body: { name: `Number ${n}`, price: 1 } })),
    { atomic: false },
  ).finally(() => {
    over = true
  })
  const { changes } = app.db.tables
  const last = async () => (await app.db.read.select().from(changes).orderBy(desc(changes.id)).limit(1))[0]?.record_id ?? 0
  while (!over && (await last()) <= 3) await setImmediate()
  const change = await ask(app, 'PATCH', `${LIST}1/`, { stock: 1 })
  t.equal(change.status, 200)
  t.match(await creation, { status: 200, body: { succeeded: 1_000 } })
  t.ok((await last()) > 3, 'the last change is of the bulk, not of the request that came meanwhile')
})

onEach('an interrupted bulk continues when it is sent again with its idempotency key', async (t, dialect) => {
  const app = await start(t, dialect)
  const operations = [
    { op: 'create', body: { sku: 'A', name: 'taken', price: 1 } },
    ...Array.from({ length: 500 }, (_, n) => ({ op: 'create', body: { name: `Number ${n}`, price: 1 } })),
  ]
  const send = () => ask(app, 'POST', URL, { operations, atomic: false }, { 'idempotency-key': '"k"' })
  const { write } = app.db
  let transactions = 0
  app.db.write = (work) => (++transactions === 4 ? Promise.reject(new Error('cut off')) : write(work))
  t.equal((await send()).status, 500)
  const done = (await get(app, LIST)).body.count - 3
  t.ok(done > 0 && done < 500, 'some operations were done', { done })
  const again = await send()
  t.match([again.status, again.body.succeeded, again.body.failed], [207, 500, 1])
  t.notOk(again.headers['idempotency-replayed'])
  t.equal(new Set(again.body.results.map(({ id }: Operation) => id)).size, 501, 'each operation has its result')
  t.equal((await get(app, LIST)).body.count, 503, 'nothing was done twice')
  const replayed = await send()
  t.strictSame([replayed.headers['idempotency-replayed'], replayed.body], ['true', again.body])
})

onEach('concurrent bulks that change the same records in different orders all succeed', async (t, dialect) => {
  const app = await start(t, dialect)
  const changes = [1, 2, 3].flatMap((id) => [{ op: 'update', id, body: { stock: id } }])
  const orders = [changes, changes.toReversed(), [changes[1], changes[0], changes[2]]]
  const answers = await Promise.all(
    Array.from({ length: 30 }, (_, n) =>
      bulk(app, [...(orders[n % 3] ?? []), { op: 'upsert', body: { sku: 'BCA'[n % 3], brand: `b${n}` } }]),
    ),
  )
  t.strictSame(new Set(answers.map(({ status }) => status)), new Set([200]))
  const upserts = await Promise.all(
    Array.from({ length: 10 }, (_, n) =>
      bulk(app, [{ op: 'upsert', body: { sku: 'NEW', name: `n${n}`, price: 1 } }], { atomic: n % 2 === 0 }),
    ),
  )
  t.strictSame(
    upserts.map(({ body }) => body.results[0].status).sort(),
    [...Array(9).fill(200), 201],
    'one upsert creates the record, the others find it',
  )
})
