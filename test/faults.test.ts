// An answer names every fault of its request: faults of the schema, faults found in the database, and repeated members.
import t from 'tap'
import { listRepeatedMembers, parseBody } from '../src/http/json.ts'
import type { App } from '../src/http/routes.ts'
import { DIALECTS, type Dialect } from './dialects.ts'
import { type Answer, ask, build, get, onEach } from './helper.ts'

const [embedded] = DIALECTS as [Dialect]
const LIST = '/api/products/'
const JSON_TYPE = { 'content-type': 'application/json' }

const send = (app: App, method: 'POST' | 'PUT' | 'PATCH', url: string, json: string) => ask(app, method, url, json, JSON_TYPE)

const listPlaces = ({ body }: Answer): string[] =>
  (body.errors ?? []).map(({ pointer, parameter }: Record<string, string>) => pointer ?? parameter).sort()

/** Products 1 (sku A) and 2 (sku B), category 1 (Clothing) with 2 (Shirts) below it. */
async function start(t: Parameters<typeof build>[0], dialect: Dialect): Promise<App> {
  const app = await build(t, dialect)
  for (const sku of ['A', 'B']) await ask(app, 'POST', LIST, { sku, name: sku, price: 1 })
  await ask(app, 'POST', '/api/categories/', { name: 'Clothing' })
  await ask(app, 'POST', '/api/categories/', { name: 'Shirts', parent: 1 })
  return app
}

const requests: Record<string, [method: 'POST' | 'PUT' | 'PATCH', url: string, json: string, status: number, places: string[]]> = {
  'schema, reference, taken value, repeated member and parameter': [
    'POST',
    `${LIST}?no=1`,
    '{"sku":"A","price":-1,"category":99,"stock":1,"stock":2}',
    400,
    ['/category', '/name', '/price', '/sku', '/stock', 'no'],
  ],
  'only a parameter and a reference': ['POST', `${LIST}?no=1`, '{"name":"x","price":1,"category":99}', 400, ['/category', 'no']],
  'a repeated member and a taken value': ['POST', LIST, '{"name":"x","name":"y","price":1,"sku":"B"}', 400, ['/name', '/sku']],
  'an unknown reference and a taken value': ['POST', LIST, '{"name":"x","price":1,"sku":"B","category":99}', 400, ['/category', '/sku']],
  'only a taken value': ['POST', LIST, '{"name":"x","price":1,"sku":"B"}', 409, ['/sku']],
  'a repeated member whose value is the same': ['POST', LIST, '{"name":"x","price":1,"price":1}', 400, ['/price']],
  'the name of a repeated member, escaped': ['POST', LIST, '{"name":"x","price":1,"pr\\u0069ce":1}', 400, ['/price']],
  'PUT: a default does not hide what is wrong': [
    'PUT',
    `${LIST}1/`,
    '{"sku":"B","category":99}',
    400,
    ['/category', '/name', '/price', '/sku'],
  ],
  'PUT: its own value is not taken': ['PUT', `${LIST}1/`, '{"sku":"A","name":"","price":1}', 400, ['/name']],
  'PATCH: schema, reference and taken value': [
    'PATCH',
    `${LIST}1/`,
    '{"stock":-1,"category":99,"sku":"B"}',
    400,
    ['/category', '/sku', '/stock'],
  ],
  'a member with a fault is not looked up': ['PATCH', `${LIST}1/`, '{"category":"x","sku":7}', 400, ['/category', '/sku']],
  'categories: a circle and an unknown member': ['PATCH', '/api/categories/1/', '{"parent":2,"x":1}', 400, ['/parent', '/x']],
  'categories: only a circle': ['PATCH', '/api/categories/1/', '{"parent":2}', 409, ['/parent']],
  'categories: a taken name and an unknown member': [
    'POST',
    '/api/categories/',
    '{"name":"Shirts","parent":1,"x":1}',
    400,
    ['/name', '/x'],
  ],
  'keys: schema and time': [
    'POST',
    '/api/keys/',
    '{"name":"","role":"x","expires_at":"2000-01-01"}',
    400,
    ['/expires_at', '/name', '/role'],
  ],
  'webhooks: types, address, filter and schema': [
    'POST',
    '/api/webhooks/',
    '{"url":"http://127.0.0.1/","events":["products.crated"],"filter":"prize=1","enabled":1}',
    400,
    ['/enabled', '/events/0', '/filter', '/url'],
  ],
  'webhooks: address and filter without types': [
    'POST',
    '/api/webhooks/',
    '{"url":"http://127.0.0.1/","filter":"prize=1"}',
    400,
    ['/events', '/filter', '/url'],
  ],
  'stock: no reason, and nothing to change': ['POST', `${LIST}1/stock/`, '{"delta":0}', 400, ['/delta', '/reason']],
}

