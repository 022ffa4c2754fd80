// Helpers for tests of the feed: reading it to the end, and a client of its stream.
import { get as httpGet, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import type { App } from '../../src/http/routes.ts'
import { get } from '../helper.ts'

export interface Entry {
  position: string
  resource: string
  id: number
  operation: string
  version: number
  at: string
  key: number | null
  request: string | null
  reason: string | null
  changes: Record<string, [unknown, unknown]>
  record: Record<string, unknown> | null
}

/** Returns all entries after `since` that are visible now, and the last position. */
export async function readAll(app: App, since = '', query = ''): Promise<{ entries: Entry[]; position: string }> {
  const entries: Entry[] = []
  for (let url = `/api/changes/?since=${since}${query}`; ; ) {
    const { status, body } = await get(app, url)
    if (status !== 200) throw new Error(`${url}: ${JSON.stringify(body)}`)
    entries.push(...body.results)
    if (!body.more) return { entries, position: body.position }
    url = body.next.replace(/^https?:\/\/[^/]*/, '')
  }
}

/**
 * Reads the feed until it has at least `count` entries, without those of keys. The feed lags, because any open transaction in the cluster,
 * also of another test, holds back later writes.
 */
export async function readAtLeast(app: App, count: number, since = '', query = ''): Promise<{ entries: Entry[]; position: string }> {
  for (;;) {
    const { entries, position } = await readAll(app, since, query)
    const visible = entries.filter(({ resource }) => resource !== 'keys')
    if (visible.length >= count) return { entries: visible, position }
    await setTimeout(20)
  }
}

/** Waits until all writes are visible in the feed. */
export async function waitForFeed(app: App): Promise<void> {
  while ((await get(app, '/readyz')).body.feed_lag_seconds > 0) await setTimeout(20)
}

export interface Event {
  id?: string
  event?: string
  data?: string
  /** Whether the block is a comment. */
  comment: boolean
}

export interface Client {
  status: number
  headers: IncomingMessage['headers']
  /** Blocks of the stream as they arrive. The generator ends when the stream ends or is cut. */
  events: AsyncGenerator<Event>
  disconnect(): void
  response: IncomingMessage
}

export const readPort = ({ server }: App) => (server.address() as AddressInfo).port

/** Opens a stream over HTTP. */
export function openStream(app: App, headers: Record<string, string>, query = ''): Promise<Client> {
  return new Promise((resolve, reject) => {
    const request = httpGet({ port: readPort(app), path: `/api/changes/stream/${query}`, headers, agent: false }, (response) => {
      resolve({
        status: response.statusCode ?? 0,
        headers: response.headers,
        events: parseBlocks(response),
        disconnect: () => void request.destroy(),
        response,
      })
    })
    request.on('error', reject)
  })
}

async function* parseBlocks(response: IncomingMessage): AsyncGenerator<Event> {
  let text = ''
  response.setEncoding('utf8')
  try {
    for await (const chunk of response) {
      text += chunk
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        const lines = text.slice(0, end).split('\n')
        text = text.slice(end + 2)
        const fields = lines.filter((line) => !line.startsWith(':')).map((line) => /^(\w+): (.*)$/.exec(line) ?? ['', line, ''])
        yield { ...Object.fromEntries(fields.map(([, name, value]) => [name, value])), comment: lines.some((line) => line.startsWith(':')) }
      }
    }
  } catch (error) {
    // The client or the server closed the connection.
    if (!/aborted|ECONNRESET/.test(String(error))) throw error
  }
}
