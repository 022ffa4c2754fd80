// Database.read, write and runBulk, also while another program holds locks or the server fails.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, statSync } from 'node:fs'
import { type AddressInfo, createServer, connect as dial, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import t, { type Test } from 'tap'
import type { Database, Queries } from '../../drizzle/database.ts'
import { open } from '../../drizzle/open.ts'
import { createPool, runTransaction } from '../../drizzle/pg/pool.ts'
import { categories } from '../../src/resources/categories.ts'
import { products } from '../../src/resources/products.ts'
import { connect, DIALECTS, type Dialect, type Query } from '../dialects.ts'
import { type Answer, ask, build, get, onEach } from '../helper.ts'

const ROOT = new URL('../../', import.meta.url)
const SERVED = [categories.served, products.served]

/** Runs `body` on one database, for behaviour that the other does not have. */
function on(name: Dialect['name'], title: string, body: (t: Test, dialect: Dialect) => Promise<void>): void {
  for (const dialect of DIALECTS.filter((dialect) => dialect.name === name))
    t.test(`${title} [${name}]`, { skip: dialect.skip }, (t) => body(t, dialect))
}

async function openMigrated(t: Test, dialect: Dialect): Promise<Database> {
  const db = await open(await dialect.create(t), { served: SERVED })
  t.teardown(() => db.close())
  await db.migrate()
  return db
}

async function insert(tx: Queries, db: Database, name: string, values: { sku?: string; category?: number } = {}): Promise<void> {
  const now = new Date().toISOString()
  await tx.insert(db.tables.products).values({ name, price: '1.00', created_at: now, updated_at: now, ...values })
}

async function listNames(db: Database): Promise<string[]> {
  const { products } = db.tables
  return (await db.read.select({ name: products.name }).from(products).orderBy(products.id)).map(({ name }) => name)
}

on('sqlite', 'a new database file is readable by its owner only, and an existing one keeps its mode', async (t) => {
  const folder = t.testdir({ 'shared.db': '' })
  chmodSync(join(folder, 'shared.db'), 0o644)
  for (const [file, mode] of [
    ['new.db', 0o600],
    ['shared.db', 0o644],
  ] as const) {
    const db = await open(`file:${join(folder, file)}`, { served: SERVED })
    t.teardown(() => db.close())
    await db.migrate()
    for (const part of [file, `${file}-wal`, `${file}-shm`]) t.equal(statSync(join(folder, part)).mode & 0o777, mode, part)
  }
})

const PRODUCT = { name: 'a', price: '1.00' }

onEach('a write is committed when its work resolves, and returns its result', async (t, dialect) => {
  const db = await openMigrated(t, dialect)
  const result = await db.write(async (tx) => {
    await insert(tx, db, 'a')
    await insert(tx, db, 'b')
    return 'given'
  })
  t.equal(result, 'given')
  t.same(await listNames(db), ['a', 'b'])
})

onEach('a write is rolled back when its work throws', async (t, dialect) => {
  const db = await openMigrated(t, dialect)
  const reason = new Error('changed its mind')
  const works: Record<string, (tx: Queries) => Promise<unknown>> = {
    'at once': () => {
      throw reason
    },
    'after a statement': async (tx) => {
      await insert(tx, db, 'a')
      throw reason
    },
    'after waiting for something else': async (tx) => {
      await insert(tx, db, 'b')
      await setTimeout(1)
      throw reason
    },
    'because of a statement': async (tx) => {
      await insert(tx, db, 'c')
      try {
        await tx.run(sql`select * from nowhere`)
      } catch {
        throw reason
      }
    },
  }
  for (const [when, work] of Object.entries(works)) {
    const error = await db.write(work).catch((error) => error)
    t.equal(error, reason, `${when}: the original error is thrown`)
  }
  t.same(await listNames(db), [])
  await db.write((tx) => insert(tx, db, 'after'))
  t.same(await listNames(db), ['after'])
})

onEach('a write that ignores a failed statement reports whether it was committed', async (t, dialect) => {
  const db = await openMigrated(t, dialect)
  const result = await db
    .write(async (tx) => {
      await insert(tx, db, 'a')
      try {
        await tx.run(sql`select * from nowhere`)
      } catch {}
    })
    .then(
      () => ['a'],
      () => [],
    )
  t.same(await listNames(db), result)
})

onEach('a read sees writes as soon as they are committed', async (t, dialect) => {
  const db = await openMigrated(t, dialect)
  await db.write(async (tx) => {
    await insert(tx, db, 'a')
    t.same(await listNames(db), [], 'not before the commit')
    t.equal((await tx.select().from(db.tables.products)).length, 1, 'the write itself sees them')
  })
  t.same(await listNames(db), ['a'])
})

on('sqlite', 'a read cannot write', async (t, dialect) => {
  const db = await openMigrated(t, dialect)
  await t.rejects(async () => db.read.run(sql`delete from products`))
})

on('sqlite', 'writes run one at a time, in the order of their calls', async (t, dialect) => {
  const db = await openMigrated(t, dialect)
  const events: string[] = []
  const first = Promise.withResolvers<void>()
  const write = (name: string, until: Promise<unknown>, fails = false) =>
    db.write(async (tx) => {
      events.push(`${name} begins`)
      await insert(tx, db, name)
      await until
      events.push(`${name} ends`)
      if (fails) throw new Error(name)
    })
  const writes = [write('a', first.promise), write('b', setTimeout(1), true), write('c', Promise.resolve())]
  await setTimeout(5)
  t.same(events, ['a begins'], 'the others wait')
  first.resolve()
  const results = await Promise.allSettled(writes)
  t.same(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  )
  t.same(events, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends'])
  t.same(await listNames(db), ['a', 'c'])
})

on('pg', 'a write does not wait for another', async (t, dialect) => {
  const db = await openMigrated(t, dialect)
  const second = Promise.withResolvers<void>()
  const first = db.write(async (tx) => {
    await insert(tx, db, 'a')
    await second.promise
  })
  await db.write((tx) => insert(tx, db, 'b'))
  t.same(await listNames(db), ['b'])
  second.resolve()
  await first
  t.same((await listNames(db)).toSorted(), ['a', 'b'], 'in any order')
})

onEach('a write inside a write throws, and the outer one can continue', async (t, dialect) => {
  const db = await openMigrated(t, dialect)
  const checkRefusal = (inner: () => Promise<unknown>) => t.rejects(async () => inner(), /inside a write/)
  const insideOut: Record<string, () => Promise<void>> = {
    'a write in a write': () =>
      db.write(async (tx) => {
        await checkRefusal(() => db.write((own) => insert(own, db, 'inner')))
        await insert(tx, db, 'outer')
      }),
    'a write in a merge': () =>
      db.runBulk((_staging, merge) =>
        merge(async (tx) => {
          await checkRefusal(() => db.write((own) => insert(own, db, 'inner')))
          await insert(tx, db, 'outer')
        }),
      ),
    'a merge in a write': () =>
      db.write(async (tx) => {
        await checkRefusal(() => db.runBulk((_staging, merge) => merge((own) => insert(own, db, 'inner'))))
        await insert(tx, db, 'outer')
      }),
  }
  for (const [what, run] of Object.entries(insideOut)) {
    const before = await listNames(db)
    await run()
    t.same((await listNames(db)).slice(before.length), ['outer'], what)
  }
})

onEach('classifyFailure names the kind of a failed statement', async (t, dialect) => {
  const db = await openMigrated(t, dialect)
  const now = new Date().toISOString()
  await db.write(async (tx) => {
    await tx.insert(db.tables.categories).values({ name: 'used', slug: 'used', created_at: now, updated_at: now })
    await insert(tx, db, 'a', { sku: 'taken', category: 1 })
  })
  const kinds: [what: string, expected: string | undefined, work: (tx: Queries) => Promise<unknown>][] = [
    ['a value that is taken', 'unique', (tx) => insert(tx, db, 'b', { sku: 'taken' })],
    [
      'a value that is taken among roots',
      'unique',
      async (tx) => tx.insert(db.tables.categories).values({ name: 'used', slug: 'x', created_at: now, updated_at: now }),
    ],
    ['a reference to nothing', 'reference', (tx) => insert(tx, db, 'b', { category: 2 })],
    ['a delete of a referenced row', 'reference', async (tx) => tx.run(sql`delete from categories where id = 1`)],
    ['a value that is missing', undefined, async (tx) => tx.run(sql`insert into products (price) values (1)`)],
    ['a table that is not there', undefined, async (tx) => tx.run(sql`select * from nowhere`)],
    ['an error that is not the database’s', undefined, () => Promise.reject(new Error('constructor'))],
  ]
  for (const [what, expected, work] of kinds) {
    const error = await db.write(work).then(
      () => t.fail(`${what} went through`),
      (error) => error,
    )
    t.equal(db.classifyFailure(error), expected, what)
  }
})

onEach('runBulk stages in temporary tables of its connection and merges in one transaction', async (t, dialect) => {
  const db = await openMigrated(t, dialect)
  const now = new Date().toISOString()
  const stamps = [sql.param(now, db.tables.products.created_at), sql.param(now, db.tables.products.updated_at)]
  // More rounds than connections, so that a leaked connection would be missed.
  for (let round = 0; round < 15; round++) {
    const before = (await listNames(db)).length
    const result = await db.runBulk(async (staging, merge) => {
      await staging.run(sql`create temporary table staged (name text)`)
      await staging.run(sql`insert into staged values ('a'), ('b')`)
      await db.write((tx) => insert(tx, db, 'meanwhile'))
      t.equal((await listNames(db)).length, before + 1, 'others can write during staging')
      const failed = merge(async (tx) => {
        await tx.run(sql`delete from products`)
        throw new Error('changed its mind')
      })
      await t.rejects(failed, /changed its mind/)
      await merge((tx) =>
        tx.run(sql`insert into products (name, price, created_at, updated_at) select name, 1, ${sql.join(stamps, sql`, `)} from staged`),
      )
      return 'given'
    })
    t.equal(result, 'given')
    t.equal((await listNames(db)).length, before + 3)
    await t.rejects(async () => db.read.all(sql`select * from staged`), 'the temporary table is gone')
    const failed = db.runBulk(async () => {
      throw new Error('bad line')
    })
    await t.rejects(failed, /bad line/)
  }
})

onEach('close waits for the running write', async (t, dialect) => {
  const url = await dialect.create(t)
  const db = await open(url, { served: SERVED })
  await db.migrate()
  const work = Promise.withResolvers<void>()
  const started = Promise.withResolvers<void>()
  const events: string[] = []
  const write = db
    .write(async (tx) => {
      await insert(tx, db, 'a')
      started.resolve()
      await work.promise
      await insert(tx, db, 'b')
    })
    .then(() => events.push('written'))
  await started.promise
  const closed = db.close().then(() => events.push('closed'))
  await setTimeout(5)
  t.same(events, [])
  work.resolve()
  await Promise.all([write, closed])
  t.same(events, ['written', 'closed'])
  const again = await open(url, { served: SERVED })
  t.teardown(() => again.close())
  t.same(await listNames(again), ['a', 'b'])
})

// A separate process, so that this one can continue while the lock is held.
const HOLD = `
  const db = new (require('better-sqlite3'))(process.argv[1])
  db.exec('begin immediate')
  process.send('locked')
  process.once('message', () => {
    db.exec('rollback')
    process.disconnect()
  })`

/** Starts a program that takes the write lock. Returns a function that releases it. */
async function lock(t: Test, url: string): Promise<() => Promise<unknown>> {
  const child = spawn(process.execPath, ['--eval', HOLD, url.slice('file:'.length)], {
    cwd: ROOT,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  t.teardown(() => child.kill())
  await once(child, 'message')
  return () => {
    child.send('let go')
    return once(child, 'exit')
  }
}

on('sqlite', 'every writing connection has the pragmas for durability', async (t, dialect) => {
  const db = await openMigrated(t, dialect)
  const pragmas = async (tx: Queries) => {
    const names = ['journal_mode', 'synchronous', 'foreign_keys', 'busy_timeout']
    const values = await Promise.all(names.map(async (name) => Object.values((await tx.all<object>(sql.raw(`pragma ${name}`)))[0] ?? {})))
    return Object.fromEntries(names.map((name, index) => [name, values[index]?.[0]]))
  }
  // 1 is NORMAL: WalSync waits for the disk. 2 is FULL. A busy timeout would block the event loop.
  const expected = { journal_mode: 'wal', synchronous: 1, foreign_keys: 1, busy_timeout: 0 }
  const bulk = { ...expected, synchronous: 2 }
  t.same(await db.write(pragmas), expected, 'write')
  t.same(await db.runBulk(pragmas), bulk, 'bulk')
  t.same(await db.runBulk((_staging, merge) => merge(pragmas)), bulk, 'merge')
  await db.migrate()
  t.same(await db.write(pragmas), expected, 'write, after a migration')
})

on('sqlite', 'while another program locks the file, writes are refused and reads answered', async (t, dialect) => {
  const app = await build(t, dialect)
  const { db } = app
  const release = await lock(t, app.config.DATABASE_URL)
  const start = performance.now()
  const waits: number[] = []
  const noteRefusal = () => void waits.push(performance.now() - start)
  const merging = db
    .runBulk((_staging, merge) => merge((tx) => insert(tx, db, 'a')))
    .then(() => 'merged')
    .catch((error) => db.classifyFailure(error))
  const writing = Promise.all(Array.from({ length: 3 }, () => ask(app, 'POST', '/api/products/', PRODUCT).finally(noteRefusal)))
  const statuses: number[] = []
  while (waits.length === 0) {
    statuses.push((await get(app, '/api/products/')).status)
    await setTimeout(20)
  }
  for (const { status, headers, body } of await writing) {
    t.match({ status, body }, { status: 503, body: { code: 'database-busy' } })
    t.match(headers, { 'retry-after': /^\d+$/, 'content-type': /problem\+json/ })
  }
  const [first = 0, last = 0] = [Math.min(...waits), Math.max(...waits)]
  t.ok(first > 4_000, `they wait before the refusal: ${first} ms`)
  t.ok(last < 2 * first, `they wait concurrently: ${first} to ${last} ms`)
  t.ok(statuses.length > 3 && statuses.every((status) => status === 200), `${statuses.length} reads were answered meanwhile`)
  await release()
  t.equal(await merging, 'merged', 'a merge waits longer')
  t.equal((await ask(app, 'POST', '/api/products/', PRODUCT)).status, 201, 'writes are accepted after the release')
})

on('sqlite', 'a write succeeds if the other program releases its lock in time', async (t, dialect) => {
  const app = await build(t, dialect)
  const release = await lock(t, app.config.DATABASE_URL)
  const writing = ask(app, 'POST', '/api/products/', PRODUCT)
  t.equal((await get(app, '/api/products/')).body.count, 0)
  await release()
  t.equal((await writing).status, 201)
  t.equal((await get(app, '/api/products/')).body.count, 1)
})

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await setTimeout(5)
}

const OTHERS = 'from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()'

/** Ends all other connections, like an administrator or a restart of the server. */
async function terminate(query: Query): Promise<void> {
  const ended = await query(`select pid, pg_terminate_backend(pid) ${OTHERS}`)
  const those = [0, ...ended.map(({ pid }) => pid)].join()
  // Waits for these connections only, since the listener for changes may have reconnected.
  await until(async () => (await query(`select 1 ${OTHERS} and pid in (${those})`)).length === 0)
}

on('pg', 'a database without Unicode is refused with the command that creates one', async (t, dialect) => {
  const url = await dialect.create(t)
  const query = await connect(t, url)
  for (const options of ["encoding 'UTF8' locale 'C'", "encoding 'SQL_ASCII' locale 'C'", "encoding 'LATIN1' locale 'C'"]) {
    const name = `${new URL(url).pathname.slice(1)}_c`
    await query(`create database ${name} template template0 ${options}`)
    const target = new URL(url)
    target.pathname = name
    const db = await open(target.href, { served: SERVED })
    const error: Error = await db.migrate().then(
      () => t.fail(`${options} was accepted`),
      (error) => error,
    )
    await db.close()
    t.equal(error.constructor.name, 'DatabaseUnusable', options)
    t.match(error.message, /create database \S+ template template0 encoding 'UTF8' locale 'C\.UTF-8'/, options)
    await query(`drop database ${name} with (force)`)
  }
})

on('pg', 'settings of the database by its owner have no effect', async (t, dialect) => {
  const url = await dialect.create(t)
  const query = await connect(t, url)
  const name = new URL(url).pathname.slice(1)
  for (const setting of ["timezone = 'Asia/Kolkata'", "datestyle = 'German, DMY'", "plan_cache_mode = 'force_generic_plan'"])
    await query(`alter database ${name} set ${setting}`)
  const db = await open(url, { served: SERVED })
  t.teardown(() => db.close())
  await db.migrate()
  const now = '2026-03-02T01:00:00.123Z'
  await db.write((tx) => tx.insert(db.tables.products).values({ name: 'a', price: '1.00', created_at: now, updated_at: now }))
  const [row] = await db.read.select({ created_at: db.tables.products.created_at }).from(db.tables.products)
  t.equal(row?.created_at, now)
  t.same(await db.read.all(sql`show plan_cache_mode`), [{ plan_cache_mode: 'force_custom_plan' }])
})

on('pg', 'one of two deadlocked writes runs again, and both are committed', async (t, dialect) => {
  const db = await openMigrated(t, dialect)
  await db.write((tx) => insert(tx, db, 'a'))
  await db.write((tx) => insert(tx, db, 'b'))
  const locked = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const writes: Promise<void>[] = []
  let runs = 0
  const write = (own: number, other: number) =>
    db.write(async (tx) => {
      // Otherwise the retried write could lock its row again before the waiting one wakes up.
      if (++runs > 2) await writes[other - 1]
      await tx.run(sql`update products set stock = stock + 1 where id = ${own}`)
      locked[own - 1]?.resolve()
      await locked[other - 1]?.promise
      await tx.run(sql`update products set stock = stock + 1 where id = ${other}`)
    })
  writes.push(write(1, 2), write(2, 1))
  await Promise.all(writes)
  t.equal(runs, 3)
  t.same(await db.read.all(sql`select stock::int from products`), [{ stock: 2 }, { stock: 2 }])
})

/** Starts a proxy to the server that can be cut and mended. */
async function startProxy(t: Test, url: string) {
  const target = new URL(url)
  const sockets = new Set<Socket>()
  const server = createServer((near) => {
    const far = dial(Number(target.port || 5432), target.hostname)
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        near.destroy()
        far.destroy()
      })
    }
    near.pipe(far).pipe(near)
  })
  const mend = async (port: number) => {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
  }
  const disconnect = async () => {
    const closed = once(server, 'close')
    server.close()
    for (const socket of sockets) socket.destroy()
    await closed
  }
  await mend(0)
  t.teardown(() => server.listening && disconnect())
  const { port } = server.address() as AddressInfo
  const through = new URL(url)
  through.host = `127.0.0.1:${port}`
  return { url: through.href, disconnect, mend: () => mend(port) }
}

