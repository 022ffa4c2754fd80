// Works through the change log, and makes deliveries of it: apart from the writes, which cost nothing more for it.
import { eq } from 'drizzle-orm'
import { BATCH, runInBatches } from '../../drizzle/batches.ts'
import type { Database, Queries } from '../../drizzle/database.ts'
import { type Entry, newestChange, readAhead, readLog } from '../changelog/read.ts'
import type { Resource } from '../query/resource.ts'
import { createDeliveries, type Event, listEnabledWebhooks } from './events.ts'
import { delayFailure } from './slowly.ts'
import { EVENT_SUFFIXES, hasEvents } from './types.ts'

/** How far it has come is kept under this name, and who goes on from there holds it. */
export const DISPATCH = 'webhooks'

export interface DispatchOptions {
  resources: readonly Resource[]
  origin: string
  signal: AbortSignal
}

/** The id of the entry that was worked through last. */
export async function readOffset(tx: Queries, db: Database): Promise<number> {
  const { consumer_offsets: offsets } = db.tables
  const [cursor] = await tx.select().from(offsets).where(eq(offsets.name, DISPATCH))
  return cursor?.change ?? 0
}

/**
 * Who enables the first webhook is told of nothing that was before: in the transaction that enables it, and before it is written. What
 * others commit later stands behind what can be read now.
 */
export async function skipToNewest(tx: Queries, db: Database): Promise<void> {
  const { webhooks } = db.tables
  await db.dialect.lockNames(tx, [DISPATCH])
  const [other] = await tx.select({ id: webhooks.id }).from(webhooks).where(eq(webhooks.enabled, true)).limit(1)
  if (!other) await saveOffset(tx, db, await newestChange(tx, db))
}

/** Makes deliveries of all that is in the log, a batch in each transaction. Returns how many there are. */
export async function dispatch(db: Database, { signal, ...options }: DispatchOptions): Promise<number> {
  let made = 0
  await runInBatches(async () => {
    const batch = await delayFailure(signal, () => db.write((tx) => dispatchBatch(tx, db, options)))
    made += batch.deliveries
    return batch.entries
  }, signal)
  return made
}

async function dispatchBatch(
  tx: Queries,
  db: Database,
  options: Omit<DispatchOptions, 'signal'>,
): Promise<{ entries: number; deliveries: number }> {
  // Another instance is about it.
  if (!(await db.dialect.tryLock(tx, DISPATCH))) return { entries: 0, deliveries: 0 }
  const cursor = await readOffset(tx, db)
  const entries = await readLog(tx, db, cursor, BATCH)
  const last = entries.at(-1)
  if (!last) return { entries: 0, deliveries: 0 }
  const events = entries.map((entry) => buildEvents(entry, options.resources))
  // The webhooks are read after the entries: one that was made before any of them is seen. And when they were enabled is read after them.
  const webhooks = await listEnabledWebhooks(tx, db)
  const skipped = new Map<number, number>()
  for (const { id, record } of (await readAhead(tx, db, cursor, 'webhooks')).filter(isEnablingWebhook)) {
    const place = entries.findIndex((entry) => entry.id === id)
    skipped.set(record, (place === -1 ? events : events.slice(0, place)).flat().length)
  }
  const deliveries = await createDeliveries(tx, db, { ...options, events: events.flat(), webhooks, skipped })
  await saveOffset(tx, db, last.id)
  return { entries: entries.length, deliveries }
}

/** Whoever is enabled is told of what comes after that in the log, and of nothing before: some of it could not be read then. */
const isEnablingWebhook = ({ operation, fields, state }: Entry): boolean =>
  operation === 'create' ? state?.enabled === true : operation === 'update' && fields.enabled?.[1] === true

async function saveOffset(tx: Queries, db: Database, change: number): Promise<void> {
  const { consumer_offsets: offsets } = db.tables
  await tx.insert(offsets).values({ name: DISPATCH, change }).onConflictDoUpdate({ target: offsets.name, set: { change } })
}

function buildEvents({ id, resource: name, operation, at, state, fields }: Entry, resources: readonly Resource[]): Event[] {
  const happened = EVENT_SUFFIXES[operation]
  const resource = resources.find(({ table }) => table === name)
  if (!happened || !resource || !hasEvents(resource) || !state) return []
  const data = operation === 'update' ? { changes: fields } : {}
  return [{ event: `change ${id}`, type: `${name}.${happened}`, at, record: state, data }]
}
