// Writing products: what a body may be, what comes back, and what two writers do to each other.

import { type Answer, ask, build, get, onEach } from '../helper.ts'

const URL = '/api/products/'

/** Bodies that make a product, and what of it they decide. */
const accepted: [what: string, body: object, made: object][] = [
  ['defaults', { name: 'a', price: '1' }, { sku: null, description: '', price: '1.00', stock: 0, brand: '', category: null, version: 1 }],
  ['a number for a price', { name: 'a', price: 29.9 }, { price: '29.90' }],
  ['a number that binary fractions miss', { name: 'a', price: 0.1 }, { price: '0.10' }],
  ['another', { name: 'a', price: 1.15 }, { price: '1.15' }],
  ['a number with an exponent, which is 100', { name: 'a', price: 1e2 }, { price: '100.00' }],
  ['no price at all', { name: 'a', price: 0 }, { price: '0.00' }],
  ['the greatest price', { name: 'a', price: '99999999.99' }, { price: '99999999.99' }],
  ['zeros before a price', { name: 'a', price: '00012.30' }, { price: '12.30' }],
  ['the greatest stock', { name: 'a', price: 1, stock: 2_147_483_647 }, { stock: 2_147_483_647 }],
  ['spaces around texts', { name: '  a b ', price: ' 1.5 ', brand: '\u00a0B\n' }, { name: 'a b', price: '1.50', brand: 'B' }],
  ['255 characters of four bytes', { name: '😀'.repeat(255), price: 1 }, { name: '😀'.repeat(255) }],
  ['what cannot be set', { name: 'a', price: 1, id: 77, version: 'x', created_at: null, updated_at: [] }, { id: 1, version: 1 }],
  ['HTML', { name: '<b>&amp;</b>', price: 1 }, { name: '<b>&amp;</b>' }],
]

onEach('a product is made of its body and of defaults', async (t, dialect) => {
  const app = await build(t, dialect)
  for (const [index, [what, body, made]] of accepted.entries()) {
    const answer = await ask(app, 'POST', URL, body)
    const id = index + 1
    t.equal(answer.status, 201, what)
    t.match(answer.body, { ...made, id }, what)
    t.equal(answer.headers.location, `http://localhost:80${URL}${id}/`, what)
    t.match(answer.body.created_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/, what)
    t.equal(answer.body.updated_at, answer.body.created_at, what)
    t.same((await get(app, `${URL}${id}/`)).body, answer.body, `${what}: read`)
  }
})

