// Builds the application over a new database, and sends requests to it.
import { isDeepStrictEqual } from 'node:util'
import { type SQL, sql } from 'drizzle-orm'
import type { InjectOptions } from 'fastify'
import t, { type Test } from 'tap'
import type { Database } from '../drizzle/database.ts'
import type { Clause } from '../drizzle/selection.ts'
import { type AppOptions, buildApp } from '../src/app.ts'
import { issueKey } from '../src/auth/keys.ts'
import { COMMAND_LINE } from '../src/changelog/record.ts'
import { loadConfig } from '../src/config.ts'
import type { App } from '../src/http/routes.ts'
import type { Line } from '../src/transfer/ndjson.ts'
import { DIALECTS, type Dialect } from './dialects.ts'

/** Runs `body` on each database, as a separate test. */
export function onEach(title: string, body: (t: Test, dialect: Dialect) => Promise<void>): void {
  for (const dialect of DIALECTS) t.test(`${title} [${dialect.name}]`, { skip: dialect.skip }, (t) => body(t, dialect))
}

/** Rate limits and deadlines are off, so that the speed of the machine does not matter. Tests of them turn them on. */
const UNLIMITED = { RATE_LIMIT_ANONYMOUS: '0', RATE_LIMIT_AUTHENTICATED: '0', QUERY_TIMEOUT: '60' }

/** The job worker is off, because it writes at unpredictable times. Tests of jobs turn it on. */
const IDLE = { WORKER: 'false' }

/** Builds the application, with an admin key that `ask` and `get` send. */
export async function build(t: Test, dialect: Dialect, options: Partial<AppOptions> & { env?: Record<string, string> } = {}): Promise<App> {
  const { env, ...rest } = options
  // Tests with other tables or resources need another schema than the template.
  const create = () => (rest.tables || rest.resources ? dialect.create(t) : dialect.createFilled(t, migrateAll))
  const settings = { LOG_LEVEL: 'silent', ...UNLIMITED, ...IDLE, DATABASE_URL: env?.DATABASE_URL ?? (await create()), ...env }
  const app = await buildApp({ config: loadConfig(settings), shedding: false, ...rest })
  t.teardown(() => app.close())
  await app.ready()
  tokens.set(app, (await issueKey(app.db, { name: 'Tests', role: 'admin' }, COMMAND_LINE)).token)
  return app
}

/** Creates the schema of the service and of its job queue. */
async function migrateAll(url: string): Promise<void> {
  const app = await buildApp({ config: loadConfig({ LOG_LEVEL: 'silent', ...IDLE, DATABASE_URL: url }), shedding: false })
  await app.ready()
  await app.jobs.queue.list({ limit: 1 })
  await app.close()
}

const tokens = new WeakMap<App, string>()

/** Returns the header with the application's admin key. Throws if `build` did not create the application. */
export function authorization(app: App): { authorization: string } {
  const token = tokens.get(app)
  if (token === undefined) throw new Error('build() did not create this application, so it has no key')
  return { authorization: `Bearer ${token}` }
}

export interface Answer {
  status: number
  headers: Record<string, unknown>
  // Bodies of all routes; each test states the shape that it expects.
  // biome-ignore lint/suspicious/noExplicitAny: see above
  body: any
}

export async function ask(
  app: App,
  method: InjectOptions['method'],
  url: string,
  payload?: InjectOptions['payload'],
  headers?: Record<string, string>,
): Promise<Answer> {
  const authentication = tokens.has(app) ? authorization(app) : {}
  const response = await app.inject({ method, url, ...(payload !== undefined && { payload }), headers: { ...authentication, ...headers } })
  return { status: response.statusCode, headers: response.headers, body: response.body === '' ? undefined : JSON.parse(response.body) }
}

export const get = (app: App, url: string): Promise<Answer> => ask(app, 'GET', url)

/** Returns `next` or `previous` without its cursor, whose value is unpredictable. Throws unless the link has exactly one cursor. */
export function withoutCursor(link: string | null): string | null {
  if (link === null) return null
  const [url = '', query = ''] = link.split('?')
  const pairs = query.split('&')
  const rest = pairs.filter((pair) => !/^cursor=[\w-]{24,}$/.test(pair))
  if (rest.length !== pairs.length - 1) throw new Error(`the link must have exactly one cursor: ${link}`)
  return rest.length > 0 ? `${url}?${rest.join('&')}` : url
}

const bindValues = ({ values }: Clause): SQL[] => values.map((value) => sql`${sql.param(value)}`)

/**
 * Returns SQL for the ids of the products that match a clause: `check` tests each row, and `ids` uses the clause's index, if there is one.
 */
export function buildQueries(clause: Clause): { check: SQL; ids?: SQL } {
  const values = bindValues(clause)
  return {
    check: sql`select id from products where ${clause.check(...values)}`,
    ...(clause.selectIds && { ids: clause.selectIds(() => sql`true`, ...values) }),
  }
}

/** Returns the ids of the products that match a clause. Throws if the clause's index finds other ids than a test of each row. */
export async function findIds(db: Database, clause: Clause): Promise<number[]> {
  const readIds = async (query: SQL) =>
    (await db.read.all<{ id: number | string }>(query)).map(({ id }) => Number(id)).sort((a, b) => a - b)
  const { check, ids } = buildQueries(clause)
  const checked = await readIds(check)
  const indexed = ids ? await readIds(ids) : checked
  if (!isDeepStrictEqual(indexed, checked)) throw new Error(`the index finds ${indexed}, but a test of each row ${checked}`)
  return checked
}

/** Converts rows to the lines of an import. */
export async function* lines(rows: readonly unknown[]): AsyncGenerator<Line> {
  for (const [index, value] of rows.entries()) yield { number: index + 1, value }
}
