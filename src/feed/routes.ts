// Routes of the feed: pages and a stream.
import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { ApiKey } from '../auth/keyring.ts'
import { measureLag } from '../changelog/read.ts'
import { Problem } from '../errors.ts'
import type { App } from '../http/routes.ts'
import { PAGE_TYPE, serialisePage } from '../query/page.ts'
import { readPage } from './page.ts'
import { checkAvailable, formatPosition, type Position, parsePosition, readEnd } from './positions.ts'
import { buildFeedSchema, buildStreamSchema, DEFAULT_FEED_PAGE, EVENT_STREAM, type FeedQuery } from './schemas.ts'

/** Milliseconds for a slow client to read the end of its stream. */
const LINGER = 1_000

export function addFeedRoute(app: App): void {
  const { db, resources } = app
  app.get('/', { schema: buildFeedSchema(resources), config: { access: 'key' } }, async ({ query, key, origin }, reply) => {
    const { since, resource, page_size = DEFAULT_FEED_PAGE } = query as FeedQuery
    const lag = await measureLag(db)
    const page =
      since === 'now'
        ? { results: [], position: await readEnd(db), more: false }
        : await readPage(db, since, page_size, { key, resources, ...(resource !== undefined && { resource }) })
    const position = formatPosition(page.position)
    const nextQuery = new URLSearchParams({
      ...(page_size !== DEFAULT_FEED_PAGE && { page_size: String(page_size) }),
      ...(resource !== undefined && { resource }),
      since: position,
    })
    const members = { position, next: `${origin}/api/changes/?${nextQuery}`, more: page.more, lag_seconds: lag }
    const results = page.results.map(({ json }) => json).join()
    return reply.type(PAGE_TYPE).send(serialisePage(members, `[${results}]`))
  })
}

export function addStreamRoute(app: App): void {
  app.get('/', { schema: buildStreamSchema(app.resources), config: { access: 'key' } }, async (request, reply) => {
    const { key, method } = request
    if (!key) throw new TypeError('a route with access "key" was reached without a key')
    const since = await readStart(request)
    reply.type(EVENT_STREAM).headers({ 'x-accel-buffering': 'no', connection: 'close' })
    return reply.send(method === 'HEAD' ? Readable.from([]) : createEventStream(request, reply, key, since))
  })
}

/** Reads the start of a stream. Last-Event-ID overrides `since`, because a reconnecting client repeats its URL. Throws `position-gone`. */
async function readStart({ headers, query, server: { db } }: FastifyRequest): Promise<Position> {
  const { since = 'now' } = query as FeedQuery
  const last = headers['last-event-id']
  const position = last ? parsePosition(String(last)) : since
  if (!position) throw new Problem('malformed-request', 'Last-Event-ID is not a position. Send the id of the last event unchanged.')
  if (position === 'now') return readEnd(db)
  await checkAvailable(db, position)
  return position
}

/** Creates the events of a stream. It ends when the connection closes or the service stops. */
function createEventStream(request: FastifyRequest, reply: FastifyReply, key: ApiKey, since: Position): Readable {
  const { resources, streams } = request.server
  const { resource } = request.query as FeedQuery
  const { signal, end } = streams.open(key.id)
  reply.raw.once('close', end)
  if (reply.raw.destroyed) end()
  signal.addEventListener('abort', () => setTimeout(() => reply.raw.destroy(), LINGER).unref())
  const verifyKey = () => request.server.verifyCurrentKey(request)
  const options = { key, resources, since, verifyKey, ...(resource !== undefined && { resource }) }
  // Reads the next block only after the previous one was sent.
  return Readable.from(streams.events(options, signal), { highWaterMark: 1 })
}
