// Every row of every database test runs on both databases.
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import pg from 'pg'
import type { Test } from 'tap'

type T = Pick<Test, 'teardown'>

export interface Dialect {
  name: string
  /** Why its tests cannot run here; false where they can. */
  skip: string | false
  /** The URL of a new and empty database, removed when `t` ends. */
  create(t: T): Promise<string>
}

const POSTGRES = process.env.TEST_DATABASE_URL || 'postgres://postgres@127.0.0.1:5432/postgres'

async function query(sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: POSTGRES, connectionTimeoutMillis: 2_000 })
  await client.connect()
  try {
    await client.query(sql)
  } finally {
    await client.end()
  }
}

/** With CI=true a server that is not there is a failure: nothing is skipped then, and the tests say what they could not reach. */
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
  },
  {
    name: 'pg',
    skip: await unreachable(),
    async create(t) {
      const name = `stockroom_${randomUUID().replaceAll('-', '')}`
      await query(`create database ${name} template template0 encoding 'UTF8' locale 'C.UTF-8'`)
      t.teardown(() => query(`drop database ${name} with (force)`))
      const url = new URL(POSTGRES)
      url.pathname = name
      return url.href
    },
  },
]

/** Runs a statement and gives its rows. */
export type Query = (text: string) => Promise<Record<string, unknown>[]>

/** Another program's connection to the database. */
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