on('pg', 'a flood of different statements succeeds and leaves few of them prepared', async (t, dialect) => {
  const db = await openMigrated(t, dialect)
  const prepared = sql`select count(*) from pg_prepared_statements`
  const run = async (number: number) => (await db.readRows(sql`select ${sql.raw(String(number))}`, []))[0]?.[0]
  // Sequential statements all run on the same connection.
  for (let number = 0; number < 500; number++) if ((await run(number)) !== number) t.fail(`statement ${number}`)
  const [[count] = []] = await db.readRows(prepared, [])
  t.ok(Number(count) > 150 && Number(count) <= 220, `${count} statements`)
  t.equal(await run(3), 3, 'a freed statement is prepared again')
})

on('pg', 'requests are refused while the server is unreachable, and answered after its return', async (t, dialect) => {
  const { url, disconnect, mend } = await startProxy(t, await dialect.create(t))
  const app = await build(t, dialect, { env: { DATABASE_URL: url } })
  t.equal((await ask(app, 'POST', '/api/products/', PRODUCT)).status, 201)
  await disconnect()
  for (const [method, path, body] of [
    ['GET', '/api/products/', undefined],
    ['GET', '/api/products/1/', undefined],
    ['POST', '/api/products/', PRODUCT],
    ['DELETE', '/api/products/1/', undefined],
  ] as const) {
    const { status, headers, body: problem } = await ask(app, method, path, body)
    t.match(
      { status, code: problem?.code, headers },
      { status: 503, code: 'database-unavailable', headers: { 'retry-after': '1' } },
      `${method} ${path}`,
    )
  }
  t.match(await get(app, '/readyz'), { status: 503, body: { code: 'not-ready' } })
  t.equal((await get(app, '/livez')).status, 200)
  await mend()
  t.match(await get(app, '/api/products/'), { status: 200, body: { count: 1 } })
  t.equal((await ask(app, 'POST', '/api/products/', PRODUCT)).status, 201)
  t.equal((await get(app, '/readyz')).status, 200)
})

