// Benchmark of authentication and rate limits: on a page, and on a route that only sends a Buffer.
import { Child, SERVER_CORE } from './child.ts'
import { withKey } from './key.ts'
import { LIST } from './kinds.ts'
import { type Comparison, compare, type Pace } from './measure.ts'

/** Highest cost of a page, relative to one without key check and limit. */
export const PAGE_TARGET = 1.15
/** Most microseconds added to a route that sends a Buffer. */
export const BUFFER_TARGET = 8

const CONNECTIONS = 8

export interface Cost {
  name: string
  guarded: Comparison['a']
  bare: Comparison['b']
  /** Cost relative to `bare`; above 1 is slower. */
  ratio: number
}

export async function measureGuard(url: string, pace: Pace, log: (line: string) => void): Promise<{ pages: Cost[]; buffers: Cost[] }> {
  const callers = { 'with a key': withKey, 'without a key': {} }
  const [pages, buffers]: [Cost[], Cost[]] = [[], []]
  for (const [caller, headers] of Object.entries(callers)) {
    log(`guard: ${caller}`)
    pages.push(await measureCost(`first page, ${caller}`, [url, url], [LIST, LIST], headers, pace))
    buffers.push(await measureCost(`a Buffer, ${caller}`, [url, url], ['/read', '/unchecked'], headers, pace))
  }
  return { pages, buffers }
}

async function measureCost(
  name: string,
  urls: [string, string],
  paths: [string, string],
  headers: Record<string, string>,
  pace: Pace,
): Promise<Cost> {
  const body = JSON.stringify({ results: 'x'.repeat(6_000) })
  // A page is compared with one of a server without limits. The two routes are on servers with limits, and one route is unchecked.
  const limited = paths[0] !== paths[1]
  const servers: Child<string>[] = []
  try {
    for (const [index, url] of urls.entries())
      servers.push(await Child.start<string>('server.ts', { url, limited: index === 0 || limited, body }, SERVER_CORE))
    const [guarded, bare] = servers as [Child<string>, Child<string>]
    const { a, b, ratio } = await compare(
      { server: guarded, requests: { paths: [paths[0]], headers }, connections: CONNECTIONS },
      { server: bare, requests: { paths: [paths[1]], headers: {} }, connections: CONNECTIONS },
      pace,
    )
    return { name, guarded: a, bare: b, ratio: 1 / ratio }
  } finally {
    await Promise.all(servers.map((server) => server.stop()))
  }
}
