// Products over HTTP: creation, changes and deletion, refused bodies, and concurrent clients.
import type { InjectOptions } from 'fastify'
import type { Test } from 'tap'
import type { App } from '../../src/http/routes.ts'
import { type Answer, ask, build, get, onEach } from '../helper.ts'

const LIST = '/api/products/'
const JSON_TYPE = 'application/json'
const MERGE_PATCH = 'application/merge-patch+json'

/** Sends JSON text unchanged, since no JavaScript value serialises to `1e2` or half of a surrogate pair. */
const send = (app: App, method: InjectOptions['method'], url: string, json: string, type = JSON_TYPE) =>
  ask(app, method, url, json, { 'content-type': type })

/** Repeats a request that answers 503. A slow machine cannot serve 500 writers of one row before some of them time out. */
async function askUntilServed(...request: Parameters<typeof ask>): Promise<Answer> {
  for (;;) {
    const answer = await ask(...request)
    if (answer.status !== 503) return answer
  }
}

const buildUrl = ({ id }: { id: number }) => `${LIST}${id}/`

async function createRecord(app: App, url: string, body: object) {
  const answer = await ask(app, 'POST', url, body)
  if (answer.status !== 201) throw new Error(`${answer.status} ${JSON.stringify(answer.body)}`)
  return answer.body
}

const make = (app: App, members: object = {}) => createRecord(app, LIST, { name: 'Shirt', price: '5', ...members })
const makeCategory = async (app: App, name: string): Promise<number> => (await createRecord(app, '/api/categories/', { name })).id

/** Returns the places of faults: JSON Pointers, and parameter names after a question mark. */
const listPlaces = ({ body }: Answer): string[] =>
  (body.errors ?? []).map(({ pointer, parameter }: { pointer?: string; parameter?: string }) => pointer ?? `?${parameter}`).sort()

