// Builds the application over a database of its own, and asks it.
import type { InjectOptions } from 'fastify'
import t, { type Test } from 'tap'
import { type AppOptions, buildApp } from '../src/app.ts'
import { loadConfig } from '../src/config.ts'
import type { App } from '../src/routes.ts'
import type { Line } from '../src/transfer/ndjson.ts'
import { DIALECTS, type Dialect } from './dialects.ts'

/** Runs `body` once on each database, as a test of its own. */
export function onEach(title: string, body: (t: Test, dialect: Dialect) => Promise<void>): void {
  for (const dialect of DIALECTS) t.test(`${title} [${dialect.name}]`, { skip: dialect.skip }, (t) => body(t, dialect))
}

export async function build(t: Test, dialect: Dialect, options: Partial<AppOptions> & { env?: Record<string, string> } = {}): Promise<App> {
  const { env, ...rest } = options
  const app = await buildApp({ config: loadConfig({ LOG_LEVEL: 'silent', DATABASE_URL: await dialect.create(t), ...env }), ...rest })
  t.teardown(() => app.close())
  await app.ready()
  return app
}

export interface Answer {
  status: number
  headers: Record<string, unknown>
  // The bodies of all routes: a test says what it expects of them.
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
  const response = await app.inject({ method, url, ...(payload !== undefined && { payload }), headers })
  return { status: response.statusCode, headers: response.headers, body: response.body === '' ? undefined : JSON.parse(response.body) }
}

export const get = (app: App, url: string): Promise<Answer> => ask(app, 'GET', url)

/** Rows as the lines of an import. */
export async function* lines(rows: readonly unknown[]): AsyncGenerator<Line> {
  for (const [index, value] of rows.entries()) yield { number: index + 1, value }
}
