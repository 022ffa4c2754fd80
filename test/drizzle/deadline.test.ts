// Slow lists end at their deadline, delay no other request, and end at once when the application closes.
import { setTimeout } from 'node:timers/promises'
import tap, { type Test } from 'tap'
import type { App } from '../../src/http/routes.ts'
import { connect, type Dialect } from '../dialects.ts'
import { type Answer, build, get, onEach } from '../helper.ts'

interface SlowEngine {
  /** Statements that fill the table. */
  fill: string[]
  /** Statements that make every row slow to read, and those that undo it. They run after the application has checked its tables. */
  slowDown: { start: string[]; end: string[] }
  /** Filters that every row meets and no index serves. */
  filters: Record<string, string>
  /** Seconds: less than such a list takes to count, but enough to classify it as long. */
  timeout: number
  /** Seconds: enough for many such lists to queue. */
  patience: number
  /** A long list that still ends before its deadline. It exceeds the limits of short reads. */
  bearable: string
}

/** A text that no value equals, contains or begins with. */
const OTHER = 'x'.repeat(100)
const FIELDS = ['sku', 'name', 'brand']
const TEXT_LOOKUPS = ['iexact!', 'icontains!', 'istartswith!']

const engines: Record<string, SlowEngine> = {
  sqlite: {
    fill: [
      // The search index would take most of the time and is not used here.
      'drop trigger products_search_inserted',
      `with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < 500000)
        insert into products (sku, name, price, stock, created_at, updated_at) select 'S-' || n, 'Shirt ' || n, n, 1, n, n from numbers`,
      "insert into products_search (id, sku, name, description, brand) select id, lower(sku), lower(name), '', '' from products",
    ],
    slowDown: { start: [], end: [] },
    filters: Object.fromEntries([
      ...FIELDS.flatMap((field) => TEXT_LOOKUPS.map((lookup) => [`${field}__${lookup}`, OTHER])),
      ['description__icontains!', OTHER],
    ]),
    timeout: 0.3,
    // Each list is tried for some milliseconds before it waits.
    patience: 4,
    bearable: 'id__lte=40000&stock__in!=2,3&count=exact',
  },
  pg: {
    fill: [
      `insert into products (sku, name, price, stock, created_at, updated_at) select 'S-' || n, 'Shirt ' || n, n, 1, now(), now() from generate_series(1, 20000) as n`,
      'analyze products',
    ],
    slowDown: {
      start: [
        'alter table products rename to stored_products',
        // Less than a millisecond per row.
        'create view products as select * from stored_products where pg_sleep(0.0002) is not null',
      ],
      end: ['drop view products', 'alter table stored_products rename to products'],
    },
    filters: { stock__gte: '1' },
    timeout: 1,
    patience: 3,
    bearable: 'id__lte=200&count=exact',
  },
}

const getEngine = ({ name }: Dialect) => engines[name] as SlowEngine

const filled = new Map<string, Promise<string>>()

/** Builds an application over the shared database, which the tests only read. Each application starts without cached knowledge of it. */
async function buildSlow(t: Test, dialect: Dialect, timeout = getEngine(dialect).timeout): Promise<App> {
  const url = filled.get(dialect.name) ?? fill(dialect)
  filled.set(dialect.name, url)
  const app = await build(t, dialect, { env: { DATABASE_URL: await url, QUERY_TIMEOUT: String(timeout) } })
  const { start, end } = getEngine(dialect).slowDown
  const query = await connect(tap, await url)
  for (const statement of start) await query(statement)
  t.teardown(async () => {
    for (const statement of end) await query(statement)
  })
  return app
}

async function fill(dialect: Dialect): Promise<string> {
  const { config } = await build(tap, dialect)
  const query = await connect(tap, config.DATABASE_URL)
  for (const statement of getEngine(dialect).fill) await query(statement)
  return config.DATABASE_URL
}

/** Returns the URL of a long list, a different one for each number, so that no cached answer serves it. */
function buildLongUrl(dialect: Dialect, number: number, count = 'exact'): string {
  const { filters } = getEngine(dialect)
  return `/api/products/?${new URLSearchParams({ ...filters, 'price!': String(number + 0.001), count })}`
}

interface TimedAnswer extends Answer {
  /** In milliseconds. */
  time: number
}

async function measure(answer: Promise<Answer>): Promise<TimedAnswer> {
  const start = performance.now()
  return { ...(await answer), time: performance.now() - start }
}

const LOCKED = { status: 503, headers: { 'retry-after': '1' }, body: { code: 'database-busy', detail: /has locked/ } }
const TOO_EXPENSIVE = { status: 503, headers: { 'retry-after': '1' }, body: { code: 'query-too-expensive' } }
/** Milliseconds within which even a slow machine notices an end. */
const GRACE = 3_000
/** The maximum number of lists that are read or wait. */
const MAX_LONG = 64 + 4
/** REFUSED lists beyond the maximum are refused. SPARE more cover lists that start while the others arrive. */
const REFUSED = 12
const SPARE = 20
/** Seconds, so many that no list reaches its deadline. */
const PATIENT = 60