onEach('one answer names every fault of a request', async (t, dialect) => {
  const app = await start(t, dialect)
  for (const [what, [method, url, json, status, expected]] of Object.entries(requests)) {
    const answer = await send(app, method, url, json)
    t.equal(answer.status, status, what)
    t.strictSame([...new Set(listPlaces(answer))], expected.toSorted(), what)
    if (expected.length > 1) t.equal(answer.body.code, 'invalid-request', what)
  }
  t.equal((await get(app, LIST)).body.count, 2, 'nothing was created')
})

onEach('one answer names every fault of a change to a webhook', async (t, dialect) => {
  const app = await build(t, dialect, { env: { WEBHOOK_ALLOW_PRIVATE: 'true', WEBHOOK_ALLOW_HTTP: 'true' } })
  await ask(app, 'POST', '/api/webhooks/', { url: 'http://127.0.0.1/', events: ['categories.created'] })
  const answer = await send(app, 'PATCH', '/api/webhooks/1/', '{"url":"no","filter":"price=1","enabled":"yes","enabled":true,"x":1}')
  t.strictSame(
    [answer.status, listPlaces(answer)],
    [400, ['/enabled', '/filter', '/url', '/x']],
    "the filter is checked against the webhook's event types",
  )
})

onEach('one answer names the faults of all operations of an atomic bulk, judged as if failed ones were left out', async (t, dialect) => {
  const app = await start(t, dialect)
  const operations = [
    '{"op":"create","body":{"sku":"A","price":-1,"category":99}}',
    '{"op":"create","body":{"sku":"C","name":"x","price":1,"name":"y"}}',
    '{"op":"create","body":{"sku":"D","name":"x","price":1}}',
    '{"op":"create","body":{"sku":"D","name":"x","price":1}}',
    '{"op":"update","id":1,"body":{"sku":"B","category":99}}',
    '{"op":"update","id":1,"id":2,"body":{"stock":-1,"sku":"A"}}',
    '{"op":"upsert","body":{"sku":"A","category":99,"x":1}}',
    '{"op":"upsert","body":{"sku":"C","category":99}}',
    '{"op":"delete","id":77}',
    '{"op":"nothing"}',
  ]
  const expected = [
    '0/body/category',
    '0/body/name',
    '0/body/price',
    '0/body/sku',
    '1/body/name',
    '3/body/sku',
    '4/body/category',
    '4/body/sku',
    '5/body/stock',
    '5/id',
    '6/body/category',
    '6/body/x',
    '7/body/category',
    '7/body/name',
    '7/body/price',
    '8',
    '9/op',
  ].map((place) => `/operations/${place}`)
  const bulk = (atomic: boolean, more = '') => send(app, 'POST', `${LIST}bulk/`, `{"operations":[${operations}],"atomic":${atomic}${more}}`)
  const all = await bulk(true)
  t.strictSame([all.status, all.body.code, listPlaces(all)], [400, 'invalid-request', expected])
  t.equal((await get(app, LIST)).body.count, 2, 'nothing changed')
  t.strictSame(
    listPlaces(await bulk(true, ',"atomic":true,"x":1')),
    [...expected, '/atomic', '/x'].toSorted(),
    'the answer includes the faults of the request',
  )

  const query = await send(app, 'POST', `${LIST}bulk/?no=1`, '{"operations":[{"op":"nothing"}],"atomic":1}')
  t.strictSame(listPlaces(query), ['/atomic', '/operations/0/op', 'no'], 'the answer includes an unknown parameter')

  const empty = await send(app, 'POST', `${LIST}bulk/?no=1`, '{"operations":[]}')
  t.strictSame(listPlaces(empty), ['/operations', 'no'], 'an unknown parameter is named even without operations')

  const conflicts = await ask(app, 'POST', `${LIST}bulk/`, {
    operations: [
      { op: 'delete', id: 77 },
      { op: 'create', body: { sku: 'A', name: 'x', price: 1 } },
    ],
  })
  t.strictSame(
    [conflicts.status, conflicts.body.code, listPlaces(conflicts)],
    [404, 'not-found', ['/operations/0', '/operations/1/body/sku']],
    'without a fault of the request, the first failure decides the status',
  )

  const each = await bulk(false)
  t.strictSame([each.status, each.body.succeeded], [207, 1])
  const faultPlaces = each.body.results.flatMap(({ problem }: { problem?: object }) =>
    problem ? listPlaces({ body: problem } as Answer) : [],
  )
  t.strictSame(faultPlaces.toSorted(), expected, 'a non-atomic bulk reports the same faults')
})

