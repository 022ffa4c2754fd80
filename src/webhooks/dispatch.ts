// Reads the change log and creates deliveries from it, outside the write transactions, which therefore cost no more.
import { setTimeout } from 'node:timers/promises'
import { eq } from 'drizzle-orm'
import { BATCH, runInBatches } from '../../drizzle/batches.ts'
import type { Database, Queries } from '../../drizzle/database.ts'
import { type ChangeEntry, findNewestId, readEntries, readUnsettledEntries } from '../changelog/read.ts'
import type { Resource } from '../query/resource.ts'
import { createDeliveries, type Event, listEnabledWebhooks } from './events.ts'
import { EVENT_SUFFIXES, hasEvents } from './types.ts'

/** Name of the consumer offset, and of the lock that lets one instance at a time move it. */
const DISPATCH = 'webhooks'

interface DispatchOptions {
  resources: readonly Resource[]
  origin: string
  signal: AbortSignal
}

/** Reads the id of the last dispatched entry, or 0. */
export async function readOffset(tx: Queries, db: Database): Promise<number> {
  const { consumer_offsets: offsets } = db.tables
  const [cursor] = await tx.select().from(offsets).where(eq(offsets.name, DISPATCH))
  return cursor?.change ?? 0
}

/**
 * Moves the offset to the end of the log if no webhook is enabled, so that the first one gets no earlier events. Call it in the transaction
 * that enables the webhook, before the write. Entries that others commit later come after the new offset.
 */
export async function skipToNewest(tx: Queries, db: Database): Promise<void> {
  const { webhooks } = db.tables
  await db.dialect.lockNames(tx, [DISPATCH])
  const [other] = await tx.select({ id: webhooks.id }).from(webhooks).where(eq(webhooks.enabled, true)).limit(1)
  if (!other) await saveOffset(tx, db, await findNewestId(tx, db))
}

/** Creates deliveries from the whole log, one transaction per batch of entries. Returns their number. */
export async function dispatch(db: Database, { signal, ...options }: DispatchOptions): Promise<number> {
  let count = 0
  await runInBatches(async () => {
    const batch = await delayFailure(signal, () => db.write((tx) => dispatchBatch(tx, db, options)))
    count += batch.deliveries
    return batch.entries
  }, signal)
  return count
}

async function dispatchBatch(
  tx: Queries,
  db: Database,
  options: Omit<DispatchOptions, 'signal'>,
): Promise<{ entries: number; deliveries: number }> {
  // Another instance is dispatching.
  if (!(await db.dialect.tryLock(tx, DISPATCH))) return { entries: 0, deliveries: 0 }
  const cursor = await readOffset(tx, db)
  const entries = await readEntries(tx, db, cursor, BATCH)
  const last = entries.at(-1)
  if (!last) return { entries: 0, deliveries: 0 }
  const events = entries.map((entry) => buildEvents(entry, options.resources))
  // Webhooks are read after the entries, so that all webhooks older than an entry are seen. Enabling entries are read last of all.
  const webhooks = await listEnabledWebhooks(tx, db)
  const skipped = new Map<number, number>()
  for (const { id, record } of (await readUnsettledEntries(tx, db, cursor, 'webhooks')).filter(isEnablingWebhook)) {
    const place = entries.findIndex((entry) => entry.id === id)
    skipped.set(record, (place === -1 ? events : events.slice(0, place)).flat().length)
  }
  const deliveries = await createDeliveries(tx, db, { ...options, events: events.flat(), webhooks, skipped })
  await saveOffset(tx, db, last.id)
  return { entries: entries.length, deliveries }
}

/** A webhook gets the entries after the one that enables it, and none before: some of those were not readable yet when it was enabled. */
const isEnablingWebhook = ({ operation, fields, state }: ChangeEntry): boolean =>
  operation === 'create' ? state?.enabled === true : operation === 'update' && fields.enabled?.[1] === true

async function saveOffset(tx: Queries, db: Database, change: number): Promise<void> {
  const { consumer_offsets: offsets } = db.tables
  await tx.insert(offsets).values({ name: DISPATCH, change }).onConflictDoUpdate({ target: offsets.name, set: { change } })
}

function buildEvents({ id, resource: name, operation, at, state, fields }: ChangeEntry, resources: readonly Resource[]): Event[] {
  const happened = EVENT_SUFFIXES[operation]
  const resource = resources.find(({ table }) => table === name)
  if (!happened || !resource || !hasEvents(resource) || !state) return []
  const data = operation === 'update' ? { changes: fields } : {}
  return [{ event: `change ${id}`, type: `${name}.${happened}`, at, record: state, data }]
}

/** Milliseconds. */
const FAILURE_DELAY = 5_000

/** Delays a failure by FAILURE_DELAY, or until `signal` aborts. The job stays claimed meanwhile, which throttles retries. */
export async function delayFailure<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    await setTimeout(FAILURE_DELAY, undefined, { signal }).catch(() => {})
    throw error
  }
}