on('pg', 'requests succeed after the server has ended idle connections', async (t, dialect) => {
  const app = await build(t, dialect)
  const query = await connect(t, app.config.DATABASE_URL)
  for (let round = 0; round < 15; round++) {
    await Promise.all([get(app, '/api/products/'), get(app, '/api/products/'), ask(app, 'POST', '/api/products/', PRODUCT)])
    await terminate(query)
    t.equal((await get(app, '/api/products/')).status, 200)
    t.equal((await ask(app, 'POST', '/api/products/', PRODUCT)).status, 201)
  }
})

on('pg', 'connections ended under load never cause a 500', async (t, dialect) => {
  const app = await build(t, dialect)
  const query = await connect(t, app.config.DATABASE_URL)
  const statuses = new Map<number, number>()
  const countStatus = (status: number) => statuses.set(status, (statuses.get(status) ?? 0) + 1)
  let stop = false
  const client = async (request: () => Promise<Answer>) => {
    while (!stop) countStatus((await request()).status)
  }
  const write = () => ask(app, 'POST', '/api/products/', PRODUCT)
  const clients = Array.from({ length: 12 }, (_, number) => client(number % 2 ? () => get(app, '/api/products/') : write))
  for (let round = 0; round < 40; round++) {
    await query(`select pg_terminate_backend(pid) ${OTHERS}`)
    await setTimeout(5)
  }
  stop = true
  await Promise.all(clients)
  t.same(
    [...statuses.keys()].filter((status) => ![200, 201, 503].includes(status)),
    [],
    JSON.stringify([...statuses]),
  )
  for (let round = 0; round < 12; round++) t.equal((await write()).status, 201)
  const [row] = await query(
    `select sum(row_count) as counted, (select count(*) from products) as real from stockroom_counters where name = 'products'`,
  )
  t.equal(row?.counted, row?.real)
})

