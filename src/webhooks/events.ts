// Creates deliveries from events: one for each webhook that subscribes to the event and whose filter matches the record.
import { randomUUID } from 'node:crypto'
import { eq, sql } from 'drizzle-orm'
import type { Database, Queries } from '../../drizzle/database.ts'
import { buildInserter, toDriverValue } from '../../drizzle/rows.ts'
import type { Resource } from '../query/resource.ts'
import type { Row } from '../query/rows.ts'
import { findMatches, readFilter } from './matching.ts'
import { isSubscribed, parseResource } from './types.ts'

export interface Event {
  /** Unique name. A webhook gets one delivery for it at most. */
  event: string
  type: string
  at: string
  /** State of the record after the event, or before its deletion. */
  record: Row
  /** Further members of `data` in the body. */
  data: Record<string, unknown>
}

export type Webhook = Database['tables']['webhooks']['$inferSelect']

/** Largest body in bytes (Standard Webhooks). A larger one is replaced by the URL of the record. */
const MAX_BODY = 20_000

/** Milliseconds by which the clocks of instances may differ. Events that precede a webhook by less may still be sent to it. */
const CLOCK_SKEW = 60_000

export const listEnabledWebhooks = (tx: Queries, db: Database): Promise<Webhook[]> =>
  tx.select().from(db.tables.webhooks).where(eq(db.tables.webhooks.enabled, true)).orderBy(db.tables.webhooks.id)

interface CreateDeliveriesOptions {
  events: readonly Event[]
  resources: readonly Resource[]
  /** Origin of record URLs. */
  origin: string
  /** Enabled webhooks; read from the database by default. */
  webhooks?: readonly Webhook[]
  /** Number of leading events that precede the enabling of a webhook, by webhook. */
  skipped?: ReadonlyMap<number, number>
}

/** Creates the deliveries of events, and returns their number. Repeated events create no second delivery. */
export async function createDeliveries(
  tx: Queries,
  db: Database,
  { events, resources, origin, webhooks, skipped }: CreateDeliveriesOptions,
): Promise<number> {
  const bodies = new Map<Event, string>()
  const rows: unknown[][] = []
  for (const webhook of webhooks ?? (await listEnabledWebhooks(tx, db))) {
    const rest = events.slice(skipped?.get(webhook.id) ?? 0)
    for (const event of await filterEvents(tx, db, webhook, rest, resources)) {
      const body = bodies.get(event) ?? buildBody(event, origin)
      bodies.set(event, body)
      rows.push(buildRow(db, webhook.id, event, body))
    }
  }
  await insertRows(tx, rows)
  return rows.length
}

/** Creates a delivery to one webhook, whatever it subscribes to. Returns the id of the delivery. */
export async function createDelivery(tx: Queries, db: Database, webhook: number, event: Omit<Event, 'record'>): Promise<number> {
  const { deliveries } = db.tables
  const body = JSON.stringify({ type: event.type, timestamp: event.at, data: event.data })
  await insertRows(tx, [buildRow(db, webhook, event, body)])
  const [delivery] = await tx
    .select({ id: deliveries.id })
    .from(deliveries)
    .where(sql`${deliveries.webhook} = ${webhook} and ${deliveries.event} = ${event.event}`)
  return Number(delivery?.id)
}

async function filterEvents(
  tx: Queries,
  db: Database,
  webhook: Webhook,
  events: readonly Event[],
  resources: readonly Resource[],
): Promise<Event[]> {
  const since = new Date(Date.parse(webhook.created_at) - CLOCK_SKEW).toISOString()
  const subscribed = events.filter(({ type, at }) => isSubscribed(webhook.events, type) && at >= since)
  if (webhook.filter === '' || subscribed.length === 0) return subscribed
  const matches = new Set<Event>()
  for (const [name, group] of Map.groupBy(subscribed, ({ type }) => parseResource(type))) {
    const resource = resources.find(({ table }) => table === name)
    const { query, faults } = resource ? readFilter(resource, webhook.filter) : { query: {}, faults: [] }
    // A filter with `*` need not fit every resource: records without its fields never match.
    if (!resource || faults.length > 0) continue
    const places = await findMatches(
      tx,
      db,
      resource,
      query,
      group.map(({ record }) => record),
    )
    for (const place of places) matches.add(group[place] as Event)
  }
  return subscribed.filter((event) => matches.has(event))
}

function buildBody({ type, at, record, data }: Event, origin: string): string {
  const { id, version } = record
  const body = JSON.stringify({ type, timestamp: at, data: { id, version, ...data, record } })
  if (Buffer.byteLength(body) < MAX_BODY) return body
  const url = `${origin}/api/${parseResource(type)}/${id}/`
  const { message } = data
  return JSON.stringify({ type, timestamp: at, data: { id, version, ...(message !== undefined && { message }), url } })
}

const COLUMNS = [
  'webhook',
  'message',
  'type',
  'event',
  'record_id',
  'status',
  'attempts',
  'due_at',
  'history',
  'body',
  'created_at',
  'updated_at',
  'version',
]

const insertRows = buildInserter('deliveries', COLUMNS, sql` on conflict do nothing`)

function buildRow(
  db: Database,
  webhook: number,
  { type, event, ...rest }: Omit<Event, 'record'> & { record?: Row },
  body: string,
): unknown[] {
  const { deliveries } = db.tables
  const now = toDriverValue(deliveries.created_at, new Date().toISOString())
  const message = `msg_${randomUUID().replaceAll('-', '')}`
  return [webhook, message, type, event, rest.record?.id ?? null, 'pending', 0, now, '[]', body, now, now, 1]
}
