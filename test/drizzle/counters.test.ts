// The version and row count of each table, and the version of each row, are exact whichever program writes.
import { setTimeout } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import t, { type Test } from 'tap'
import { connect, DIALECTS, type Dialect, type Query } from '../dialects.ts'
import { ask, build, get, onEach } from '../helper.ts'

async function readCounters(query: Query, table = 'products') {
  const [row] = await query(`select sum(version) as version, sum(row_count) as rows from stockroom_counters where name = '${table}'`)
  return { version: Number(row?.version), rows: Number(row?.rows) }
}

const countRows = async (query: Query, table = 'products') => Number((await query(`select count(*) as count from ${table}`))[0]?.count)

/** For features that SQLite lacks: concurrent writers and TRUNCATE. */
function onPostgres(title: string, body: (t: Test, dialect: Dialect) => Promise<void>): void {
  for (const dialect of DIALECTS.filter(({ name }) => name === 'pg'))
    t.test(`${title} [pg]`, { skip: dialect.skip }, (t) => body(t, dialect))
}

const columns = 'sku, name, price, created_at, updated_at'
const times = { sqlite: '0, 0', pg: "'1970-01-01Z', '1970-01-01Z'" } as Record<string, string>
const productsNamed = (dialect: string, names: string) =>
  Array.from(names, (name) => `('${name}', '${name}', 100, ${times[dialect]})`).join(', ')

const steps: { what: string; text(dialect: string): string; rows: number; changes: boolean }[] = [
  { what: 'an insert', text: (d) => `insert into products (${columns}) values ${productsNamed(d, 'a')}`, rows: 1, changes: true },
  {
    what: 'an insert of many rows',
    text: (d) => `insert into products (${columns}) values ${productsNamed(d, 'bcdef')}`,
    rows: 5,
    changes: true,
  },
  {
    what: 'an insert from a query',
    text: () =>
      `insert into products (${columns}) select sku || '2', name, price, created_at, updated_at from products where sku in ('a', 'b')`,
    rows: 2,
    changes: true,
  },
  {
    what: 'an insert of nothing',
    text: () => `insert into products (${columns}) select ${columns} from products where false`,
    rows: 0,
    changes: false,
  },
  {
    what: 'an insert with on conflict do nothing',
    text: (d) => `insert into products (${columns}) values ${productsNamed(d, 'a')} on conflict do nothing`,
    rows: 0,
    changes: false,
  },
  {
    what: 'an insert that updates instead',
    text: (d) => `insert into products (${columns}) values ${productsNamed(d, 'ag')} on conflict (sku) do update set price = 200`,
    rows: 1,
    changes: true,
  },
  { what: 'an update', text: () => "update products set price = 300 where sku = 'a'", rows: 0, changes: true },
  { what: 'an update of many rows', text: () => 'update products set stock = stock + 1', rows: 0, changes: true },
  { what: 'an update of no row', text: () => "update products set price = 300 where sku = 'nobody'", rows: 0, changes: false },
  { what: 'a delete', text: () => "delete from products where sku = 'b'", rows: -1, changes: true },
  { what: 'a delete of many rows', text: () => "delete from products where sku in ('c', 'd', 'e')", rows: -3, changes: true },
  { what: 'a delete of no row', text: () => "delete from products where sku = 'nobody'", rows: 0, changes: false },
  { what: 'a delete of every row', text: () => 'delete from products', rows: -5, changes: true },
]

onEach('writes of another program update the counters', async (t, dialect) => {
  const { config } = await build(t, dialect)
  const query = await connect(t, config.DATABASE_URL)
  for (const { what, text, rows, changes } of steps) {
    const before = await readCounters(query)
    await query(text(dialect.name))
    const after = await readCounters(query)
    t.equal(after.rows - before.rows, rows, `${what}: rows`)
    t.equal(after.version > before.version, changes, `${what}: ${changes ? 'a new' : 'the same'} version`)
    t.equal(after.rows, await countRows(query), `${what}: the counter equals the number of rows`)
  }
  t.same((await readCounters(query, 'categories')).rows, 0, 'another table has separate counters')
})

onEach('writes of the API update the counters, and lists show the count', async (t, dialect) => {
  const app = await build(t, dialect)
  const query = await connect(t, app.config.DATABASE_URL)
  const writes: [method: 'POST' | 'PATCH' | 'PUT' | 'DELETE', url: string, body: object | undefined, rows: number, changes: boolean][] = [
    ['POST', '/api/products/', { name: 'a', price: '1.00' }, 1, true],
    ['POST', '/api/products/', { name: 'b', price: '1.00' }, 1, true],
    ['POST', '/api/products/', { name: '', price: '1.00' }, 0, false],
    ['PATCH', '/api/products/1/', { name: 'c' }, 0, true],
    ['PATCH', '/api/products/1/', { name: 'c' }, 0, false],
    ['PUT', '/api/products/1/', { name: 'd', price: '2.00' }, 0, true],
    ['DELETE', '/api/products/1/', undefined, -1, true],
    ['DELETE', '/api/products/1/', undefined, 0, false],
  ]
  for (const [method, url, body, rows, changes] of writes) {
    const what = `${method} ${JSON.stringify(body)}`
    const before = await readCounters(query)
    await ask(app, method, url, body)
    const after = await readCounters(query)
    t.equal(after.rows - before.rows, rows, `${what}: rows`)
    t.equal(after.version > before.version, changes, `${what}: ${changes ? 'a new' : 'the same'} version`)
    t.equal((await get(app, '/api/products/')).body.count, after.rows, `${what}: the list’s count`)
  }
})