/** JSON texts with the pointers of their repeated members. */
const bodies: [json: string, pointers: string[]][] = [
  ['{}', []],
  ['[]', []],
  ['{"a":1,"b":{"a":1},"c":[{"a":1},{"a":1}]}', []],
  ['{"a":1,"a":2}', ['/a']],
  ['{"a":1,"a":2,"a":3}', ['/a']],
  ['{"a" : 1,\n"b":2 , "a"\t: 2}', ['/a']],
  ['{"x":{"y":[{"a":1},{"a":1,"a":1}]}}', ['/x/y/1/a']],
  ['[[],[{"a":1,"a":1}]]', ['/1/0/a']],
  ['{"a":"\\":","b":"x\\\\","c":"{\\"a\\":1,\\"a\\":2}"}', []],
  ['{"a":"\\":","b":1,"b":1}', ['/b']],
  ['{"a":{"a":1},"a":{"a":1,"a":2}}', ['/a', '/a/a']],
  ['{"":1,"":2}', ['/']],
  ['{"a/b~c":1,"a/b~c":2}', ['/a~1b~0c']],
  ['{"\\u0061":1,"a":2}', ['/a']],
  ['{"é":1,"\\u00e9":2}', ['/é']],
  ['{"1":[0,1,[{"k":",:{}[]","k":0}]]}', ['/1/2/0/k']],
  ['{"__proto__":1,"__proto__":2}', ['/__proto__']],
]

t.test('repeated members are found at any depth', async (t) => {
  for (const [json, pointers] of bodies) {
    const repeated = listRepeatedMembers(parseBody(Buffer.from(json)))
    t.strictSame(
      repeated.map((fault) => 'pointer' in fault && fault.pointer),
      pointers,
      json,
    )
  }
  const deep = `${'{"a":'.repeat(100_000)}{"b":1,"b":2}${'}'.repeat(100_000)}`
  const [{ pointer } = { pointer: '' }] = listRepeatedMembers(parseBody(Buffer.from(deep))) as { pointer: string }[]
  t.ok(pointer.startsWith('/a/a/a') && pointer.length <= 1_000, 'pointers are limited in length')
  const many = `{${'"a":1,'.repeat(1_000)}"b":[${Array(1_000).fill('{"c":1,"c":1}').join(',')}]}`
  t.equal(listRepeatedMembers(parseBody(Buffer.from(many))).length, 100)
})

t.test('a repeated member is refused even if the schema allows unknown members', async (t) => {
  const app = await build(t, embedded)
  await ask(app, 'POST', LIST, { name: 'x', price: 1 })
  const answer = await send(app, 'POST', `${LIST}1/notify_update/`, '{"message":"a","message":"b"}')
  t.strictSame([answer.status, listPlaces(answer)], [400, ['/message']])
})
