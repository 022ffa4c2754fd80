// What the tests of the feed have in common: to read it to its end, and a client of its stream.
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

/** All entries behind a position that can be read now, and the position behind them. */
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
 * The same, once there are at least so many but for those of keys: any transaction in the cluster, that of another test too, holds back
 * what was written after it began.
 */
export async function readSoon(app: App, count: number, since = '', query = ''): Promise<{ entries: Entry[]; position: string }> {
  for (;;) {
    const { entries, position } = await readAll(app, since, query)
    const shown = entries.filter(({ resource }) => resource !== 'keys')
    if (shown.length >= count) return { entries: shown, position }
    await setTimeout(20)
  }
}

/** Waits until all that was written can be read. */
export async function settled(app: App): Promise<void> {
  while ((await get(app, '/readyz')).body.feed_lag_seconds > 0) await setTimeout(20)
}

export interface Event {
  id?: string
  event?: string
  data?: string
  /** Whether it is a comment. */
  comment: boolean
}

export interface Client {
  status: number
  headers: IncomingMessage['headers']
  /** Each block as it comes. It ends when the stream does, or is cut. */
  events: AsyncGenerator<Event>
  cut(): void
  response: IncomingMessage
}

export const portOf = ({ server }: App) => (server.address() as AddressInfo).port

/** Opens a stream over HTTP. */
export function openStream(app: App, headers: Record<string, string>, query = ''): Promise<Client> {
  return new Promise((resolve, reject) => {
    const request = httpGet({ port: portOf(app), path: `/api/changes/stream/${query}`, headers, agent: false }, (response) => {
      resolve({
        status: response.statusCode ?? 0,
        headers: response.headers,
        events: blocksOf(response),
        cut: () => void request.destroy(),
        response,
      })
    })
    request.on('error', reject)
  })
}

async function* blocksOf(response: IncomingMessage): AsyncGenerator<Event> {
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
    // Cut by one side or the other.
    if (!/aborted|ECONNRESET/.test(String(error))) throw error
  }
}
