// Databases with the generated catalogue in them. They are kept between runs, for as long as the schema is the same.
import { createHash } from 'node:crypto'
import { constants, copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Driver from 'better-sqlite3'
import pg from 'pg'
import { fold } from '../drizzle/fold.ts'
import { buildApp } from '../src/app.ts'
import { loadConfig } from '../src/config.ts'
import { categories, GENERATOR, products, searched } from './catalogue.ts'

export type Engine = 'sqlite' | 'pg'

/** A database of its own that is thrown away. */
export interface Copy {
  url: string
  /** What another program would do to it. */
  run(...statements: string[]): Promise<void>
  remove(): Promise<void>
}

/** A filled database. */
export interface Catalogue {
  url: string
  copy(name: string): Promise<Copy>
}

interface Options {
  rows: number
  /** Made anew, whether there is one or not. */
  fresh: boolean
  log: (line: string) => void
}

export const catalogueOf: Record<Engine, (options: Options) => Promise<Catalogue>> = { sqlite: sqliteCatalogue, pg: pgCatalogue }

/** The application makes its schema when it starts. */
async function migrate(url: string): Promise<void> {
  const app = await buildApp({ config: loadConfig({ LOG_LEVEL: 'silent', DATABASE_URL: url }) })
  await app.ready()
  await app.close()
}

type Step = { kind: string; name: string; hash: string }
const STEPS = 'select kind, name, hash from stockroom_schema order by kind, name'

const fingerprint = (steps: Step[]) =>
  createHash('sha256')
    .update(JSON.stringify([GENERATOR, steps.map(({ kind, name, hash }) => [kind, name, hash])]))
    .digest('hex')
    .slice(0, 12)

type Stored = Record<string, unknown> & { id: number }

/** The tables in the order in which they refer to each other. */
const contents: Record<string, (rows: number) => Iterable<Stored>> = {
  categories: () => categories.map((category) => ({ ...category })),
  products: products as (rows: number) => Generator<never>,
}

const folded = (row: Stored, column: string) => (typeof row[column] === 'string' ? fold(row[column]) : row[column])

// SQLite

const FOLDER = join(tmpdir(), 'stockroom-bench')

async function sqliteCatalogue({ rows, fresh, log }: Options): Promise<Catalogue> {
  mkdirSync(FOLDER, { recursive: true })
  const making = temporaryFolder('making')
  try {
    const empty = join(making, 'catalogue.db')
    await migrate(`file:${empty}`)
    const prefix = `catalogue-${rows}-`
    const path = join(FOLDER, `${prefix}${schemaOf(empty)}.db`)
    if (fresh || !existsSync(path)) {
      log(`making ${path}`)
      fillFile(empty, rows, log)
      // Of another version; each takes almost a gigabyte for a million rows.
      for (const file of readdirSync(FOLDER)) if (file.startsWith(prefix)) rmSync(join(FOLDER, file), { force: true })
      renameSync(empty, path)
    }
    return { url: `file:${path}`, copy: async (name) => copyFile(path, name) }
  } finally {
    removeFolder(making)
  }
}

const temporary = new Set<string>()
// An interrupted run leaves no gigabytes behind.
process.on('exit', () => temporary.forEach(removeFolder))

function temporaryFolder(name: string): string {
  const folder = mkdtempSync(join(FOLDER, `${name}-`))
  temporary.add(folder)
  return folder
}

function removeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true })
  temporary.delete(folder)
}

function copyFile(path: string, name: string): Copy {
  const folder = temporaryFolder(name)
  const copy = join(folder, 'catalogue.db')
  // Shares the blocks where the file system can.
  copyFileSync(path, copy, constants.COPYFILE_FICLONE)
  const run = async (...statements: string[]) => {
    const file = new Driver(copy)
    for (const statement of statements) file.exec(statement)
    file.close()
  }
  return { url: `file:${copy}`, run, remove: async () => removeFolder(folder) }
}

function schemaOf(path: string): string {
  const file = new Driver(path, { readonly: true })
  const steps = file.prepare(STEPS).all() as Step[]
  file.close()
  return fingerprint(steps)
}

function fillFile(path: string, rows: number, log: Options['log']): void {
  const file = new Driver(path)
  // If it fails the file is thrown away.
  file.pragma('journal_mode = off')
  file.pragma('synchronous = off')
  file.pragma('cache_size = -1000000')
  file.exec('begin exclusive')
  for (const [table, rowsOf] of Object.entries(contents)) {
    const search = `${table}_search`
    // Row by row the search index takes five times as long as all at once.
    const triggers = file.prepare("select name, sql from sqlite_master where type = 'trigger' and tbl_name = ?").all(search) as Made[]
    for (const { name } of triggers) file.exec(`drop trigger ${name}`)
    fillTable(file, table, rowsOf(rows), log)
    log(`${table}: search index`)
    file.exec(`insert into ${search}_fts (${search}_fts) values ('rebuild')`)
    for (const { sql } of triggers) file.exec(sql)
  }
  file.exec('commit')
  checkSearch(file)
  file.pragma('journal_mode = wal')
  file.close()
}

interface Made {
  name: string
  sql: string
}

const PROGRESS = 250_000

