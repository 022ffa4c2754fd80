// Works through the change log, and makes deliveries of it: apart from the writes, which cost nothing more for it.
import { eq } from 'drizzle-orm'
import { BATCH, runInBatches } from '../../drizzle/batches.ts'
import type { Database, Queries } from '../../drizzle/database.ts'
import { type Entry, newestChange, readAhead, readLog } from '../changelog/read.ts'
import type { Resource } from '../query/resource.ts'
import { deliverEvents, type Event, enabledWebhooks } from './events.ts'
import { failingSlowly } from './slowly.ts'
import { HAPPENED, isTold } from './types.ts'

/** How far it has come is kept under this name, and who goes on from there holds it. */
export const DISPATCH = 'webhooks'

export interface DispatchOptions {
  resources: readonly Resource[]
  origin: string
  signal: AbortSignal
}

/** The id of the entry that was worked through last. */
export async function dispatched(tx: Queries, db: Database): Promise<number> {
  const { consumer_offsets: offsets } = db.tables
  const [cursor] = await tx.select().from(offsets).where(eq(offsets.name, DISPATCH))
  return cursor?.change ?? 0
}

/**
 * Who enables the first webhook is told of nothing that was before: in the transaction that enables it, and before it is written. What
 * others commit later stands behind what can be read now.
 */
export async function beginAtNewest(tx: Queries, db: Database): Promise<void> {
  const { webhooks } = db.tables
  await db.dialect.lockNames(tx, [DISPATCH])
  const [other] = await tx.select({ id: webhooks.id }).from(webhooks).where(eq(webhooks.enabled, true)).limit(1)
  if (!other) await moveTo(tx, db, await newestChange(tx, db))
}

/** Makes deliveries of all that is in the log, a batch in each transaction. Returns how many there are. */
export async function dispatch(db: Database, { signal, ...options }: DispatchOptions): Promise<number> {
  let made = 0
  await runInBatches(async () => {
    const batch = await failingSlowly(signal, () => db.write((tx) => dispatchBatch(tx, db, options)))
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
  const cursor = await dispatched(tx, db)
  const entries = await readLog(tx, db, cursor, BATCH)
  const last = entries.at(-1)
  if (!last) return { entries: 0, deliveries: 0 }
  const events = entries.map((entry) => eventOf(entry, options.resources))
  // The webhooks are read after the entries: one that was made before any of them is seen. And when they were enabled is read after them.
  const webhooks = await enabledWebhooks(tx, db)
  const skipped = new Map<number, number>()
  for (const { id, record } of (await readAhead(tx, db, cursor, 'webhooks')).filter(isEnabling)) {
    const place = entries.findIndex((entry) => entry.id === id)
    skipped.set(record, (place === -1 ? events : events.slice(0, place)).flat().length)
  }
  const deliveries = await deliverEvents(tx, db, { ...options, events: events.flat(), webhooks, skipped })
  await moveTo(tx, db, last.id)
  return { entries: entries.length, deliveries }
}

/** Whoever is enabled is told of what comes after that in the log, and of nothing before: some of it could not be read then. */
const isEnabling = ({ operation, fields, state }: Entry): boolean =>
  operation === 'create' ? state?.enabled === true : operation === 'update' && fields.enabled?.[1] === true

async function moveTo(tx: Queries, db: Database, change: number): Promise<void> {
  const { consumer_offsets: offsets } = db.tables
  await tx.insert(offsets).values({ name: DISPATCH, change }).onConflictDoUpdate({ target: offsets.name, set: { change } })
}

function eventOf({ id, resource: name, operation, at, state, fields }: Entry, resources: readonly Resource[]): Event[] {
  const happened = HAPPENED[operation]
  const resource = resources.find(({ table }) => table === name)
  if (!happened || !resource || !isTold(resource) || !state) return []
  const data = operation === 'update' ? { changes: fields } : {}
  return [{ event: `change ${id}`, type: `${name}.${happened}`, at, record: state, data }]
}