onEach('a rollback restores the counters', async (t, dialect) => {
  const { db, config } = await build(t, dialect)
  const query = await connect(t, config.DATABASE_URL)
  await query(`insert into products (${columns}) values ${productsNamed(dialect.name, 'ab')}`)
  const before = await readCounters(query)
  await query('begin')
  await query(`insert into products (${columns}) values ${productsNamed(dialect.name, 'cd')}`)
  await query("delete from products where sku = 'a'")
  t.equal((await readCounters(query)).rows, before.rows + 1, 'the transaction itself sees its rows')
  await query('rollback')
  t.same(await readCounters(query), before, 'after a rollback of another program')
  const failed = db.write(async (tx) => {
    await tx.run(sql`delete from products`)
    throw new Error('changed its mind')
  })
  await t.rejects(failed, /changed its mind/)
  t.same(await readCounters(query), before, 'after a rollback of this program')
})

/** SET clauses of another program, and the version after it of a row with version 5. */
const versions: [what: string, set: string, expected: number][] = [
  ['says nothing of versions', "name = 'x'", 6],
  ['leaves the version as it was', "name = 'x', version = version", 6],
  ['sets an older one', "name = 'x', version = 1", 6],
  ['raises it', "name = 'x', version = version + 1", 6],
  ['raises it by more', "name = 'x', version = version + 10", 15],
  ['changes nothing', 'name = name', 6],
]
onEach('an update by another program raises the version of the row', async (t, dialect) => {
  const { config } = await build(t, dialect)
  const query = await connect(t, config.DATABASE_URL)
  for (const [what, set, expected] of versions) {
    await query('delete from products')
    const rows = ['a', 'b'].map((name) => `('${name}', '${name}', 100, ${times[dialect.name]}, 5)`)
    await query(`insert into products (${columns}, version) values ${rows}`)
    await query(`update products set ${set}`)
    const after = await query('select version from products')
    t.same(
      after.map(({ version }) => Number(version)),
      [expected, expected],
      `an update that ${what}`,
    )
  }
})

onEach('concurrent writers leave exact counts', async (t, dialect) => {
  const app = await build(t, dialect)
  const query = await connect(t, app.config.DATABASE_URL)
  const creations = await Promise.all(
    Array.from({ length: 40 }, (_, number) => ask(app, 'POST', '/api/products/', { sku: `S${number}`, name: 'a', price: '1.00' })),
  )
  t.ok(creations.every(({ status }) => status === 201))
  const { version } = await readCounters(query)
  const odd = creations.map(({ body }) => body.id).filter((id) => id % 2 === 1)
  const answers = await Promise.all(odd.map((id) => ask(app, 'DELETE', `/api/products/${id}/`)))
  t.ok(answers.every(({ status }) => status === 204))
  t.same(await readCounters(query), { version: version + 20, rows: 20 })
})

onPostgres('programs that write two tables in opposite order cause no deadlock', async (t, dialect) => {
  const { config } = await build(t, dialect)
  const query = await connect(t, config.DATABASE_URL)
  const before = { products: await readCounters(query), categories: await readCounters(query, 'categories') }
  const [writers, rounds] = [20, 10]
  const write = async (writer: number) => {
    const connection = await connect(t, config.DATABASE_URL)
    const now = times[dialect.name]
    for (let round = 0; round < rounds; round++) {
      const name = `${writer}-${round}`
      const statements = [
        `insert into products (name, price, created_at, updated_at) values ('${name}', 1, ${now}), ('${name} twice', 1, ${now})`,
        `insert into categories (name, slug, created_at, updated_at) values ('${name}', '${name}', ${now})`,
      ]
      await connection('begin')
      for (const statement of writer % 2 ? statements : statements.reverse()) await connection(statement)
      await connection(`delete from products where name = '${name} twice'`)
      await connection(round % 5 === 4 ? 'rollback' : 'commit')
    }
  }
  await t.resolves(Promise.all(Array.from({ length: writers }, (_, writer) => write(writer))))
  const committed = (writers * rounds * 4) / 5
  t.same(await readCounters(query), { version: before.products.version + 2 * committed, rows: committed })
  t.same(await readCounters(query, 'categories'), { version: before.categories.version + committed, rows: committed })
  t.same([await countRows(query), await countRows(query, 'categories')], [committed, committed])
})

onPostgres('a writer waits when every counter row is locked', async (t, dialect) => {
  const { config } = await build(t, dialect)
  const connection = () => connect(t, config.DATABASE_URL)
  const [holder, writer, query] = [await connection(), await connection(), await connection()]
  await holder('begin')
  await holder("select 1 from stockroom_counters where name = 'products' for update")
  let done = false
  const insertion = writer(`insert into products (${columns}) values ${productsNamed(dialect.name, 'abc')}`).finally(() => {
    done = true
  })
  const waiting = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
  while (!done && (await query(waiting)).length === 0) await setTimeout(5)
  t.notOk(done)
  await holder('commit')
  await insertion
  t.equal((await readCounters(query)).rows, 3)
})

onPostgres('TRUNCATE updates the counters', async (t, dialect) => {
  const app = await build(t, dialect)
  const query = await connect(t, app.config.DATABASE_URL)
  await ask(app, 'POST', '/api/categories/', { name: 'a' })
  await ask(app, 'POST', '/api/products/', { name: 'a', price: '1.00', category: 1 })
  const before = { products: await readCounters(query), categories: await readCounters(query, 'categories') }
  await query('truncate categories cascade')
  for (const table of ['products', 'categories'] as const) {
    const after = await readCounters(query, table)
    t.equal(after.rows, 0, table)
    t.ok(after.version > before[table].version, table)
  }
  await query(`insert into products (${columns}) values ${productsNamed(dialect.name, 'ab')}`)
  t.equal((await get(app, '/api/products/')).body.count, 2)
})