/** Bodies that are refused, each with every fault in it. */
const refused: [body: unknown, faults: Record<string, RegExp>][] = [
  [{}, { '/name': /required/, '/price': /required/ }],
  [{ name: '', price: 1 }, { '/name': /fewer than 1/ }],
  [{ name: '   ', price: 1 }, { '/name': /fewer than 1/ }],
  [{ name: 'x'.repeat(256), price: 1 }, { '/name': /more than 255/ }],
  [{ name: '😀'.repeat(256), price: 1 }, { '/name': /more than 255/ }],
  [{ name: 5, price: 1 }, { '/name': /string/ }],
  [
    { name: null, price: null },
    { '/name': /string/, '/price': /string or number/ },
  ],
  [{ name: 'a', price: '1.005' }, { '/price': /more than 2 decimals/ }],
  [{ name: 'a', price: 1.005 }, { '/price': /more than 2 decimals/ }],
  [{ name: 'a', price: '1.000' }, { '/price': /more than 2 decimals/ }],
  [{ name: 'a', price: '1e3' }, { '/price': /not a number/ }],
  [{ name: 'a', price: 1e21 }, { '/price': /not a number/ }],
  [{ name: 'a', price: 'NaN' }, { '/price': /not a number/ }],
  [{ name: 'a', price: '1,50' }, { '/price': /not a number/ }],
  [{ name: 'a', price: '' }, { '/price': /not a number/ }],
  [{ name: 'a', price: true }, { '/price': /string or number/ }],
  [{ name: 'a', price: [1] }, { '/price': /string or number/ }],
  [{ name: 'a', price: -1 }, { '/price': /negative/ }],
  [{ name: 'a', price: '-0.01' }, { '/price': /negative/ }],
  [{ name: 'a', price: '100000000.00' }, { '/price': /8 digits/ }],
  [{ name: 'a', price: 1, stock: -1 }, { '/stock': />= 0/ }],
  [{ name: 'a', price: 1, stock: 1.5 }, { '/stock': /integer/ }],
  [{ name: 'a', price: 1, stock: '5' }, { '/stock': /integer/ }],
  [{ name: 'a', price: 1, stock: 2_147_483_648 }, { '/stock': /<= 2147483647/ }],
  [{ name: 'a', price: 1, sku: '' }, { '/sku': /fewer than 1/ }],
  [{ name: 'a', price: 1, sku: 'x'.repeat(65) }, { '/sku': /more than 64/ }],
  [{ name: 'a', price: 1, brand: null }, { '/brand': /string/ }],
  [{ name: 'a', price: 1, category: '1' }, { '/category': /integer or null/ }],
  [{ name: 'a', price: 1, category: 0 }, { '/category': />= 1/ }],
  [{ name: 'a', price: 1, category: 99 }, { '/category': /no row of categories has the id 99/ }],
  [{ name: 'a', price: 1, description: 'x'.repeat(10_001) }, { '/description': /more than 10000/ }],
  [
    { name: 'a', price: 1, nam: 'b', 'a/b~c': 1 },
    { '/nam': /did you mean name\?/, '/a~1b~0c': /is not known/ },
  ],
  [
    { nam: 'a', price: 'x', stock: 1.5, sku: 5, category: {} },
    { '/name': /required/, '/nam': /name/, '/price': /number/, '/stock': /integer/, '/sku': /string/, '/category': /integer/ },
  ],
]

onEach('a bad body is refused with every fault, once, and changes nothing', async (t, dialect) => {
  const app = await build(t, dialect)
  for (const [body, faults] of refused) {
    const answer = await ask(app, 'POST', URL, body as object)
    const title = JSON.stringify(body).slice(0, 80)
    t.match(answer, { status: 400, body: { code: 'invalid-request' } }, title)
    const found = (answer.body.errors ?? []) as { pointer: string; detail: string }[]
    t.same(found.map(({ pointer }) => pointer).toSorted(), Object.keys(faults).toSorted(), title)
    for (const { pointer, detail } of found) t.match(detail, faults[pointer], title)
  }
  t.equal((await get(app, URL)).body.count, 0)
})

onEach('the faults of a body and of a query come in one answer', async (t, dialect) => {
  const app = await build(t, dialect)
  const { body } = await ask(app, 'POST', `${URL}?dry_run=1&page=2`, { name: 'a' })
  t.match(body.errors, [{ pointer: '/price' }, { parameter: 'dry_run' }, { parameter: 'page' }])
  t.equal(body.errors.length, 3)
})

onEach('PUT replaces, PATCH merges, and what changes nothing changes nothing', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', '/api/categories/', { name: 'c' })
  const whole = { sku: 's', name: 'a', description: 'd', price: '2.50', stock: 3, brand: 'b', category: 1 }
  const { body: made } = await ask(app, 'POST', URL, whole)
  const one = `${URL}1/`
  const steps: [method: 'PUT' | 'PATCH', body: object, changed: object][] = [
    ['PATCH', {}, {}],
    ['PATCH', { price: 2.5, name: ' a ' }, {}],
    ['PUT', { ...whole, price: '02.5' }, {}],
    ['PATCH', made, {}],
    ['PUT', made, {}],
    ['PATCH', { stock: 4 }, { stock: 4, version: 2 }],
    ['PATCH', { sku: null, category: null }, { sku: null, category: null, version: 3 }],
    ['PATCH', { sku: 's', category: 1, version: 99 }, { sku: 's', category: 1, version: 4 }],
    [
      'PUT',
      { name: 'z', price: 1 },
      { sku: null, name: 'z', description: '', price: '1.00', stock: 0, brand: '', category: null, version: 5 },
    ],
  ]
  let before = made
  for (const [method, body, changed] of steps) {
    const answer = await ask(app, method, one, body, {
      'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json',
    })
    const title = `${method} ${JSON.stringify(body)}`
    const moved = Object.keys(changed).length > 0
    t.equal(answer.status, 200, title)
    t.same({ ...answer.body, updated_at: '' }, { ...before, ...changed, updated_at: '' }, title)
    t.ok(moved ? answer.body.updated_at >= before.updated_at : answer.body.updated_at === before.updated_at, `${title}: updated_at`)
    t.same((await get(app, one)).body, answer.body, `${title}: read`)
    before = answer.body
  }
  t.match(await ask(app, 'PUT', one, { name: 'z' }), { status: 400, body: { errors: [{ pointer: '/price' }] } })
  t.match(await ask(app, 'PATCH', one, { name: null }), { status: 400, body: { errors: [{ pointer: '/name' }] } })
  t.match(await ask(app, 'PATCH', `${URL}9/`, { stock: 1 }), { status: 404, body: { code: 'not-found' } })
})

