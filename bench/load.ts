// A child process that generates load: each connection sends its next request as soon as it has a response.
import { createHistogram } from 'node:perf_hooks'
import autocannon, { type Request } from 'autocannon'
import { generateBodies } from './catalogue.ts'
import { serveParent } from './child.ts'
import { withKey } from './key.ts'
import { createRandom } from './random.ts'

export interface LoadJob {
  origin: string
  connections: number
  seconds: number
  /** `paths` are read in turn. `create` posts new products, and `update` reprices one of `rows` products. */
  requests: { paths: readonly string[]; headers?: Record<string, string> } | { create: string } | { update: string; rows: number }
}

export interface LoadResult {
  responses: number
  /** Number of responses by status. */
  statuses: Record<string, number>
  /** Failed connections and time-outs. */
  errors: number
  seconds: number
  /** Milliseconds. */
  p50: number
  p99: number
  max: number
}

/** Seconds. Longer than any response takes, so that slow ones count. */
const TIMEOUT = 120
/** Milliseconds between two checks of the clock. */
const CLOCK = 100

// The process has one generator: the measurement must not create the products of the warm-up again.
const newBodies = generateBodies(`LOAD-${process.pid}`)
const random = createRandom(process.pid)

async function run({ origin, connections, seconds, requests }: LoadJob): Promise<LoadResult> {
  const list = buildRequests(requests)
  const times = createHistogram()
  let clients = 0
  const running = autocannon({
    url: origin,
    connections,
    duration: seconds,
    sampleInt: CLOCK,
    timeout: TIMEOUT,
    requests: list.slice(0, 1),
    // Each connection starts at another place, so that they never send the same request at the same time.
    setupClient: (client) => {
      const start = Math.floor((clients++ * list.length) / connections) % list.length
      client.setRequests([...list.slice(start), ...list.slice(0, start)].map((request) => ({ ...request })))
    },
  })
  // autocannon's own histogram only has whole milliseconds.
  running.on('response', (_client, _status, _bytes, milliseconds) => times.record(Math.max(1, Math.round(milliseconds * 1_000))))
  const { statusCodeStats, errors, duration } = await running
  return {
    responses: times.count,
    statuses: Object.fromEntries(Object.entries(statusCodeStats).map(([status, { count }]) => [status, count])),
    errors,
    seconds: duration,
    p50: times.percentile(50) / 1_000,
    p99: times.percentile(99) / 1_000,
    max: times.count === 0 ? 0 : times.max / 1_000,
  }
}

function buildRequests(requests: LoadJob['requests']): Request[] {
  if ('paths' in requests) return requests.paths.map((path) => ({ method: 'GET', path, headers: requests.headers ?? {} }))
  const headers = { 'content-type': 'application/json', ...withKey }
  if ('create' in requests) {
    const setupRequest = (request: Request): Request => ({ ...request, body: JSON.stringify(newBodies.next().value) })
    return [{ method: 'POST', path: requests.create, headers, setupRequest }]
  }
  const { update, rows } = requests
  const setupRequest = (request: Request): Request => ({
    ...request,
    path: `${update}${1 + random.whole(rows)}/`,
    body: JSON.stringify({ price: (random.whole(50_000) / 100).toFixed(2) }),
  })
  return [{ method: 'PATCH', path: update, headers, setupRequest }]
}

serveParent(null, { run }, () => {})
