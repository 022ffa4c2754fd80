// The databases on which the tests run, and how to create one.
import { createHash, randomUUID } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { copyFile, glob, mkdtemp, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Sqlite from 'better-sqlite3'
import pg from 'pg'
import type { Test } from 'tap'

type T = Pick<Test, 'teardown'>

export interface Dialect {
  name: string
  /** Why tests on this database cannot run here; false if they can. */
  skip: string | false
  /** Creates an empty database and returns its URL. The database is removed when `t` ends. */
  create(t: T): Promise<string>
  /**
   * Copies the database that `fill` fills, and returns the URL of the copy, which is removed when `t` ends.
   * `fill` runs once for all test processes, and again when a source file changes. It must leave no connection open.
   */
  createFilled(t: T, fill: (url: string) => Promise<unknown>): Promise<string>
}

const POSTGRES = process.env.TEST_DATABASE_URL || 'postgres://postgres@127.0.0.1:5432/postgres'

const ROOT = fileURLToPath(new URL('../', import.meta.url))
const digest = (...parts: (string | Buffer)[]) => createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 12)

/** Prefix of this checkout's templates. A template of changed sources replaces the previous one. */
const CHECKOUT = `stockroom_template_${digest(ROOT)}_`

/** Names the template after a digest of every file that can affect its contents. */
function templateName(): string {
  template ??= nameTemplate()
  return template
}
let template: string | undefined

function nameTemplate(): string {
  const sources = ['drizzle', 'src', 'plugins'].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name))
      .sort(),
  )
  return CHECKOUT + digest(...[...sources, join(ROOT, 'package-lock.json')].map((path) => readFileSync(path)))
}

async function query(sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: POSTGRES, connectionTimeoutMillis: 2_000 })
  await client.connect()
  try {
    await client.query(sql)
  } finally {
    await client.end()
  }
}

/** Returns why PostgreSQL cannot be used. With CI=true it returns false: tests then fail instead of being skipped. */
async function unreachable(): Promise<string | false> {
  if (process.env.CI === 'true') return false
  return query('select 1').then(
    () => false as const,
    (error: Error) => `no PostgreSQL answers (${error.message}): set TEST_DATABASE_URL`,
  )
}

export const DIALECTS: Dialect[] = [
  {
    name: 'sqlite',
    skip: false,
    async create(t) {
      const folder = await mkdtemp(join(tmpdir(), 'stockroom-'))
      t.teardown(() => rm(folder, { recursive: true, force: true }))
      return `file:${join(folder, 'test.db')}`
    },
    async createFilled(t, fill) {
      const template = join(tmpdir(), `${templateName()}.db`)
      if (!existsSync(template)) await makeFile(template, fill)
      const url = await this.create(t)
      await copyFile(template, url.slice('file:'.length))
      return url
    },
  },
  {
    name: 'pg',
    skip: await unreachable(),
    async create(t) {
      const name = `stockroom_${randomUUID().replaceAll('-', '')}`
      await query(`create database ${name} template template0 encoding 'UTF8' locale 'C.UTF-8'`)
      t.teardown(() => query(`drop database ${name} with (force)`))
      return urlFor(name)
    },
    async createFilled(t, fill) {
      const template = templateName()
      const name = `stockroom_${randomUUID().replaceAll('-', '')}`
      const copy = () => query(`create database ${name} template ${template}`)
      await copy().catch(async (error: Error & { code?: string }) => {
        if (error.code !== NO_SUCH_DATABASE) throw error
        await makeDatabase(template, fill)
        await copy()
      })
      t.teardown(() => query(`drop database ${name} with (force)`))
      return urlFor(name)
    },
  },
]

/** Returns a dialect that "creates" the existing database at `url`. */
export function existing(dialect: Pick<Dialect, 'name' | 'skip'>, url: string): Dialect {
  const create = async () => url
  return { ...dialect, create, createFilled: create }
}

const NO_SUCH_DATABASE = '3D000'
/** Any number that no other program locks in the cluster's default database. */
const TEMPLATE_LOCK = 7_625_002

function urlFor(database: string): string {
  const url = new URL(POSTGRES)
  url.pathname = database
  return url.href
}

/** Fills a file beside the template and renames it, so that other processes never see a partial template. */
async function makeFile(template: string, fill: (url: string) => Promise<unknown>): Promise<void> {
  const current = template.slice(0, -'.db'.length)
  // The prefix excludes temporary folders of the same template, which another process may be filling.
  for await (const stale of glob(join(tmpdir(), `${CHECKOUT}*`)))
    if (!stale.startsWith(current)) await rm(stale, { recursive: true, force: true })
  const folder = await mkdtemp(`${current}_`)
  const file = join(folder, 'template.db')
  await fill(`file:${file}`)
  await rename(file, template)
  await rm(folder, { recursive: true })
}

async function makeDatabase(template: string, fill: (url: string) => Promise<unknown>): Promise<void> {
  const client = new pg.Client({ connectionString: POSTGRES })
  await client.connect()
  try {
    await client.query(`select pg_advisory_lock(${TEMPLATE_LOCK})`)
    const { rows } = await client.query('select datname from pg_database where starts_with(datname, $1)', [CHECKOUT])
    if (rows.some(({ datname }) => datname === template)) return
    for (const { datname } of rows) await client.query(`drop database ${datname} with (force)`)
    const unfinished = `${template}_unfinished`
    await client.query(`create database ${unfinished} template template0 encoding 'UTF8' locale 'C.UTF-8'`)
    await fill(urlFor(unfinished))
    await client.query(`alter database ${unfinished} rename to ${template}`)
  } finally {
    await client.end()
  }
}

/** Runs a statement and returns its rows. */
export type Query = (text: string) => Promise<Record<string, unknown>[]>

/** Opens another program's connection to the database. */
export async function connect(t: T, url: string): Promise<Query> {
  if (url.startsWith('file:')) {
    const client = new Sqlite(url.slice('file:'.length))
    t.teardown(() => client.close())
    return async (text) => {
      const statement = client.prepare<[], Record<string, unknown>>(text)
      if (statement.reader) return statement.all()
      statement.run()
      return []
    }
  }
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  t.teardown(() => client.end())
  return async (text) => (await client.query(text)).rows
}
