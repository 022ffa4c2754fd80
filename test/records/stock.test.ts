// Stock changes, also concurrent ones.
import { ask, build, get, onEach } from '../helper.ts'

const LIST = '/api/products/'
const URL = `${LIST}1/stock/`
const MAX = 2_147_483_647

onEach('stock changes add up and never go below zero', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', LIST, { name: 'Shirt', price: 1, stock: 10 })
  const change = (delta: unknown, reason: unknown = 'counted') => ask(app, 'POST', URL, { delta, reason })
  const rows: [delta: unknown, status: number, stock: number, more?: object][] = [
    [5, 200, 15],
    [-15, 200, 0],
    [-1, 409, 0, { code: 'insufficient-stock', stock: 0 }],
    [MAX, 200, MAX],
    [1, 400, MAX, { errors: [{ pointer: '/delta' }] }],
    [-MAX, 200, 0],
    [-MAX, 409, 0, { stock: 0 }],
    [0, 400, 0, { errors: [{ pointer: '/delta', detail: 'must not be 0' }] }],
    [1.5, 400, 0, { errors: [{ pointer: '/delta' }] }],
    ['1', 400, 0, { errors: [{ pointer: '/delta' }] }],
    [null, 400, 0, { errors: [{ pointer: '/delta' }] }],
    [MAX + 1, 400, 0, { errors: [{ pointer: '/delta' }] }],
    [3, 200, 3],
    [-4, 409, 3, { stock: 3 }],
  ]
  for (const [delta, status, stock, more = {}] of rows) {
    const answer = await change(delta)
    t.equal(answer.status, status, `${delta}`)
    t.match(answer.body, status === 200 ? { stock } : more, `${delta}`)
    t.equal((await get(app, `${LIST}1/`)).body.stock, stock, `${delta}`)
  }
  for (const reason of ['', '  ', null, 1, 'x'.repeat(256)]) t.equal((await change(1, reason)).status, 400, `${reason}`)
  t.equal((await ask(app, 'POST', URL, { delta: 1 })).status, 400, 'a reason is required')
  t.equal((await ask(app, 'POST', URL, { delta: 1, reason: 'x', more: 1 })).status, 400)
  t.equal((await ask(app, 'POST', URL)).status, 400)
  t.equal((await ask(app, 'POST', `${LIST}9/stock/`, { delta: 1, reason: 'x' })).status, 404)

  const { changes } = app.db.tables
  const log = await app.db.read.select().from(changes).orderBy(changes.id)
  t.match(
    log.filter(({ reason }) => reason !== null).map(({ reason, fields }) => [reason, JSON.parse(fields)]),
    [
      ['counted', { stock: [10, 15] }],
      ['counted', { stock: [15, 0] }],
      ['counted', { stock: [0, MAX] }],
      ['counted', { stock: [MAX, 0] }],
      ['counted', { stock: [0, 3] }],
    ],
    'reasons are logged',
  )
})

onEach('concurrent decrements never oversell', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', LIST, { name: 'Shirt', price: 1, stock: 25 })
  const answers = await Promise.all(
    Array.from({ length: 60 }, (_, n) => ask(app, 'POST', URL, { delta: n % 6 === 0 ? 1 : -1, reason: 'sold' })),
  )
  const done = answers.filter(({ status }) => status === 200)
  t.ok(answers.every(({ status }) => [200, 409].includes(status)))
  t.equal(done.filter((_, index) => answers.indexOf(done[index] as (typeof answers)[0]) % 6 === 0).length, 10, 'every increment succeeds')
  // Stock added after the last refusal is still there.
  while ((await ask(app, 'POST', URL, { delta: -1, reason: 'sold' })).status === 200) done.push(answers[0] as (typeof answers)[0])
  const { body } = await get(app, `${LIST}1/`)
  t.equal(body.stock, 0)
  t.equal(done.length, 10 + 35)
  t.equal(body.version, 1 + done.length, 'each change is one version')
})