onEach('a list that takes too long is abandoned at its deadline', async (t, dialect) => {
  const app = await buildSlow(t, dialect, 0.1)
  for (const number of [1, 2, 2]) {
    const answer = await measure(get(app, buildLongUrl(dialect, number)))
    t.match(answer, TOO_EXPENSIVE)
    t.ok(answer.time < 100 + GRACE, `after ${answer.time} ms`)
  }
  t.match(await get(app, '/api/products/?page_size=1'), { status: 200, body: { results: [{ id: 1 }] } })
})

onEach('the thread or connection of an abandoned list is free again', async (t, dialect) => {
  const { bearable } = getEngine(dialect)
  const app = await buildSlow(t, dialect)
  const answers = await Promise.all(Array.from({ length: 8 }, (_, number) => get(app, buildLongUrl(dialect, number))))
  for (const answer of answers) t.match(answer, TOO_EXPENSIVE)
  // A busy machine may be too slow at first. If all threads or connections stayed in use, every attempt would fail.
  let attempts = 1
  while ((await get(app, `/api/products/?${bearable}`)).status !== 200) attempts++
  t.pass(`a bearable list was read at attempt ${attempts}`)
})

onEach('a long list delays no other request', async (t, dialect) => {
  const app = await buildSlow(t, dialect, getEngine(dialect).patience)
  let over = false
  const answer = measure(get(app, buildLongUrl(dialect, 1))).finally(() => {
    over = true
  })
  let longest = 0
  let requests = 0
  while (!over) {
    for (const url of ['/livez', '/api/products/?page_size=1', '/api/products/7/']) {
      const { status, time } = await measure(get(app, url))
      t.equal(status, 200, url)
      longest = Math.max(longest, time)
      requests++
    }
    await setTimeout(5)
  }
  const { status, time } = await answer
  t.ok([200, 503].includes(status), 'other tests check the deadline')
  t.ok(requests > 30, `${requests} others were answered meanwhile`)
  // A blocked request would wait for all of it. Threads of the pool and other processes share the processor.
  t.ok(longest < time / 2, `the slowest of them took ${longest} of ${time} ms`)
})

onEach('lists beyond the queue are refused at once, and a page does not fail with its count', async (t, dialect) => {
  const app = await buildSlow(t, dialect, PATIENT)
  const enough = Promise.withResolvers<void>()
  let refusals = 0
  const answers = Array.from({ length: MAX_LONG + REFUSED + SPARE }, async (_, number) => {
    const answer = await get(app, buildLongUrl(dialect, number))
    if (answer.status === 200 || refusals === REFUSED) return
    t.match(answer, TOO_EXPENSIVE)
    if (++refusals === REFUSED) enough.resolve()
  })
  await enough.promise
  const page = await get(app, buildLongUrl(dialect, 1_000, 'bounded'))
  t.match(page, { status: 200, body: { count_exact: false, results: { length: 20 } } })
  t.ok(page.body.count >= 20)
  // The test does not wait for the other lists.
  await app.close()
  await Promise.all(answers)
})

onEach('closing does not wait for long lists', async (t, dialect) => {
  const app = await buildSlow(t, dialect, PATIENT)
  const answers = Array.from({ length: 10 }, (_, number) => get(app, buildLongUrl(dialect, number)))
  // By then some lists are being read, and the others wait for them.
  await setTimeout(400)
  const start = performance.now()
  await app.close()
  const time = performance.now() - start
  t.ok(time < PATIENT * 1_000, `closed after ${time} ms`)
  for (const answer of await Promise.all(answers)) t.match(answer, TOO_EXPENSIVE)
})

onEach('a read of a table locked by another program answers 503 database-busy', async (t, dialect) => {
  if (dialect.name === 'sqlite') return void t.pass("SQLite's readers never wait")
  const app = await build(t, dialect, { env: { QUERY_TIMEOUT: '2' } })
  const query = await connect(t, app.config.DATABASE_URL)
  await query("insert into products (name, price, created_at, updated_at) values ('Shirt', 1, now(), now())")
  await query('begin')
  await query('lock table products in access exclusive mode')
  for (const url of ['/api/products/', '/api/products/?stock=0', '/api/products/?stock=0&count=exact', '/api/products/1/']) {
    const answer = await measure(get(app, url))
    t.match(answer, LOCKED, url)
    t.ok(answer.time < 2_000 + GRACE, `after ${answer.time} ms`)
  }
  t.match(await get(app, '/api/categories/'), { status: 200, body: { count: 0 } })
  await query('rollback')
  t.match(await get(app, '/api/products/?stock=0'), { status: 200, body: { count: 1 } })
})