function fillTable(file: Driver.Database, table: string, rows: Iterable<Stored>, log: Options['log']): void {
  const insertInto = (name: string) => {
    const columns = (file.pragma(`table_info(${name})`) as { name: string }[]).map((column) => column.name)
    return { columns, insert: file.prepare(`insert into ${name} (${columns}) values (${columns.map(() => '?')})`) }
  }
  const main = insertInto(table)
  const search = insertInto(`${table}_search`)
  let done = 0
  for (const row of rows) {
    main.insert.run(main.columns.map((column) => row[column]))
    search.insert.run(search.columns.map((column) => folded(row, column)))
    done++
    if (done % PROGRESS === 0) log(`${table}: ${done.toLocaleString('en')}`)
  }
}

/** What was done around the triggers must have come to the same. */
function checkSearch(file: Driver.Database): void {
  const [word] = searched
  const count = (query: string, text: unknown) => file.prepare(query).pluck().get(text)
  const indexed = count('select count(*) from products_search_fts where products_search_fts match ?', `"${word}"`)
  const present = count(`select count(*) from products_search where instr(name || ' ' || description || ' ' || brand, ?) > 0`, word)
  if (indexed !== present) throw new Error(`the search index has ${indexed} products with "${word}", the catalogue ${present}`)
}

// PostgreSQL

/** Where databases can be made. */
const SERVER = process.env.BENCH_DATABASE_URL ?? 'postgres://postgres@127.0.0.1:5432'

const BATCH = 5_000

const urlOf = (database: string) => {
  const url = new URL(SERVER)
  url.pathname = `/${database}`
  return url.href
}

async function connected<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

const onDatabase = (name: string, statements: string[]) =>
  connected(urlOf(name), async (client) => {
    for (const statement of statements) await client.query(statement)
  })

const onServer = (...statements: string[]) => onDatabase('postgres', statements)

/** Throws where no PostgreSQL answers. */
export const checkServer = () => onServer('select 1')

async function pgCatalogue({ rows, fresh, log }: Options): Promise<Catalogue> {
  const name = `bench_${rows}`
  const url = urlOf(name)
  if (fresh || !(await isCurrent(name))) {
    log(`making ${name} on PostgreSQL`)
    await onServer(`drop database if exists ${name}`, `create database ${name} template template0 encoding 'UTF8' locale 'C.UTF-8'`)
    await migrate(url)
    await connected(url, (client) => fillDatabase(client, name, rows, log))
  }
  return { url, copy: (suffix) => copyDatabase(name, suffix) }
}

/** The comment of a database that was filled to the end says by which schema. */
async function isCurrent(name: string): Promise<boolean> {
  const comment = await connected(urlOf('postgres'), (client) =>
    client.query<{ comment: string | null }>(
      "select shobj_description(oid, 'pg_database') as comment from pg_database where datname = $1",
      [name],
    ),
  )
  const made = comment.rows[0]?.comment
  if (!made) return false
  await migrate(urlOf(name))
  return made === (await connected(urlOf(name), schemaOn))
}

const schemaOn = async (client: pg.Client) => fingerprint((await client.query<Step>(STEPS)).rows)

async function copyDatabase(from: string, suffix: string): Promise<Copy> {
  const name = `${from}_${suffix}`
  await onServer(`drop database if exists ${name} with (force)`, `create database ${name} template ${from}`)
  return {
    url: urlOf(name),
    run: (...statements) => onDatabase(name, statements),
    remove: () => onServer(`drop database ${name} with (force)`),
  }
}

async function fillDatabase(client: pg.Client, name: string, rows: number, log: Options['log']): Promise<void> {
  for (const [table, rowsOf] of Object.entries(contents)) {
    const insertInto = async (into: string) => {
      const { rows: columns } = await client.query<{ name: string }>(
        "select column_name as name from information_schema.columns where table_name = $1 and is_generated = 'NEVER' order by ordinal_position",
        [into],
      )
      const names = columns.map((column) => column.name)
      const query = `insert into ${into} (${names}) select ${names} from jsonb_populate_recordset(null::${into}, $1)`
      return { names, run: (batch: object[]) => client.query(query, [JSON.stringify(batch)]) }
    }
    const main = await insertInto(table)
    const search = await insertInto(`${table}_search`)
    for (const batch of batches(rowsOf(rows))) {
      await main.run(batch.map(withTimes))
      await search.run(batch.map((row) => Object.fromEntries(search.names.map((column) => [column, folded(row, column)]))))
    }
    // The ids were given by hand.
    await client.query(`select setval(pg_get_serial_sequence('${table}', 'id'), (select max(id) from ${table}))`)
  }
  log('vacuum analyze')
  await client.query('vacuum analyze')
  await client.query(`comment on database ${name} is '${await schemaOn(client)}'`)
}

const withTimes = (row: Stored) => ({
  ...row,
  created_at: new Date(Number(row.created_at)).toISOString(),
  updated_at: new Date(Number(row.updated_at)).toISOString(),
})

function* batches<T>(items: Iterable<T>): Generator<T[]> {
  let batch: T[] = []
  for (const item of items) {
    batch.push(item)
    if (batch.length < BATCH) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}