on('pg', 'a write whose connection ends answers 503 and leaves nothing', async (t, dialect) => {
  const app = await build(t, dialect)
  const [query, holder] = [await connect(t, app.config.DATABASE_URL), await connect(t, app.config.DATABASE_URL)]
  await holder('begin')
  await holder('lock table products in exclusive mode')
  const writing = ask(app, 'POST', '/api/products/', PRODUCT)
  const waiting = "from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
  await until(async () => (await query(`select 1 ${waiting}`)).length > 0)
  await query(`select pg_terminate_backend(pid) ${waiting}`)
  t.match(await writing, { status: 503, body: { code: 'database-unavailable' } })
  await holder('commit')
  t.match(await get(app, '/api/products/'), { status: 200, body: { count: 0 } })
  t.equal((await ask(app, 'POST', '/api/products/', PRODUCT)).status, 201)
})

on('pg', 'a connection that ends between two statements fails its work but not the process', async (t, dialect) => {
  const url = await dialect.create(t)
  const db = await open(url, { served: SERVED })
  t.teardown(() => db.close())
  await db.migrate()
  const query = await connect(t, url)
  const works: Record<string, () => Promise<unknown>> = {
    'a write': () =>
      db.write(async (tx) => {
        await insert(tx, db, 'a')
        await terminate(query)
        await setTimeout(5)
        await insert(tx, db, 'b')
      }),
    'a staging': () =>
      db.runBulk(async (staging) => {
        await staging.run(sql`create temporary table staged (name text)`)
        await terminate(query)
        await setTimeout(5)
        await staging.run(sql`insert into staged values ('a')`)
      }),
  }
  for (const [what, work] of Object.entries(works)) {
    const error = await work().then(
      () => t.fail(`${what} went through`),
      (error) => error,
    )
    t.equal(db.classifyFailure(error), 'unavailable', what)
    t.same(await listNames(db), [])
  }
})

on('pg', 'a connection whose rollback fails is not used again', async (t, dialect) => {
  const pool = createPool(await dialect.create(t), { max: 1, wait: 5_000, statementTimeout: 60_000 })
  t.teardown(() => pool.end())
  const failing = runTransaction(pool, 'begin', async (client) => {
    const query = client.query.bind(client)
    // The server can cancel a rollback. The transaction is still open then.
    client.query = ((text: string) => (text === 'rollback' ? Promise.reject(new Error('cancelled')) : query(text))) as typeof client.query
    await client.query('select 1 / 0')
  })
  await t.rejects(failing, /division by zero/)
  t.same((await pool.query('select 1 as one')).rows, [{ one: 1 }])
})
