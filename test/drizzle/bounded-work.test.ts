// A count that is cut off never exceeds the truth, and the limit of visited rows holds whichever ids a table has.
import tap, { type Test } from 'tap'
import type { Database } from '../../drizzle/database.ts'
import { createPool } from '../../drizzle/pg/pool.ts'
import { createListReader as createPostgresReader } from '../../drizzle/pg/reading.ts'
import { buildListPage, type Count, type Selection } from '../../drizzle/selection.ts'
import { readList } from '../../drizzle/sqlite/list.ts'
import { BoundedReader, type Budget, BudgetExceeded } from '../../drizzle/sqlite/reader.ts'
import { buildJob } from '../../drizzle/sqlite/reading.ts'
import { buildStatements } from '../../drizzle/sqlite/statements.ts'
import type { App } from '../../src/http/routes.ts'
import { listRecords } from '../../src/query/list.ts'
import { compileQuerystring } from '../../src/query/querystring.ts'
import { products } from '../../src/resources/products.ts'
import { connect, type Dialect } from '../dialects.ts'
import { build, onEach } from '../helper.ts'

/** The highest id. More than 100,000 rows remain without the ids that 64 divides. */
const ROWS = 102_000

/** Columns of a row with the id `n`, as SQL for both engines. Texts are short, because the search index takes most of the time. */
const COLUMNS = {
  id: 'n',
  name: `case when n % 9 < 4 then 'shirt' when n % 9 < 5 then 'red coat' else 'lamp' end`,
  description: `case when n % 97 = 0 then 'cotton' else '' end`,
  price: '100 * (n % 700)',
  stock: 'case when n % 19 = 0 then n % 23 else 0 end',
  brand: `'b' || n % 5`,
}

interface Engine {
  /** A common table expression of the numbers from 1 to ROWS. */
  numbers: string
  now: string
  after: string[]
  /** Returns a function that counts the matches of a selection until the count is cut off. */
  createCounter(t: Test, app: App): (selection: Selection) => Promise<Count[]>
}

interface Row {
  name: string
  description: string
  /** In cents. */
  price: number
  stock: number
  brand: string
}

const FILTERS: Record<string, (row: Row) => boolean> = {
  'search=shirt': ({ name }) => name === 'shirt',
  'search=red': ({ name }) => name === 'red coat',
  'search=cotton': ({ description }) => description === 'cotton',
  'name__icontains!=lamp': ({ name }) => name !== 'lamp',
  'name__istartswith!=re': ({ name }) => name !== 'red coat',
  'stock__gte=1': ({ stock }) => stock >= 1,
  'stock!=7': ({ stock }) => stock !== 7,
  'price__lt=350': ({ price }) => price < 35_000,
  'price__range=100,110': ({ price }) => price >= 10_000 && price <= 11_000,
  'brand=b3': ({ brand }) => brand === 'b3',
  'brand__iexact!=B1': ({ brand }) => brand !== 'b1',
  'brand__in=b1,b2,b4': ({ brand }) => ['b1', 'b2', 'b4'].includes(brand),
}

/** Rows visited before a count is cut off. */
const CUTS = [400, 4_000, 40_000]
const COUNT_LIMIT = 1_000_000
/** Milliseconds, so long that no list is abandoned on a slow machine. */
const TIMEOUT = 60_000

interface FilledApp {
  app: App
  rows: Row[]
}

const filled = new Map<string, Promise<FilledApp>>()

/** Returns one database per engine for all tests here, which only read. */
function open(dialect: Dialect): Promise<FilledApp> {
  const existing = filled.get(dialect.name) ?? fill(dialect)
  filled.set(dialect.name, existing)
  return existing
}

async function fill(dialect: Dialect): Promise<FilledApp> {
  const app = await build(tap, dialect)
  const query = await connect(tap, app.config.DATABASE_URL)
  const { numbers, now, after } = engines[dialect.name] as Engine
  await query(`${numbers} insert into products (${Object.keys(COLUMNS)}, created_at, updated_at)
    select ${Object.values(COLUMNS)}, ${now}, ${now} from numbers where n % 64 <> 0`)
  await query('insert into products_search (id, name, description, brand) select id, name, description, brand from products')
  for (const statement of after) await query(statement)
  const rows = await query('select name, description, price, stock, brand from products')
  return { app, rows: rows.map(({ price, stock, ...texts }) => ({ ...texts, price: Number(price), stock: Number(stock) }) as Row) }
}

const read = compileQuerystring(products.list.querystring)

