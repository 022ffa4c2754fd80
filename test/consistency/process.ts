// Runs the service as separate processes, and sends requests to them.
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { type Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import type { Query } from '../dialects.ts'
import { type Scope, startNode } from '../node-process.ts'

/** Gives a script the scope that a test has: `work` registers teardowns, which run in reverse order when it ends. */
export async function withScope<R>(work: (scope: Scope) => Promise<R>): Promise<R> {
  const teardowns: (() => unknown)[] = []
  try {
    return await work({ teardown: (end) => void teardowns.push(end) })
  } finally {
    for (const end of teardowns.reverse()) await end()
  }
}

const CLI = new URL('../../src/cli.ts', import.meta.url).pathname
const ADMIN_KEY = `stk_1_${'c0nsistency'.repeat(4)}`
export const AUTHORIZATION = { authorization: `Bearer ${ADMIN_KEY}` }

/** The status of an overloaded service, which has done nothing. */
export const BUSY = 503

export interface Service {
  origin: string
  child: ChildProcess
  /** Sends SIGKILL, so that the process completes and closes nothing. */
  kill(): Promise<void>
}

/** Serves a database in a separate process, and waits until it listens. */
export async function serve(scope: Scope, database: string, env: Record<string, string> = {}): Promise<Service> {
  const unlimited = { RATE_LIMIT_ANONYMOUS: '0', RATE_LIMIT_AUTHENTICATED: '0' }
  const settings = { DATABASE_URL: database, ADMIN_KEY, PORT: '0', LOG_LEVEL: 'error', ...unlimited, ...env }
  const child = startNode(scope, [CLI, 'serve'], settings)
  const exit = once(child, 'exit')
  const kill = async () => {
    child.kill('SIGKILL')
    await exit
  }
  scope.teardown(kill)
  let output = ''
  child.stdout.on('data', (chunk) => {
    output += chunk
  })
  child.stderr.on('data', (chunk) => {
    output += chunk
  })
  const failure = exit.then(() => Promise.reject(new Error(`the service ended: ${output}`)))
  failure.catch(() => {})
  while (!output.includes('openapi.json\n')) await Promise.race([once(child.stdout, 'data'), failure])
  return { origin: /Stockroom listens on (\S+)/.exec(output)?.[1] ?? '', child, kill }
}

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  text: string
  /** The time before anything was sent, by `performance.now()` of this process. */
  startedAt: number
  /** The time after the last byte of the answer. */
  endedAt: number
}

export interface Payload {
  body?: unknown
  headers?: Record<string, string>
}

const decoders: Record<string, (bytes: Buffer) => Buffer> = { gzip: gunzipSync, br: brotliDecompressSync }

/** Sends a request, with the admin key unless it only reads. */
export function ask(agent: Agent, origin: string, method: string, path: string, { body, headers }: Payload = {}): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  const payload = body === undefined ? undefined : JSON.stringify(body)
  const requestHeaders = {
    ...(method !== 'GET' && method !== 'HEAD' && AUTHORIZATION),
    ...(payload && { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(payload)) }),
    ...headers,
  }
  const startedAt = performance.now()
  const request = httpRequest(new URL(path, origin), { method, agent, headers: requestHeaders }, (response) => {
    const { statusCode: status = 0, headers } = response
    const decode = decoders[String(headers['content-encoding'])] ?? ((bytes) => bytes)
    buffer(response).then((bytes) => {
      const endedAt = performance.now()
      resolve({ status, headers, text: decode(bytes).toString(), startedAt, endedAt })
    }, reject)
  })
  request.on('error', reject).end(payload)
  return promise
}

/** Repeats a request while the service is too busy for it. */
export async function askUntilServed(...request: Parameters<typeof ask>): Promise<Answer> {
  for (;;) {
    const answer = await ask(...request)
    if (answer.status !== BUSY) return answer
    await setTimeout(100)
  }
}

/** Waits for work of a killed process that may still run in the database server. */
export async function waitForConnections(query: Query): Promise<void> {
  const others = 'select 1 from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()'
  while ((await query(others)).length > 0) await setTimeout(10)
}