function checkRefusal(t: Test, answer: Answer, expected: string[], title: string): void {
  t.strictSame(
    { status: answer.status, code: answer.body.code, places: listPlaces(answer) },
    { status: 400, code: 'invalid-request', places: expected },
    title,
  )
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

/** Tests several subjects with one application, since building it takes longer than the requests. */
function testSubjects(title: string, of: Record<string, (t: Test, app: App) => Promise<void>>): void {
  onEach(title, async (t, dialect) => {
    const app = await build(t, dialect)
    for (const [subject, body] of Object.entries(of)) await t.test(subject, (t) => body(t, app))
  })
}

onEach('POST stores the values sent, and defaults for the rest', async (t, dialect) => {
  const app = await build(t, dialect)
  const category = await makeCategory(app, 'Shirts')
  const defaults = { sku: null, description: '', stock: 0, brand: '', category: null, version: 1 }
  const full = { sku: 'R-1', name: 'Red', description: 'A shirt', price: '29.90', stock: 7, brand: 'Acme', category }
  const rows: [object, object][] = [
    [
      { name: 'Red', price: '29.90' },
      { ...defaults, name: 'Red', price: '29.90' },
    ],
    [full, { ...full, version: 1 }],
    [
      { name: ' \t Red\n', price: ' 1 ', sku: ' R-2 ', description: '  ', brand: ' Acme ' },
      { ...defaults, name: 'Red', price: '1.00', sku: 'R-2', brand: 'Acme' },
    ],
  ]
  for (const [body, expected] of rows) {
    const title = JSON.stringify(body)
    const earliest = new Date().toISOString()
    const answer = await ask(app, 'POST', LIST, body)
    const { id, created_at, updated_at, ...record } = answer.body
    t.equal(answer.status, 201, title)
    t.strictSame(record, expected, title)
    t.equal(answer.headers['content-type'], 'application/json; charset=utf-8')
    t.match(created_at, TIME)
    t.equal(created_at, updated_at)
    t.ok(earliest <= created_at && created_at <= new Date().toISOString(), 'created_at is the present time')
    t.ok(Number.isSafeInteger(id) && id > 0)

    const location = new URL(String(answer.headers.location))
    t.equal(location.pathname, buildUrl({ id }), 'Location is its URL')
    t.strictSame((await get(app, location.pathname)).body, answer.body, 'a read returns the answer of the POST')
  }
  const { body: list } = await get(app, LIST)
  t.equal(list.count, rows.length)
})

const REFUSED = Symbol('refused')
const EMOJI = '😀'
const text = (value: string) => JSON.stringify(value)

/** Members of bodies as JSON text, with the stored value. POST, PUT and PATCH agree on each. */
const members: [member: string, json: string, stored: unknown][] = [
  ['price', '0', '0.00'],
  ['price', '0.1', '0.10'],
  ['price', '29.9', '29.90'],
  ['price', '19.99', '19.99'],
  ['price', '1.10', '1.10'],
  ['price', '1e2', '100.00'],
  ['price', '1e-2', '0.01'],
  ['price', '-0', '0.00'],
  ['price', '"-0.00"', '0.00'],
  ['price', '99999999.99', '99999999.99'],
  ['price', '"99999999.99"', '99999999.99'],
  ['price', '"12"', '12.00'],
  ['price', '"0.07"', '0.07'],
  ['price', '"0007.5"', '7.50'],
  ['price', '1.005', REFUSED],
  ['price', '"1.005"', REFUSED],
  ['price', '"1.000"', REFUSED],
  ['price', '0.30000000000000004', REFUSED],
  ['price', '1e-7', REFUSED],
  ['price', '1e21', REFUSED],
  ['price', '1e400', REFUSED],
  ['price', '"1e3"', REFUSED],
  ['price', '"NaN"', REFUSED],
  ['price', '"Infinity"', REFUSED],
  ['price', '"0x10"', REFUSED],
  ['price', '"+1"', REFUSED],
  ['price', '"1 0"', REFUSED],
  ['price', '"1,50"', REFUSED],
  ['price', '"1_000"', REFUSED],
  ['price', '"١٢"', REFUSED],
  ['price', '""', REFUSED],
  ['price', '" "', REFUSED],
  ['price', '"."', REFUSED],
  ['price', '-1', REFUSED],
  ['price', '"-0.01"', REFUSED],
  ['price', '100000000', REFUSED],
  ['price', '"100000000.00"', REFUSED],
  ['price', '"99999999.999"', REFUSED],
  ['price', text(`${'0'.repeat(30)}1`), REFUSED],
  ['price', text('9'.repeat(100_000)), REFUSED],
  ['price', 'true', REFUSED],
  ['price', 'null', REFUSED],
  ['price', '["1"]', REFUSED],
  ['price', '{}', REFUSED],

  ['stock', '0', 0],
  ['stock', '1e3', 1000],
  ['stock', '5.0', 5],
  ['stock', '2147483647', 2_147_483_647],
  ['stock', '2147483648', REFUSED],
  ['stock', '-1', REFUSED],
  ['stock', '1.5', REFUSED],
  ['stock', '1e400', REFUSED],
  ['stock', '"5"', REFUSED],
  ['stock', 'true', REFUSED],
  ['stock', 'null', REFUSED],
  ['stock', '[5]', REFUSED],

  ['name', text('a'), 'a'],
  ['name', text(EMOJI.repeat(255)), EMOJI.repeat(255)],
  ['name', text(` ${'n'.repeat(255)} `), 'n'.repeat(255)],
  // The letter that grows most in case folding, for the indexes of searched fields.
  ['name', text('ΐ'.repeat(255)), 'ΐ'.repeat(255)],
  ['name', text('"quoted" \\ \'%_*'), '"quoted" \\ \'%_*'],
  ['name', text(EMOJI.repeat(256)), REFUSED],
  ['name', text('n'.repeat(256)), REFUSED],
  ['name', '""', REFUSED],
  ['name', '" \\t\\n\\u00a0 "', REFUSED],
  ['name', '"a\\u0000b"', REFUSED],
  ['name', '"\\ud800"', REFUSED],
  ['name', '"a\\udc00b"', REFUSED],
  ['name', '"\\ud83d\\ude00"', EMOJI],
  ['name', '5', REFUSED],
  ['name', 'null', REFUSED],
  ['name', '["a"]', REFUSED],

  ['sku', 'null', null],
  ['sku', text(EMOJI.repeat(64)), EMOJI.repeat(64)],
  ['sku', text(EMOJI.repeat(65)), REFUSED],
  ['sku', '""', REFUSED],
  ['sku', '"  "', REFUSED],
  ['sku', '"\\ud800"', REFUSED],
  ['sku', '0', REFUSED],

  ['brand', '" "', ''],
  ['brand', text(EMOJI.repeat(255)), EMOJI.repeat(255)],
  ['brand', text(EMOJI.repeat(256)), REFUSED],
  ['brand', '"\\u0000"', REFUSED],
  ['brand', 'null', REFUSED],
  ['brand', 'false', REFUSED],

  ['description', text('line one\n\tline two'), 'line one\n\tline two'],
  ['description', text(EMOJI.repeat(10_000)), EMOJI.repeat(10_000)],
  ['description', text(EMOJI.repeat(10_001)), REFUSED],
  ['description', '"\\udfff"', REFUSED],
  ['description', 'null', REFUSED],

  ['category', 'null', null],
  ['category', '1', 1],
  ['category', '2', REFUSED],
  ['category', '9007199254740991', REFUSED],
  ['category', '9007199254740993', REFUSED],
  ['category', '0', REFUSED],
  ['category', '-1', REFUSED],
  ['category', '1.5', REFUSED],
  ['category', '"1"', REFUSED],
  ['category', 'true', REFUSED],
  ['category', '[1]', REFUSED],
]

testSubjects('bodies of products', {
  'POST, PUT and PATCH accept the same values of each member': async (t, app) => {
    t.equal(await makeCategory(app, 'The only one'), 1)
    const base = { name: 'Base', price: '1.00' }
    const record = await make(app, base)
    const baseJson = JSON.stringify(base)
    for (const [member, json, stored] of members) {
      const title = `${member}: ${json.slice(0, 40)}`
      const others = JSON.stringify({ ...base, [member]: undefined })
      const whole = `${others.slice(0, -1)}${others === '{}' ? '' : ','}"${member}":${json}}`
      const posted = await send(app, 'POST', LIST, whole)
      if (stored !== REFUSED) await ask(app, 'DELETE', buildUrl(posted.body))
      const patched = await send(app, 'PATCH', buildUrl(record), `{"${member}":${json}}`)
      await send(app, 'PUT', buildUrl(record), baseJson)
      const put = await send(app, 'PUT', buildUrl(record), whole)
      await send(app, 'PUT', buildUrl(record), baseJson)
      if (stored === REFUSED) {
        for (const answer of [posted, patched, put]) checkRefusal(t, answer, [`/${member}`], title)
        continue
      }
      t.strictSame(
        [posted, patched, put].map(({ status }) => status),
        [201, 200, 200],
        title,
      )
      t.strictSame(
        [posted, patched, put].map(({ body }) => body[member]),
        [stored, stored, stored],
        title,
      )
    }
    t.equal((await get(app, LIST)).body.count, 1, 'refused bodies created nothing')
  },

  'a missing body, or one that is no object, is refused': async (t, app) => {
    const { id } = await make(app)
    for (const json of ['[]', '[{"name":"a","price":1}]', '"name"', 'null', '1', 'true']) {
      checkRefusal(t, await send(app, 'POST', LIST, json), [''], `POST ${json}`)
      checkRefusal(t, await send(app, 'PUT', buildUrl({ id }), json), [''], `PUT ${json}`)
      checkRefusal(t, await send(app, 'PATCH', buildUrl({ id }), json), [''], `PATCH ${json}`)
    }
    checkRefusal(t, await ask(app, 'POST', LIST), [''], 'POST')
    checkRefusal(t, await ask(app, 'PUT', buildUrl({ id })), [''], 'PUT')
    checkRefusal(t, await ask(app, 'PATCH', buildUrl({ id })), [''], 'PATCH')
  },

  'one answer names every fault of the body and the query string once': async (t, app) => {
    const { id } = await make(app)
    const rows: [method: 'POST' | 'PUT' | 'PATCH', query: string, json: string, expected: string[]][] = [
      ['POST', '', '{}', ['/name', '/price']],
      ['PUT', '', '{}', ['/name', '/price']],
      ['PUT', '', '{"name":"a"}', ['/price']],
      ['POST', '', '{"name":" ","price":"x","stock":-0.5,"brand":7,"colour":1}', ['/brand', '/colour', '/name', '/price', '/stock']],
      ['PATCH', '', '{"name":"\\ud800","price":null,"version":"x"}', ['/name', '/price']],
      ['POST', '?x=1&page=2', '{"nam":"a"}', ['/nam', '/name', '/price', '?page', '?x']],
      ['PATCH', '?x=1', '{"stock":"1"}', ['/stock', '?x']],
      ['PATCH', '?x=%zz', '[]', ['', '?x']],
    ]
    for (const [method, query, json, expected] of rows) {
      const url = method === 'POST' ? LIST : buildUrl({ id })
      checkRefusal(t, await send(app, method, url + query, json), expected, `${method} ${query} ${json}`)
    }
    const { body } = await send(app, 'POST', LIST, JSON.stringify(Object.fromEntries(Array.from({ length: 150 }, (_, i) => [`m${i}`, i]))))
    t.equal(body.errors.length, 100, 'the number of listed faults is limited')
    t.match(body.detail, /152 faults/)
  },

  'an unknown member is refused with the allowed members and a suggestion': async (t, app) => {
    const { id } = await make(app)
    const rows: [member: string, suggestion: string | undefined, pointer?: string][] = [
      ['prise', 'price'],
      ['Price', 'price'],
      ['categroy', 'category'],
      ['descripton', 'description'],
      ['quantity', undefined],
      ['price__gte', undefined],
      ['', undefined],
      ['a/b~c', undefined, '/a~1b~0c'],
      ['__proto__', undefined],
      ['constructor', undefined],
      ['toString', undefined],
      ['\ud800', undefined],
    ]
    for (const [member, suggestion, pointer = `/${member}`] of rows) {
      const answer = await send(app, 'PATCH', buildUrl({ id }), `{${JSON.stringify(member)}:{"name":"a"}}`)
      checkRefusal(t, answer, [pointer], JSON.stringify(member))
      const [fault] = answer.body.errors
      t.equal(fault.suggestion, suggestion, `${JSON.stringify(member)}: the suggestion`)
      if (suggestion) t.match(fault.detail, `did you mean ${suggestion}?`)
      t.ok(
        ['name', 'price', 'sku', 'category'].every((name) => fault.allowed.includes(name)),
        'the allowed members',
      )
    }
  },

  'PATCH accepts two JSON media types, and other methods one': async (t, app) => {
    const { id } = await make(app)
    const rows: [method: 'POST' | 'PUT' | 'PATCH', type: string, status: number][] = [
      ['PATCH', JSON_TYPE, 200],
      ['PATCH', MERGE_PATCH, 200],
      ['PATCH', `${JSON_TYPE}; charset=utf-8`, 200],
      ['PATCH', `${MERGE_PATCH};charset=UTF-8`, 200],
      ['PATCH', 'Application/JSON', 200],
      ['PATCH', 'application/json-patch+json', 415],
      ['PATCH', 'text/plain', 415],
      ['PUT', JSON_TYPE, 200],
      ['PUT', MERGE_PATCH, 415],
      ['POST', JSON_TYPE, 201],
      ['POST', MERGE_PATCH, 415],
      ['POST', 'application/x-www-form-urlencoded', 415],
      ['POST', 'application/jsonx', 415],
    ]
    for (const [method, type, status] of rows) {
      const answer = await send(app, method, method === 'POST' ? LIST : buildUrl({ id }), '{"name":"a","price":"1"}', type)
      t.equal(answer.status, status, `${method} ${type}`)
      const acceptPatch = status === 415 && method === 'PATCH' ? `${JSON_TYPE}, ${MERGE_PATCH}` : undefined
      t.equal(answer.headers['accept-patch'], acceptPatch, `${method} ${type}: Accept-Patch`)
    }
  },
})

testSubjects('changes of products', {
  'read-only members are ignored, so that a record can be sent back': async (t, app) => {
    const record = await make(app, { sku: 'A', stock: 3, category: await makeCategory(app, 'C') })
    for (const method of ['PUT', 'PATCH'] as const) {
      const answer = await ask(app, method, buildUrl(record), record)
      t.strictSame([answer.status, answer.body], [200, record], `${method} of the record as read changes nothing`)
    }
    const foreign = { id: 'x', created_at: null, updated_at: ['\0'], version: { a: 1 } }
    const { status, body } = await ask(app, 'POST', LIST, { name: 'a', price: 1, ...foreign })
    t.strictSame([status, body.version, typeof body.id], [201, 1, 'number'])
    t.match(body.created_at, TIME)
    const changed = await ask(app, 'PATCH', buildUrl(record), { ...record, ...foreign, stock: 4 })
    t.strictSame([changed.status, changed.body], [200, { ...record, stock: 4, version: 2, updated_at: changed.body.updated_at }])
  },

  'PUT resets omitted members to their defaults, and PATCH keeps them': async (t, app) => {
    const category = await makeCategory(app, 'D')
    const full = { sku: 'F', name: 'Full', description: 'All', price: '2.50', stock: 9, brand: 'Acme', category }
    const bare = { sku: null, name: 'Bare', description: '', price: '3.00', stock: 0, brand: '', category: null }
    const rows: [method: 'PUT' | 'PATCH', body: object, expected: object][] = [
      ['PUT', { name: 'Bare', price: 3 }, bare],
      ['PUT', { name: 'Bare', price: 3, brand: 'Other' }, { ...bare, brand: 'Other' }],
      ['PATCH', { name: 'New' }, { ...full, name: 'New' }],
      ['PATCH', { price: 0.1, stock: 0 }, { ...full, price: '0.10', stock: 0 }],
      ['PATCH', { sku: null, category: null }, { ...full, sku: null, category: null }],
      ['PATCH', { description: '' }, { ...full, description: '' }],
    ]
    for (const [method, body, expected] of rows) {
      const before = await make(app, full)
      const { status, body: after } = await ask(app, method, buildUrl(before), body)
      const { id, created_at, updated_at, version, ...rest } = after
      t.strictSame([status, rest], [200, expected], `${method} ${JSON.stringify(body)}`)
      t.strictSame([id, created_at, version], [before.id, before.created_at, 2])
      t.ok(updated_at >= before.updated_at)
      t.strictSame((await get(app, buildUrl(before))).body, after)
      await ask(app, 'DELETE', buildUrl(before))
    }
  },

  'a change without differences keeps version and updated_at': async (t, app) => {
    const record = await make(app, { sku: 'U', name: 'Shirt', price: '29.90', brand: 'é' })
    const required = { name: 'Shirt', price: '29.90' }
    const rows: ['PUT' | 'PATCH', string][] = [
      ['PATCH', '{}'],
      ['PATCH', '{"price":29.9}'],
      ['PATCH', '{"price":"029.9","name":" Shirt "}'],
      ['PATCH', '{"category":null,"sku":"U","stock":0}'],
      ['PATCH', '{"version":7,"id":3}'],
      ['PUT', JSON.stringify({ ...required, sku: 'U', brand: 'é' })],
      ['PUT', JSON.stringify({ ...required, sku: ' U', brand: 'é ', description: ' ', category: null })],
    ]
    for (const [method, json] of rows) {
      const { status, body } = await send(app, method, buildUrl(record), json)
      t.strictSame([status, body], [200, record], `${method} ${json}`)
    }
    const { body } = await send(app, 'PATCH', buildUrl(record), '{"brand":"e\\u0301"}')
    t.strictSame([body.brand, body.version], ['e\u0301', 2], 'composed and decomposed letters are different values')
  },

  'search and filters find a changed record at once': async (t, app) => {
    const record = await make(app, { name: 'Straße', brand: 'Changing' })
    await ask(app, 'PATCH', buildUrl(record), { name: 'Alley', price: '7' })
    for (const [query, count] of [
      ['search=straße', 0],
      ['search=alley', 1],
      ['name__icontains=LLE', 1],
      ['price=7.00', 1],
      ['price=5', 0],
    ] as const) {
      t.equal((await get(app, `${LIST}?brand=Changing&${query}`)).body.count, count, query)
    }
  },

  'a sku is unique, and the refusal names the field': async (t, app) => {
    const first = await make(app, { sku: 'S' })
    const second = await make(app, { sku: 'T' })
    const rows: [method: 'POST' | 'PUT' | 'PATCH', body: object, status: number][] = [
      ['POST', { name: 'a', price: 1, sku: 'S' }, 409],
      ['POST', { name: 'a', price: 1, sku: ' S ' }, 409],
      ['POST', { name: 'a', price: 1, sku: 's' }, 201],
      ['POST', { name: 'a', price: 1, sku: null }, 201],
      ['POST', { name: 'a', price: 1, sku: null }, 201],
      ['PATCH', { sku: 'S' }, 409],
      ['PUT', { name: 'a', price: 1, sku: 'S' }, 409],
      ['PATCH', { sku: 'T', name: 'its own' }, 200],
    ]
    for (const [method, body, status] of rows) {
      const answer = await ask(app, method, method === 'POST' ? LIST : buildUrl(second), body)
      t.equal(answer.status, status, `${method} ${JSON.stringify(body)}`)
      if (status !== 409) continue
      t.strictSame([answer.body.code, listPlaces(answer)], ['not-unique', ['/sku']])
      t.match(answer.body.errors[0].detail, `product ${first.id} `, 'the detail names the other product')
    }
    t.equal((await get(app, buildUrl(second))).body.name, 'its own', 'a refused change changes nothing')
  },
})

testSubjects('URLs of products', {
  'a deleted product is gone, and its id is never reused': async (t, app) => {
    const remaining = await make(app, { name: 'Kept' })
    const deleted = await make(app, { name: 'Vanishing', sku: 'V' })
    const answer = await ask(app, 'DELETE', buildUrl(deleted))
    t.strictSame([answer.status, answer.body, answer.headers['content-type']], [204, undefined, undefined])
    for (const [method, body] of [['GET'], ['HEAD'], ['PUT', { name: 'a', price: 1 }], ['PATCH', {}], ['DELETE']] as const) {
      t.equal((await ask(app, method, buildUrl(deleted), body)).status, 404, `${method} of a deleted product`)
    }
    const { body: list } = await get(app, LIST)
    t.strictSame([list.count, list.results], [1, [remaining]])
    t.equal((await get(app, `${LIST}?search=vanishing`)).body.count, 0)
    const next = await make(app, { sku: 'V' })
    t.ok(next.id > deleted.id, 'its sku is free, its id is not')
    await ask(app, 'DELETE', buildUrl(next))
    await ask(app, 'DELETE', buildUrl(remaining))
    t.ok((await make(app)).id > next.id, 'ids are not reused even after all products are deleted')
  },

  'unknown and malformed ids answer 404': async (t, app) => {
    const { body: before } = await get(app, LIST)
    const ids = [
      '999999',
      '9007199254740991',
      '9007199254740992',
      '9'.repeat(90),
      '9'.repeat(5_000),
      '0',
      '-1',
      '01',
      '1.0',
      '1e0',
      '+1',
      'abc',
      '１',
      '%20',
      '1%20',
      "1'--",
      '1;',
      '__proto__',
    ]
    for (const id of ids) {
      for (const [method, body] of [['GET'], ['PUT', { name: 'a', price: 1 }], ['PATCH', { name: 'a' }], ['DELETE']] as const) {
        const answer = await ask(app, method, `${LIST}${encodeURI(id).replaceAll('%25', '%')}/`, body)
        t.strictSame([answer.status, answer.body.code], [404, 'not-found'], `${method} ${id.slice(0, 20)}`)
      }
    }
    t.strictSame((await get(app, LIST)).body, before)
  },

  'URLs work with and without the last slash': async (t, app) => {
    const rows: [method: InjectOptions['method'], url: (id: number) => string, body?: object][] = [
      ['GET', () => '/api/products/'],
      ['GET', () => '/api/products/?page=last'],
      ['POST', () => '/api/products/', { name: 'b', price: 1 }],
      ['GET', (id) => `/api/products/${id}/`],
      ['PUT', (id) => `/api/products/${id}/`, { name: 'c', price: 1 }],
      ['PATCH', (id) => `/api/products/${id}/`, { name: 'd' }],
      ['DELETE', (id) => `/api/products/${id}/`],
    ]
    for (const [method, url, body] of rows) {
      const slashed = url((await make(app)).id)
      const bare = url((await make(app)).id).replace(/\/(?=\?|$)/, '')
      const [one, other] = [await ask(app, method, slashed, body), await ask(app, method, bare, body)]
      t.ok(one.status < 300, `${method} ${slashed}`)
      t.equal(other.status, one.status, `${method} ${bare}`)
    }
    t.match(
      (await get(app, '/api/products?page_size=1')).headers.link,
      /api\/products\/\?page_size=1>; rel="first"/,
      'links have the slash',
    )
  },

  'HEAD answers like GET without the body': async (t, app) => {
    const { id } = await make(app, { name: '😀' })
    for (const url of [
      LIST,
      `${LIST}?page_size=1&search=none`,
      buildUrl({ id }),
      buildUrl({ id: 999 }),
      `${LIST}?nonsense=1`,
      '/api/nothing/',
    ]) {
      const [{ headers: got, statusCode }, head] = [await app.inject(url), await app.inject({ method: 'HEAD', url })]
      const same = ({ date: _, 'x-request-id': __, 'cache-status': ___, age: ____, ...headers }: Record<string, unknown>) => headers
      t.equal(head.body, '', url)
      t.strictSame([head.statusCode, same(head.headers)], [statusCode, same(got)], url)
      t.ok(Number(head.headers['content-length']) > 0, url)
    }
  },
})

testSubjects('concurrent clients', {
  '500 concurrent changes of one product lose none': async (t, app) => {
    const before = await make(app)
    const absent = { sku: null, description: '', stock: 0, brand: '', category: null }
    const changes: ((n: number) => ['PUT' | 'PATCH', Record<string, unknown>])[] = [
      (n) => ['PATCH', { name: `name ${n}` }],
      (n) => ['PATCH', { description: `text ${n}` }],
      (n) => ['PATCH', { price: `${n}.50` }],
      (n) => ['PATCH', { stock: n + 1 }],
      (n) => ['PATCH', { brand: `brand ${n}` }],
      (n) => ['PATCH', { sku: `sku ${n}` }],
      (n) => ['PUT', { name: `whole ${n}`, price: `${n}.75` }],
    ]
    const requests = Array.from({ length: 500 }, (_, n) => (changes[n % changes.length] as (typeof changes)[0])(n))
    const answers = await Promise.all(requests.map(([method, body]) => askUntilServed(app, method, buildUrl(before), body)))
    t.strictSame(new Set(answers.map(({ status }) => status)), new Set([200]))

    const order = answers.map(({ body }, n) => ({ body, request: requests[n] })).sort((a, b) => a.body.version - b.body.version)
    let record = before
    const expected = order.map(({ body, request: [method, change] = ['PATCH', {}] }) => {
      const unchanged = method === 'PUT' ? { ...record, ...absent } : record
      record = { ...unchanged, ...change, version: record.version + 1, updated_at: body.updated_at }
      return record
    })
    t.strictSame(
      order.map(({ body }) => body),
      expected,
      'each version is the previous one with one change applied',
    )
    t.strictSame((await get(app, buildUrl(before))).body, expected.at(-1))
  },

  'concurrent clients that set the same sku leave it to one of them': async (t, app) => {
    const records = await Promise.all(Array.from({ length: 10 }, () => make(app)))
    const countStatuses = (answers: Answer[]) =>
      Object.entries(Object.groupBy(answers, ({ status }) => status)).map(([status, of]) => [Number(status), of?.length])
    const created = await Promise.all(Array.from({ length: 30 }, () => ask(app, 'POST', LIST, { name: 'a', price: 1, sku: 'A' })))
    t.strictSame(countStatuses(created), [
      [201, 1],
      [409, 29],
    ])
    const changed = await Promise.all(records.map((record) => ask(app, 'PATCH', buildUrl(record), { sku: 'B' })))
    t.strictSame(countStatuses(changed), [
      [200, 1],
      [409, 9],
    ])
    for (const answer of [...created, ...changed].filter(({ status }) => status === 409)) t.strictSame(listPlaces(answer), ['/sku'])
    t.equal((await get(app, `${LIST}?sku__in=A,B`)).body.count, 2)
  },

  'concurrent changes and deletions of one product all get an answer': async (t, app) => {
    const record = await make(app, { name: 'Contested' })
    const answers = await Promise.all(
      Array.from({ length: 30 }, (_, n) =>
        n % 3 === 2 ? ask(app, 'DELETE', buildUrl(record)) : ask(app, 'PATCH', buildUrl(record), { stock: n + 1 }),
      ),
    )
    t.equal(answers.filter(({ status }) => status === 204).length, 1, 'it is deleted once')
    t.strictSame(
      answers.filter(({ status }) => ![200, 204, 404].includes(status)),
      [],
    )
    t.equal((await get(app, buildUrl(record))).status, 404)
    t.equal((await get(app, `${LIST}?search=contested`)).body.count, 0)
  },
})