/** Compiles a query string to the selection that it reads from the database. */
async function compileSelection(db: Database, text: string): Promise<Selection> {
  const { values, faults } = read(text)
  if (faults.length > 0) throw new Error(`${text}: ${JSON.stringify(faults)}`)
  let compiled: Selection | undefined
  const recordSelection: Database['list'] = async (selection) => {
    compiled = selection
    return {
      ...buildListPage(selection, [], { count: { rows: 0, exact: true }, offset: 0, isFromEnd: false, hasOthers: false }),
      state: '',
    }
  }
  await listRecords({ ...db, list: recordSelection }, products, values, { countLimit: COUNT_LIMIT })
  if (!compiled) throw new Error(`${text} read no list`)
  return compiled
}

const limitVisits =
  (rows: number): Budget =>
  (visited) => {
    if (visited > rows) throw new BudgetExceeded()
  }

const UNBOUNDED = Number.POSITIVE_INFINITY
const LIMITS = { unseen: { rows: UNBOUNDED, postings: UNBOUNDED }, counts: 'partial', walk: UNBOUNDED } as const

const openReader = (t: Test, app: App): BoundedReader => {
  const reader = new BoundedReader(app.config.DATABASE_URL.slice('file:'.length))
  t.teardown(() => reader.connection.close())
  return reader
}

const engines: Record<string, Engine> = {
  sqlite: {
    numbers: `with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < ${ROWS})`,
    now: '0',
    after: [],
    createCounter(t, app) {
      const reader = openReader(t, app)
      return async (selection) => {
        const job = buildJob(selection, buildStatements(selection))
        return CUTS.map((rows) => readList(reader, job, { ...LIMITS, count: limitVisits(rows), rows: () => {} }).page.count)
      }
    },
  },
  pg: {
    numbers: `with numbers (n) as (select * from generate_series(1, ${ROWS}))`,
    now: 'now()',
    after: ['analyze products, products_search'],
    createCounter(t, app) {
      const pool = (statementTimeout: number) => {
        const newPool = createPool(app.config.DATABASE_URL, { max: 1, wait: TIMEOUT, statementTimeout })
        t.teardown(() => newPool.end())
        return newPool
      }
      // No machine counts these rows in a millisecond.
      const { list } = createPostgresReader({ short: pool(1), long: pool(TIMEOUT) }, { timeout: TIMEOUT, countTime: 1 })
      return async (selection) => [(await list(selection)).count]
    },
  },
}

const parseName = (pair: string) => pair.split('=')[0]

onEach('a count that is cut off never exceeds the number of matches', async (t, dialect) => {
  const { app, rows } = await open(dialect)
  t.ok(rows.length >= 100_000, `${rows.length} rows`)
  const countMatches = (engines[dialect.name] as Engine).createCounter(t, app)
  const entries = Object.entries(FILTERS)
  const wrong: string[] = []
  let inexact = 0
  for (const [index, [one, holds]] of entries.entries())
    for (const [two, alsoHolds] of entries.slice(index + 1)) {
      // Repeated parameters are refused.
      if (parseName(one) === parseName(two)) continue
      const truth = rows.filter((row) => holds(row) && alsoHolds(row)).length
      for (const { rows: count, exact } of await countMatches(await compileSelection(app.db, `${one}&${two}`))) {
        if (!exact) inexact++
        if (exact ? count !== truth : count > truth) wrong.push(`${one}&${two}: ${count}, exact: ${exact}; the truth is ${truth}`)
      }
    }
  t.ok(inexact > entries.length, `${inexact} counts were cut off`)
  t.strictSame(wrong, [])
})

/** Executions, each of which estimates the visits from another sample. */
const EXECUTIONS = 15

onEach('visited rows are counted for any set of ids', async (t, dialect) => {
  if (dialect.name !== 'sqlite') return void t.pass('PostgreSQL ends statements by time')
  const { app, rows } = await open(dialect)
  const reader = openReader(t, app)
  const none = await compileSelection(app.db, 'brand__in!=b0,b1,b2,b3,b4')
  const behindAll = { beside: ['c', 0, 0], backward: false, inclusive: false }
  const scans: Record<string, Selection> = {
    'no row matches': none,
    'all rows are in front of the page': { ...(await compileSelection(app.db, 'ordering=brand,-price')), place: behindAll },
  }
  for (const [title, selection] of Object.entries(scans)) {
    const job = buildJob({ ...selection, count: 'exact' }, buildStatements({ ...selection, count: 'exact' }))
    const visits = Array.from({ length: EXECUTIONS }, () => {
      const { stats, visited } = readList(reader, job, { ...LIMITS, count: () => {}, rows: () => {} })
      return stats.visitedForCount + visited
    }).sort((a, b) => a - b)
    const median = visits[Math.floor(EXECUTIONS / 2)] ?? 0
    t.ok(median > 0.8 * rows.length && median < 1.2 * rows.length, `${title}: ${median} of ${rows.length} rows`)
  }
})
