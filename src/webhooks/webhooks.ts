// Creates, updates, rotates and deletes webhooks, and disables them when their receivers keep failing.
import { randomUUID } from 'node:crypto'
import { Type } from '@sinclair/typebox'
import { and, count, desc, eq, gt, isNull, or } from 'drizzle-orm'
import type { Database, Queries } from '../../drizzle/database.ts'
import { type Actor, COMMAND_LINE, recordChanges } from '../changelog/record.ts'
import { type Fault, invalid, Problem } from '../errors.ts'
import type { FindFaults } from '../http/routes.ts'
import type { Body, Resource } from '../query/resource.ts'
import type { Row } from '../query/rows.ts'
import { buildWriteContext } from '../records/transaction.ts'
import { createRecord, findRow, lockRecord, type Precondition, removeRecord, updateLocked } from '../records/write.ts'
import { webhooks } from '../resources/webhooks.ts'
import { type AddressPolicy, findUrlFaults } from './address.ts'
import { skipToNewest } from './dispatch.ts'
import { createDelivery, type Webhook } from './events.ts'
import { readFilter } from './matching.ts'
import type { Outcome } from './outcome.ts'
import { createWebhookSecret } from './sign.ts'
import { ALL, findTypeFaults, hasEvents, listEventTypes, parseResource, TEST } from './types.ts'

/** Largest number of webhooks. Each of them is checked for every change. */
const MAX_WEBHOOKS = 100

const HOUR = 3_600_000
/** Milliseconds that the previous secret still signs after a rotation. */
const OLD_SECRET_TIME = 24 * HOUR
/** Milliseconds of continuous failure after which an exhausted delivery disables its webhook. */
const DISABLE_AFTER = 72 * HOUR

/** Schema of the response to the creation or rotation of a webhook. */
export const IssuedWebhook = Type.Object(
  {
    ...webhooks.contract,
    secret: Type.Unsafe<string | null>({
      type: ['string', 'null'],
      description: 'Signs the deliveries. Shown only once: null in a replayed response',
    }),
    withheld: Type.Optional(Type.Array(Type.String(), { description: 'In a replayed response: members that were not stored' })),
  },
  { additionalProperties: false },
)

/** Checks a body, and throws `invalid-request`. Call it outside transactions, since it may resolve a host name. */
export async function checkWebhook(body: Body, resources: readonly Resource[], policy: AddressPolicy, current?: Row): Promise<void> {
  const faults = await findWebhookFaults(body, resources, policy, current)
  if (faults.length > 0) throw invalid(faults)
}

/** Finds the faults of a body that no schema can express. Members that the body omits come from `current`. */
async function findWebhookFaults(body: Body, resources: readonly Resource[], policy: AddressPolicy, current?: Row): Promise<Fault[]> {
  const { url, events = current?.events, filter = current?.filter ?? '' } = body
  const types = events === undefined ? [] : (events as string[])
  const faults = body.events === undefined ? [] : findTypeFaults(types, resources)
  return [
    ...(url === undefined ? [] : await findUrlFaults(String(url), policy)),
    ...faults,
    // Without valid event types, the filter must fit at least one resource.
    ...findFilterFaults(String(filter), events === undefined || faults.length > 0 ? [ALL] : types, resources),
  ]
}

/** Finds further faults of a body whose members `faulty` are invalid. */
export const findBodyFaults: FindFaults = async ({ server, params, body }, faulty) => {
  const { db, resources, webhookPolicy } = server
  const { id } = params as { id?: number }
  const current = id === undefined ? undefined : await findRow(buildWriteContext(db.read, db, webhooks), id)
  const validMembers = Object.fromEntries(Object.entries(body as Body).filter(([name]) => !faulty.has(name)))
  return findWebhookFaults(validMembers, resources, webhookPolicy, current)
}

/** Checks a filter. It must fit every resource that `events` name, or with `*` at least one. */
function findFilterFaults(filter: string, events: readonly string[], resources: readonly Resource[]): Fault[] {
  if (filter === '') return []
  const types = events.includes(ALL) ? listEventTypes(resources) : events
  const candidates = resources.filter((resource) => hasEvents(resource) && types.some((type) => parseResource(type) === resource.table))
  const faultLists = candidates.map((resource) => readFilter(resource, filter).faults)
  if (
    faultLists.length > 0 &&
    (events.includes(ALL) ? faultLists.some((faults) => faults.length === 0) : faultLists.every((faults) => faults.length === 0))
  )
    return []
  // Report the faults for the resource that the filter fits best: most of its unknown names have a suggestion.
  const countUnknown = (faults: readonly Fault[]) => faults.filter(({ suggestion }) => suggestion === undefined).length
  const [faults = []] = faultLists.filter(({ length }) => length > 0).sort((a, b) => countUnknown(a) - countUnknown(b))
  return faults.map(({ detail, allowed, suggestion, ...fault }) => ({
    pointer: '/filter',
    detail: 'parameter' in fault ? `${fault.parameter} ${detail}` : detail,
    ...(allowed && { allowed }),
    ...(suggestion !== undefined && { suggestion }),
  }))
}

export async function createWebhook(tx: Queries, db: Database, body: Body, by: Actor): Promise<{ record: Row; secret: string }> {
  if (body.enabled !== false) await skipToNewest(tx, db)
  const record = await createRecord(buildWriteContext(tx, db, webhooks), body, by)
  const [all] = await tx.select({ count: count() }).from(db.tables.webhooks)
  if (Number(all?.count) > MAX_WEBHOOKS)
    throw new Problem('too-many-webhooks', `The limit of ${MAX_WEBHOOKS} webhooks is reached. Delete a webhook first.`)
  return { record, secret: await addSecret(tx, db, record.id) }
}

