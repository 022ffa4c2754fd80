// Databases filled with the generated catalogue. Runs reuse them as long as the schema stays the same.
import { createHash } from 'node:crypto'
import { constants, copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Driver from 'better-sqlite3'
import pg from 'pg'
import { fold } from '../drizzle/fold.ts'
import { buildApp } from '../src/app.ts'
import { loadConfig } from '../src/config.ts'
import { categories, GENERATOR, generateProducts, searchWords } from './catalogue.ts'

export type Engine = 'sqlite' | 'pg'

/** A temporary copy of a catalogue. */
export interface Copy {
  url: string
  /** Runs SQL as another program would. */
  run(...statements: string[]): Promise<void>
  remove(): Promise<void>
}

/** A database filled with the catalogue. */
export interface Catalogue {
  url: string
  copy(name: string): Promise<Copy>
}

interface Options {
  rows: number
  /** Fills the database anew, even if it exists. */
  fresh: boolean
  log: (line: string) => void
}

export const openCatalogue: Record<Engine, (options: Options) => Promise<Catalogue>> = { sqlite: sqliteCatalogue, pg: pgCatalogue }

/** Creates the schema: the application migrates when it starts. */
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

type TableRow = Record<string, unknown> & { id: number }

/** Rows by table. Tables come after those that they refer to. */
const contents: Record<string, (rows: number) => Iterable<TableRow>> = {
  categories: () => categories.map((category) => ({ ...category })),
  products: generateProducts as (rows: number) => Generator<never>,
}

const foldColumn = (row: TableRow, column: string) => (typeof row[column] === 'string' ? fold(row[column]) : row[column])

// SQLite

const FOLDER = join(tmpdir(), 'stockroom-bench')

async function sqliteCatalogue({ rows, fresh, log }: Options): Promise<Catalogue> {
  mkdirSync(FOLDER, { recursive: true })
  const folder = temporaryFolder('making')
  try {
    const empty = join(folder, 'catalogue.db')
    await migrate(`file:${empty}`)
    const prefix = `catalogue-${rows}-`
    const path = join(FOLDER, `${prefix}${readSchema(empty)}.db`)
    if (fresh || !existsSync(path)) {
      log(`making ${path}`)
      fillFile(empty, rows, log)
      // Remove databases of another version: each takes almost a gigabyte for a million rows.
      for (const file of readdirSync(FOLDER)) if (file.startsWith(prefix)) rmSync(join(FOLDER, file), { force: true })
      renameSync(empty, path)
    }
    return { url: `file:${path}`, copy: async (name) => copyFile(path, name) }
  } finally {
    removeFolder(folder)
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
  // A clone shares blocks if the file system can.
  copyFileSync(path, copy, constants.COPYFILE_FICLONE)
  const run = async (...statements: string[]) => {
    const file = new Driver(copy)
    for (const statement of statements) file.exec(statement)
    file.close()
  }
  return { url: `file:${copy}`, run, remove: async () => removeFolder(folder) }
}

function readSchema(path: string): string {
  const file = new Driver(path, { readonly: true })
  const steps = file.prepare(STEPS).all() as Step[]
  file.close()
  return fingerprint(steps)
}

function fillFile(path: string, rows: number, log: Options['log']): void {
  const file = new Driver(path)
  // Durability is not needed: a failed run discards the file.
  file.pragma('journal_mode = off')
  file.pragma('synchronous = off')
  file.pragma('cache_size = -1000000')
  file.exec('begin exclusive')
  for (const [table, generateRows] of Object.entries(contents)) {
    const search = `${table}_search`
    // Filling the search index row by row, by triggers, takes five times as long as a rebuild.
    const triggers = file.prepare("select name, sql from sqlite_master where type = 'trigger' and tbl_name = ?").all(search) as Trigger[]
    for (const { name } of triggers) file.exec(`drop trigger ${name}`)
    fillTable(file, table, generateRows(rows), log)
    log(`${table}: search index`)
    file.exec(`insert into ${search}_fts (${search}_fts) values ('rebuild')`)
    for (const { sql } of triggers) file.exec(sql)
  }
  file.exec('commit')
  checkSearch(file)
  file.pragma('journal_mode = wal')
  file.close()
}

interface Trigger {
  name: string
  sql: string
}

const PROGRESS = 250_000

function fillTable(file: Driver.Database, table: string, rows: Iterable<TableRow>, log: Options['log']): void {
  const insertInto = (name: string) => {
    const columns = (file.pragma(`table_info(${name})`) as { name: string }[]).map((column) => column.name)
    return { columns, insert: file.prepare(`insert into ${name} (${columns}) values (${columns.map(() => '?')})`) }
  }
  const main = insertInto(table)
  const search = insertInto(`${table}_search`)
  let done = 0
  for (const row of rows) {
    main.insert.run(main.columns.map((column) => row[column]))
    search.insert.run(search.columns.map((column) => foldColumn(row, column)))
    done++
    if (done % PROGRESS === 0) log(`${table}: ${done.toLocaleString('en')}`)
  }
}

/** Throws unless the rebuilt search index equals what the triggers would have written. */
function checkSearch(file: Driver.Database): void {
  const [word] = searchWords
  const count = (query: string, text: unknown) => file.prepare(query).pluck().get(text)
  const indexed = count('select count(*) from products_search_fts where products_search_fts match ?', `"${word}"`)
  const present = count(`select count(*) from products_search where instr(name || ' ' || description || ' ' || brand, ?) > 0`, word)
  if (indexed !== present) throw new Error(`The search index has ${indexed} products with "${word}", the catalogue has ${present}.`)
}

// PostgreSQL

/** Server on which the benchmark creates databases. */
const SERVER = process.env.BENCH_DATABASE_URL ?? 'postgres://postgres@127.0.0.1:5432'

const BATCH = 5_000

const buildUrl = (database: string) => {
  const url = new URL(SERVER)
  url.pathname = `/${database}`
  return url.href
}

async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

const runOnDatabase = (name: string, statements: string[]) =>
  withClient(buildUrl(name), async (client) => {
    for (const statement of statements) await client.query(statement)
  })

const runOnServer = (...statements: string[]) => runOnDatabase('postgres', statements)

/** Throws unless PostgreSQL answers. */
export const checkServer = () => runOnServer('select 1')

async function pgCatalogue({ rows, fresh, log }: Options): Promise<Catalogue> {
  const name = `bench_${rows}`
  const url = buildUrl(name)
  if (fresh || !(await isCurrent(name))) {
    log(`making ${name} on PostgreSQL`)
    await runOnServer(`drop database if exists ${name}`, `create database ${name} template template0 encoding 'UTF8' locale 'C.UTF-8'`)
    await migrate(url)
    await withClient(url, (client) => fillDatabase(client, name, rows, log))
  }
  return { url, copy: (suffix) => copyDatabase(name, suffix) }
}

/** Whether a database was filled completely with the current schema. Its comment holds the fingerprint of the schema. */
async function isCurrent(name: string): Promise<boolean> {
  const comment = await withClient(buildUrl('postgres'), (client) =>
    client.query<{ comment: string | null }>(
      "select shobj_description(oid, 'pg_database') as comment from pg_database where datname = $1",
      [name],
    ),
  )
  const fingerprinted = comment.rows[0]?.comment
  if (!fingerprinted) return false
  await migrate(buildUrl(name))
  return fingerprinted === (await withClient(buildUrl(name), readSchemaOnServer))
}

const readSchemaOnServer = async (client: pg.Client) => fingerprint((await client.query<Step>(STEPS)).rows)

async function copyDatabase(from: string, suffix: string): Promise<Copy> {
  const name = `${from}_${suffix}`
  await runOnServer(`drop database if exists ${name} with (force)`, `create database ${name} template ${from}`)
  return {
    url: buildUrl(name),
    run: (...statements) => runOnDatabase(name, statements),
    remove: () => runOnServer(`drop database ${name} with (force)`),
  }
}

async function fillDatabase(client: pg.Client, name: string, rows: number, log: Options['log']): Promise<void> {
  for (const [table, generateRows] of Object.entries(contents)) {
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
    for (const batch of splitBatches(generateRows(rows))) {
      await main.run(batch.map(formatTimes))
      await search.run(batch.map((row) => Object.fromEntries(search.names.map((column) => [column, foldColumn(row, column)]))))
    }
    // Explicit ids leave the sequence at its start.
    await client.query(`select setval(pg_get_serial_sequence('${table}', 'id'), (select max(id) from ${table}))`)
  }
  log('vacuum analyze')
  await client.query('vacuum analyze')
  await client.query(`comment on database ${name} is '${await readSchemaOnServer(client)}'`)
}

const formatTimes = (row: TableRow) => ({
  ...row,
  created_at: new Date(Number(row.created_at)).toISOString(),
  updated_at: new Date(Number(row.updated_at)).toISOString(),
})

function* splitBatches<T>(items: Iterable<T>): Generator<T[]> {
  let batch: T[] = []
  for (const item of items) {
    batch.push(item)
    if (batch.length < BATCH) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}
