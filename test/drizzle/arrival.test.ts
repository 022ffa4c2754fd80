// QUERY_TIMEOUT runs from the arrival of a request. It includes waiting for the state, a thread, a connection or the event loop.
import { setImmediate } from 'node:timers/promises'
import { Piscina } from 'piscina'
import t from 'tap'
import { QueryTooExpensive } from '../../drizzle/database.ts'
import { createPool } from '../../drizzle/pg/pool.ts'
import { createListReader } from '../../drizzle/pg/reading.ts'
import { listRecords } from '../../src/query/list.ts'
import { products } from '../../src/resources/products.ts'
import { connect, DIALECTS } from '../dialects.ts'
import { build, get, onEach } from '../helper.ts'

const TOO_EXPENSIVE = { status: 503, body: { code: 'query-too-expensive' } }
const LATE = { message: /^The list (exceeded|waited past) its deadline/ }
/** Seconds. This deadline always passes in the tests below. */
const SOON = '0.2'
/** Milliseconds of a timeout that a test must never reach. */
const NEVER = 60_000

onEach('the deadline of a list is counted from the arrival of its request', async (t, dialect) => {
  const app = await build(t, dialect, { env: { QUERY_TIMEOUT: '60' } })
  let [stateAsked, deadline] = [0, 0]
  app.db.readState = async () => {
    stateAsked = performance.now()
    await setImmediate()
    return 'a state'
  }
  app.db.list = async (_selection, passed = 0) => {
    deadline = passed
    throw new QueryTooExpensive('nothing is read here')
  }
  const before = performance.now()
  t.match(await get(app, '/api/products/'), TOO_EXPENSIVE)
  const arrival = deadline - 60_000
  t.ok(before <= arrival && arrival <= stateAsked, 'the deadline does not start with the read', { before, arrival, stateAsked })
})

onEach('a list is abandoned at its deadline while it waits for the state of its tables', async (t, dialect) => {
  const app = await build(t, dialect, { env: { QUERY_TIMEOUT: SOON } })
  app.db.readState = () => new Promise(() => {})
  t.match(await get(app, '/api/products/'), TOO_EXPENSIVE)
})

onEach('a list whose deadline passed before it began is not read', async (t, dialect) => {
  const { db } = await build(t, dialect)
  await t.rejects(listRecords(db, products, {}, { countLimit: 1_000, deadline: performance.now() - 1 }), LATE)
})

/** A query that visits more rows than the main thread may. */
const LONG = '/api/products/?stock__in!=2,3'

t.test('a list is abandoned at its deadline while it waits for a thread, but its page is read without a count [sqlite]', async (t) => {
  const [sqlite] = DIALECTS
  if (!sqlite) throw new Error('SQLite must be available')
  const app = await build(t, sqlite, { env: { QUERY_TIMEOUT: SOON, CACHE_TTL: '0' } })
  const query = await connect(t, app.config.DATABASE_URL)
  await query(`with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < 30000)
    insert into products (name, price, stock, created_at, updated_at) select 'Shirt', n, 1, n, n from numbers`)
  const { run } = Piscina.prototype
  t.teardown(() => {
    Piscina.prototype.run = run
  })

  // All threads are busy for ever.
  Piscina.prototype.run = () => new Promise(() => {})
  t.match(await get(app, `${LONG}&count=exact`), TOO_EXPENSIVE)
  t.match(await get(app, LONG), { status: 200, body: { count_exact: false, results: { length: 20 } } })

  // The event loop processes a thread's result after the deadline.
  Piscina.prototype.run = async function (this: Piscina, job, options) {
    const result = await run.call(this, { ...job, deadline: Date.now() + NEVER }, options)
    for (const end = performance.now() + Number(SOON) * 1_000; performance.now() < end; );
    return result
  }
  t.match(await get(app, `${LONG},4&count=exact`), TOO_EXPENSIVE)
})

onEach('a list is abandoned at its deadline while it waits for a connection', async (t, dialect) => {
  if (dialect.name !== 'pg') return void t.pass('SQLite has none')
  const { db, config } = await build(t, dialect)
  const pool = () => {
    const newPool = createPool(config.DATABASE_URL, { max: 1, wait: NEVER, statementTimeout: 50 })
    t.teardown(() => newPool.end())
    return newPool
  }
  const [short, long] = [pool(), pool()]
  const { list: read } = createListReader({ short, long }, { timeout: Number(SOON) * 1_000, countTime: 50 })
  const readList = () => listRecords({ ...db, list: read }, products, {}, { countLimit: 1_000 })

  const others = await short.connect()
  await t.rejects(readList(), LATE, 'a connection for short reads')
  others.release()
  t.match(await readList(), { rows: [] })

  const query = await connect(t, config.DATABASE_URL)
  await query('begin')
  await query('lock table products in access exclusive mode')
  const longer = await long.connect()
  await t.rejects(readList(), LATE, 'a connection for long reads')
  longer.release()
  await query('rollback')
  t.equal(short.waitingCount + long.waitingCount, 0, 'nothing waits for a connection any more')
})