/** Updates fields of a webhook. Enabling it again clears its failures. */
export async function updateWebhook(tx: Queries, db: Database, id: number, body: Body, by: Actor, expected?: Precondition): Promise<Row> {
  const context = buildWriteContext(tx, db, webhooks)
  if (body.enabled === true) await skipToNewest(tx, db)
  const current = await lockRecord(context, id, expected)
  const values = Object.fromEntries(Object.entries(body).filter(([field]) => webhooks.writable.has(field)))
  const reset = body.enabled === true && current.enabled === false ? { disabled_reason: null, failing_since: null } : {}
  return updateLocked(context, current, { ...values, ...reset }, by)
}

/** Gives a webhook a new secret. The previous one signs too for OLD_SECRET_TIME. */
export async function rotateWebhook(
  tx: Queries,
  db: Database,
  id: number,
  by: Actor,
  expected?: Precondition,
): Promise<{ record: Row; secret: string }> {
  const { webhook_secrets: table } = db.tables
  const record = await lockRecord(buildWriteContext(tx, db, webhooks), id, expected)
  const until = new Date(Date.now() + OLD_SECRET_TIME).toISOString()
  // After two rotations within a day, only the latest previous secret still signs.
  await tx.delete(table).where(and(eq(table.webhook, id), gt(table.expires_at, '0001-01-01T00:00:00.000Z')))
  await tx.update(table).set({ expires_at: until }).where(eq(table.webhook, id))
  await recordChanges(tx, db, webhooks, by, [
    { operation: 'rotate', record: id, version: Number(record.version), fields: {}, state: record },
  ])
  return { record, secret: await addSecret(tx, db, id) }
}

/** Locks a webhook. Throws `webhook-disabled` if it is disabled. */
export async function lockEnabled(tx: Queries, db: Database, id: number, expected?: Precondition): Promise<void> {
  const record = await lockRecord(buildWriteContext(tx, db, webhooks), id, expected)
  if (record.enabled === false) throw new Problem('webhook-disabled', 'The webhook is disabled. Enable it first.')
}

/** Creates a test delivery, and returns its id. Throws `webhook-disabled`. */
export async function createTestDelivery(tx: Queries, db: Database, id: number, request: string, expected?: Precondition): Promise<number> {
  await lockEnabled(tx, db, id, expected)
  const data = { webhook: id, request }
  return createDelivery(tx, db, id, { event: `test ${randomUUID()}`, type: TEST, at: new Date().toISOString(), data })
}

/** Deletes a webhook with its secrets. Its deliveries stay. */
export async function removeWebhook(tx: Queries, db: Database, id: number, by: Actor, expected?: Precondition): Promise<void> {
  const { webhook_secrets, webhook_pauses } = db.tables
  const context = buildWriteContext(tx, db, webhooks)
  await lockRecord(context, id, expected)
  await tx.delete(webhook_secrets).where(eq(webhook_secrets.webhook, id))
  await tx.delete(webhook_pauses).where(eq(webhook_pauses.webhook, id))
  await removeRecord(context, id, [], by)
}

async function addSecret(tx: Queries, db: Database, webhook: number): Promise<string> {
  const secret = createWebhookSecret()
  await tx.insert(db.tables.webhook_secrets).values({ webhook, secret })
  return secret
}

/** Lists the secrets that sign now, newest first. */
export async function listSecrets(tx: Queries, db: Database, webhook: number): Promise<string[]> {
  const { webhook_secrets: table } = db.tables
  const isValid = or(isNull(table.expires_at), gt(table.expires_at, new Date().toISOString()))
  const rows = await tx
    .select({ secret: table.secret })
    .from(table)
    .where(and(eq(table.webhook, webhook), isValid))
    .orderBy(desc(table.id))
  return rows.map(({ secret }) => secret)
}

/** Pauses or disables a webhook by the outcomes of attempts. The transaction must have locked it. Returns whether it is still enabled. */
export async function applyOutcomes(tx: Queries, db: Database, webhook: Webhook, outcomes: readonly Outcome[]): Promise<boolean> {
  const { webhooks: table, webhook_pauses: pauses } = db.tables
  const pause = Math.max(0, ...outcomes.map(({ pause }) => pause))
  if (pause > 0) {
    const until = new Date(Date.now() + pause).toISOString()
    await tx.insert(pauses).values({ webhook: webhook.id, until }).onConflictDoUpdate({ target: pauses.webhook, set: { until } })
  }
  const hasDelivery = outcomes.some(({ isDelivered }) => isDelivered)
  const failure = outcomes.find(({ isDelivered }) => !isDelivered)
  let since = webhook.failing_since
  if (hasDelivery) since = null
  else if (failure) since ??= new Date().toISOString()
  if (since !== webhook.failing_since) await tx.update(table).set({ failing_since: since }).where(eq(table.id, webhook.id))
  if (!webhook.enabled) return false
  const reason = findDisableReason(outcomes, since)
  if (reason === undefined) return true
  const context = buildWriteContext(tx, db, webhooks)
  await updateLocked(context, await lockRecord(context, webhook.id), { enabled: false, disabled_reason: reason }, COMMAND_LINE, { reason })
  return false
}

function findDisableReason(outcomes: readonly Outcome[], since: string | null): string | undefined {
  if (outcomes.some(({ isGone }) => isGone)) return 'The receiver answered 410 (Gone).'
  const last = outcomes.findLast(({ isExhausted }) => isExhausted)
  if (!last || since === null || Date.now() - Date.parse(since) < DISABLE_AFTER) return undefined
  return `No delivery has arrived since ${since}: ${last.error}.`
}
