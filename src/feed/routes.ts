// The feed as routes: page by page, and as a stream.
import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Key } from '../auth/keyring.ts'
import { logLag } from '../changelog/read.ts'
import { Problem } from '../errors.ts'
import type { App } from '../http/routes.ts'
import { PAGE_TYPE, serialisePage } from '../query/page.ts'
import { readPage } from './page.ts'
import { checkKept, endOf, type Position, readPosition, writePosition } from './positions.ts'
import { DEFAULT_FEED_PAGE, EVENT_STREAM, type FeedQuery, feedSchema, streamSchema } from './schemas.ts'

/** Milliseconds in which a client that is slow to read can take the end of its stream. */
const LINGER = 1_000

export function feedRoute(app: App): void {
  const { db, resources } = app
  app.get('/', { schema: feedSchema(resources), config: { access: 'key' } }, async ({ query, key, origin }, reply) => {
    const { since, resource, page_size = DEFAULT_FEED_PAGE } = query as FeedQuery
    const lag = await logLag(db)
    const page =
      since === 'now'
        ? { results: [], position: await endOf(db), more: false }
        : await readPage(db, since, page_size, { key, resources, ...(resource !== undefined && { resource }) })
    const position = writePosition(page.position)
    const following = new URLSearchParams({
      ...(page_size !== DEFAULT_FEED_PAGE && { page_size: String(page_size) }),
      ...(resource !== undefined && { resource }),
      since: position,
    })
    const members = { position, next: `${origin}/api/changes/?${following}`, more: page.more, lag_seconds: lag }
    const results = page.results.map(({ json }) => json).join()
    return reply.type(PAGE_TYPE).send(serialisePage(members, `[${results}]`))
  })
}

export function streamRoute(app: App): void {
  app.get('/', { schema: streamSchema(app.resources), config: { access: 'key' } }, async (request, reply) => {
    const { key, method } = request
    if (!key) throw new TypeError('a route whose access is key was reached without one')
    const since = await startOf(request)
    reply.type(EVENT_STREAM).headers({ 'x-accel-buffering': 'no', connection: 'close' })
    return reply.send(method === 'HEAD' ? Readable.from([]) : eventsFor(request, reply, key, since))
  })
}

/** Where a client goes on: what it has seen last goes before what its URL says, which is the same when it comes back. */
async function startOf({ headers, query, server: { db } }: FastifyRequest): Promise<Position> {
  const { since = 'now' } = query as FeedQuery
  const last = headers['last-event-id']
  const position = last ? readPosition(String(last)) : since
  if (!position) throw new Problem('malformed-request', 'Last-Event-ID is no position: send the id of an event as it came.')
  if (position === 'now') return endOf(db)
  await checkKept(db, position)
  return position
}

/** The events of a stream, which ends with the connection, or with the service. */
function eventsFor(request: FastifyRequest, reply: FastifyReply, key: Key, since: Position): Readable {
  const { resources, streams } = request.server
  const { resource } = request.query as FeedQuery
  const { signal, end } = streams.open(key.id)
  reply.raw.once('close', end)
  if (reply.raw.destroyed) end()
  signal.addEventListener('abort', () => setTimeout(() => reply.raw.destroy(), LINGER).unref())
  const presentKey = () => request.server.presentKey(request)
  const of = { key, resources, since, presentKey, ...(resource !== undefined && { resource }) }
  // Each piece is read when the one before it has gone.
  return Readable.from(streams.events(of, signal), { highWaterMark: 1 })
}