onEach('a deleted product is gone, and its id is not given again', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', URL, { name: 'a', price: 1 })
  const deleted = await ask(app, 'DELETE', `${URL}1`)
  t.match(deleted, { status: 204, body: undefined })
  t.notOk(deleted.headers['content-type'])
  t.equal((await ask(app, 'DELETE', `${URL}1/`)).status, 404)
  t.equal((await get(app, `${URL}1/`)).status, 404)
  t.equal((await ask(app, 'POST', URL, { name: 'b', price: 1 })).body.id, 2)
})

onEach('no two products have the same sku', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', URL, { name: 'a', price: 1, sku: 'x' })
  const second = await ask(app, 'POST', URL, { name: 'b', price: 1, sku: 'y' })
  const taken = { status: 409, body: { code: 'not-unique', errors: [{ pointer: '/sku', detail: 'the product 1 has the same sku' }] } }
  t.match(await ask(app, 'POST', URL, { name: 'c', price: 1, sku: ' x ' }), taken)
  t.match(await ask(app, 'PATCH', `${URL}${second.body.id}/`, { sku: 'x' }), taken)
  t.match(await ask(app, 'POST', URL, { name: 'c', price: 1, sku: 'X' }), { status: 201 }, 'case makes a difference')
  const racing = await Promise.all(Array.from({ length: 20 }, () => ask(app, 'POST', URL, { name: 'r', price: 1, sku: 'race' })))
  const counts = Object.groupBy(racing, ({ status }: Answer) => status)
  t.same([counts[201]?.length, counts[409]?.length], [1, 19], 'one of many at once')
  for (const { body } of counts[409] ?? []) t.match(body.errors, [{ pointer: '/sku' }])
})

onEach('two writers of different members of one record both keep their change', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', URL, { name: 'a', price: 1 })
  const rounds = Array.from({ length: 100 }, (_, index) => index + 1)
  const changes = rounds.flatMap((stock) => [{ stock }, { price: `${stock}.50` }, { brand: `b${stock}` }, { description: `d${stock}` }])
  for (let start = 0; start < changes.length; start += 40) {
    const some = changes.slice(start, start + 40)
    const answers = await Promise.all(some.map((body) => ask(app, 'PATCH', `${URL}1/`, body)))
    for (const [index, answer] of answers.entries()) t.match(answer, { status: 200, body: some[index] })
    t.same(new Set(answers.map(({ body }) => body.version)).size, some.length, 'each made a version of its own')
  }
  t.equal((await get(app, `${URL}1/`)).body.version, changes.length + 1)
})

onEach('HEAD is GET without a body, and a URL works without its last slash', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', URL, { name: 'a', price: 1 })
  for (const url of [URL, `${URL}?page_size=1`, `${URL}1/`]) {
    const [whole, head, bare] = await Promise.all([get(app, url), ask(app, 'HEAD', url), get(app, url.replace(/\/(\?|$)/, '$1'))])
    t.same([head.status, head.body], [200, undefined], url)
    t.equal(head.headers['content-length'], whole.headers['content-length'], url)
    t.same(bare.body, whole.body, url)
  }
})
