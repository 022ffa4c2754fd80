// A child process: sends requests over some connections, each the next as soon as it has its answer.
import { createHistogram } from 'node:perf_hooks'
import autocannon, { type Request } from 'autocannon'
import { newProducts } from './catalogue.ts'
import { answer } from './child.ts'
import { withKey } from './key.ts'
import { seeded } from './random.ts'

export interface Job {
  origin: string
  connections: number
  seconds: number
  /** What is asked for, in turn; `create` posts products that are not there yet instead, `update` gives one of `rows` another price. */
  requests: { paths: readonly string[]; headers?: Record<string, string> } | { create: string } | { update: string; rows: number }
}

export interface Load {
  answers: number
  /** How many had each status. */
  statuses: Record<string, number>
  /** Connections that failed, and answers that did not come in time. */
  errors: number
  seconds: number
  /** Milliseconds. */
  p50: number
  p99: number
  max: number
}

/** Seconds. Longer than any answer takes, so that a slow one is waited for and counted. */
const TIMEOUT = 120
/** Milliseconds. */
const CLOCK = 100

// Of the process, not of a job: the products of the warm-up are there when the measurement begins.
const created = newProducts(`LOAD-${process.pid}`)
const random = seeded(process.pid)

async function run({ origin, connections, seconds, requests }: Job): Promise<Load> {
  const list = requestsOf(requests)
  const times = createHistogram()
  let clients = 0
  const running = autocannon({
    url: origin,
    connections,
    duration: seconds,
    sampleInt: CLOCK,
    timeout: TIMEOUT,
    requests: list.slice(0, 1),
    // Each begins at another place of the list, or all would ask for the same at the same time.
    setupClient: (client) => {
      const start = Math.floor((clients++ * list.length) / connections) % list.length
      client.setRequests([...list.slice(start), ...list.slice(0, start)].map((request) => ({ ...request })))
    },
  })
  // autocannon's own histogram has whole milliseconds.
  running.on('response', (_client, _status, _bytes, milliseconds) => times.record(Math.max(1, Math.round(milliseconds * 1_000))))
  const { statusCodeStats, errors, duration } = await running
  return {
    answers: times.count,
    statuses: Object.fromEntries(Object.entries(statusCodeStats).map(([status, { count }]) => [status, count])),
    errors,
    seconds: duration,
    p50: times.percentile(50) / 1_000,
    p99: times.percentile(99) / 1_000,
    max: times.count === 0 ? 0 : times.max / 1_000,
  }
}

function requestsOf(requests: Job['requests']): Request[] {
  if ('paths' in requests) return requests.paths.map((path) => ({ method: 'GET', path, headers: requests.headers ?? {} }))
  const headers = { 'content-type': 'application/json', ...withKey }
  if ('create' in requests) {
    const setupRequest = (request: Request): Request => ({ ...request, body: JSON.stringify(created.next().value) })
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

answer(null, { run }, () => {})
