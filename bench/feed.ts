// Benchmark of the change feed: entries per second by pages of 1,000, beside the same rows read by the driver alone.
import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import Driver from 'better-sqlite3'
import pg from 'pg'
import { buildApp } from '../src/app.ts'
import { issueKey } from '../src/auth/keys.ts'
import { measureLag } from '../src/changelog/read.ts'
import { buildCreateChange, COMMAND_LINE, recordChanges } from '../src/changelog/record.ts'
import { loadConfig } from '../src/config.ts'
import type { App } from '../src/http/routes.ts'
import { products } from '../src/resources/products.ts'
import { generateProducts as generateRows } from './catalogue.ts'
import type { Engine } from './databases.ts'

const ENTRIES = 100_000
const PAGE = 1_000
/** Runs, of which the best counts: other load only ever slows a run down. */
const RUNS = 3

const COLUMNS = 'id, resource, record_id, operation, version, key_id, request_id, at, fields, reason, state'

/** An empty database, with a function that reads rows by the driver alone. */
interface Scratch {
  url: string
  readRaw(after: number): Promise<unknown[][]>
  remove(): Promise<void>
}

export const createScratch: Record<Engine, () => Promise<Scratch>> = {
  sqlite: async () => {
    const folder = mkdtempSync(join(tmpdir(), 'stockroom-feed-'))
    const path = join(folder, 'feed.db')
    const connection = new Driver(path)
    const read = () =>
      connection.prepare<[number], unknown[]>(`select ${COLUMNS} from changes where id > ? order by id limit ${PAGE}`).raw()
    let prepared: ReturnType<typeof read> | undefined
    return {
      url: `file:${path}`,
      readRaw: async (after) => {
        prepared ??= read()
        return prepared.all(after)
      },
      remove: async () => {
        connection.close()
        rmSync(folder, { recursive: true })
      },
    }
  },
  pg: async () => {
    const server = process.env.BENCH_DATABASE_URL || 'postgres://postgres@127.0.0.1:5432/postgres'
    const name = `stockroom_feed_${process.pid}`
    const admin = new pg.Client(server)
    await admin.connect()
    await admin.query(`create database ${name} template template0 encoding 'UTF8' locale 'C.UTF-8'`)
    const url = new URL(server)
    url.pathname = name
    const connection = new pg.Client(url.href)
    await connection.connect()
    const statement = { name: 'raw', rowMode: 'array', text: `select ${COLUMNS} from changes where id > $1 order by id limit ${PAGE}` }
    return {
      url: url.href,
      readRaw: async (after) => (await connection.query<unknown[]>({ ...statement, rowMode: 'array', values: [after] })).rows,
      remove: async () => {
        await connection.end()
        await admin.query(`drop database ${name} with (force)`)
        await admin.end()
      },
    }
  },
}

async function fill(app: App): Promise<void> {
  await app.db.write((tx) => tx.delete(app.db.tables.changes))
  const at = '2026-01-31T12:00:00.000Z'
  const changes = [...generateRows(ENTRIES)].map((row, index) =>
    buildCreateChange(products, { ...row, id: index + 1, price: '29.90', created_at: at, updated_at: at, version: 1 }),
  )
  for (let start = 0; start < ENTRIES; start += PAGE)
    await app.db.write((tx) => recordChanges(tx, app.db, products, COMMAND_LINE, changes.slice(start, start + PAGE)))
}

/** Follows the feed to its end. Returns the number of entries. */
async function follow(port: number, authorization: string): Promise<number> {
  let count = 0
  for (let since = '', more = true; more; ) {
    const body = await new Promise<string>((resolve, reject) => {
      const path = `/api/changes/?page_size=${PAGE}&since=${since}`
      request({ port, path, headers: { authorization } }, (response) => text(response).then(resolve, reject))
        .on('error', reject)
        .end()
    })
    const page = JSON.parse(body)
    if (!page.results) throw new Error(body)
    count += page.results.length
    since = page.position
    more = page.more
  }
  return count
}

async function followRaw({ readRaw }: Scratch): Promise<number> {
  let count = 0
  for (let last = 0, rows: unknown[][] = []; ; count += rows.length) {
    rows = await readRaw(last)
    if (rows.length === 0) return count
    last = Number(rows.at(-1)?.[0])
  }
}

/** Returns the best rate of RUNS runs, in entries per second. */
async function measureRate(work: () => Promise<number>): Promise<number> {
  let best = 0
  for (let run = 0; run < RUNS; run++) {
    const start = performance.now()
    const count = await work()
    if (count !== ENTRIES) throw new Error(`Only ${count} of ${ENTRIES} entries were read.`)
    best = Math.max(best, count / ((performance.now() - start) / 1_000))
  }
  return Math.round(best)
}

const toStdout = (line: string) => void process.stdout.write(`${line}\n`)

/** Prints the rates on each database. */
export async function benchFeed(engines: readonly Engine[] = ['sqlite', 'pg'], print: (line: string) => void = toStdout): Promise<void> {
  for (const engine of engines) {
    const scratch = await createScratch[engine]()
    try {
      const settings = { LOG_LEVEL: 'silent', RATE_LIMIT_AUTHENTICATED: '0', CHANGES_KEEP_DAYS: '0', DATABASE_URL: scratch.url }
      const app = await buildApp({ config: loadConfig(settings), shedding: false })
      try {
        await app.listen({ port: 0, host: '127.0.0.1' })
        const { token } = await issueKey(app.db, { name: 'Bench', role: 'admin' }, COMMAND_LINE)
        await fill(app)
        const { port } = app.server.address() as AddressInfo
        const authorization = `Bearer ${token}`
        // A running transaction anywhere in the cluster hides later entries from the feed.
        while ((await measureLag(app.db)) > 0) await setTimeout(100)
        const raw = await measureRate(() => followRaw(scratch))
        const feed = await measureRate(() => follow(port, authorization))
        const share = Math.round((100 * feed) / raw)
        print(`${engine}: the feed delivers ${feed} entries/s over HTTP; the driver alone reads ${raw} rows/s (${share} %)`)
      } finally {
        await app.close()
      }
    } finally {
      await scratch.remove()
    }
  }
}

if (import.meta.main) await benchFeed()
