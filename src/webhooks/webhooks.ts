// Webhooks as records: made, changed, rotated and removed, and switched off where their receivers fail for long.
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

/** Webhooks that there can be: of each change it is looked whether they are told. */
const MAX_WEBHOOKS = 100

const HOUR = 3_600_000
/** Milliseconds for which the secret before still signs. */
const OLD_SECRET_TIME = 24 * HOUR
/** Milliseconds of failure after which the end of a delivery is that of its webhook. */
const DISABLE_AFTER = 72 * HOUR

/** The answer to who makes a webhook or rotates its secret. */
export const IssuedWebhook = Type.Object(
  {
    ...webhooks.contract,
    secret: Type.Unsafe<string | null>({
      type: ['string', 'null'],
      description: 'What deliveries are signed with. It is shown this once: null where the answer to an earlier request is repeated',
    }),
    withheld: Type.Optional(
      Type.Array(Type.String(), { description: 'In such a repeated answer: the members that were left out of what is kept' }),
    ),
  },
  { additionalProperties: false },
)

/** Before anything is written, since a name may have to be looked up. Throws `invalid-request`. */
export async function checkWebhook(body: Body, resources: readonly Resource[], policy: AddressPolicy, current?: Row): Promise<void> {
  const faults = await findWebhookFaults(body, resources, policy, current)
  if (faults.length > 0) throw invalid(faults)
}

/** Finds what the schema cannot tell of a webhook, in the members that a body has. */
export async function findWebhookFaults(
  body: Body,
  resources: readonly Resource[],
  policy: AddressPolicy,
  current?: Row,
): Promise<Fault[]> {
  const { url, events = current?.events, filter = current?.filter ?? '' } = body
  const types = events === undefined ? [] : (events as string[])
  const faults = body.events === undefined ? [] : findTypeFaults(types, resources)
  return [
    ...(url === undefined ? [] : await findUrlFaults(String(url), policy)),
    ...faults,
    // Where the types are not known, the filter has to be one of some resource.
    ...findFilterFaults(String(filter), events === undefined || faults.length > 0 ? [ALL] : types, resources),
  ]
}

/** For a body that has other faults, in the members `faulty`. */
export const findBodyFaults: FindFaults = async ({ server, params, body }, faulty) => {
  const { db, resources, webhookPolicy } = server
  const { id } = params as { id?: number }
  const current = id === undefined ? undefined : await findRow(buildWriteContext(db.read, db, webhooks), id)
  const sound = Object.fromEntries(Object.entries(body as Body).filter(([name]) => !faulty.has(name)))
  return findWebhookFaults(sound, resources, webhookPolicy, current)
}

/** It has to be a filter of every resource that is named, and with `*` of one at least. */
function findFilterFaults(filter: string, events: readonly string[], resources: readonly Resource[]): Fault[] {
  if (filter === '') return []
  const named = events.includes(ALL) ? listEventTypes(resources) : events
  const told = resources.filter((resource) => hasEvents(resource) && named.some((type) => parseResource(type) === resource.table))
  const found = told.map((resource) => readFilter(resource, filter).faults)
  if (
    found.length > 0 &&
    (events.includes(ALL) ? found.some((faults) => faults.length === 0) : found.every((faults) => faults.length === 0))
  )
    return []
  // With `*`, of the resource that was most likely meant: whose fields are near.
  const strange = (faults: readonly Fault[]) => faults.filter(({ suggestion }) => suggestion === undefined).length
  const [faults = []] = found.filter((some) => some.length > 0).sort((a, b) => strange(a) - strange(b))
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
    throw new Problem('too-many-webhooks', `There are ${MAX_WEBHOOKS} webhooks, and no more can be made.`)
  return { record, secret: await addSecret(tx, db, record.id) }
}

/** Sets fields of a webhook. One that is enabled again begins anew. */
export async function updateWebhook(tx: Queries, db: Database, id: number, body: Body, by: Actor, expected?: Precondition): Promise<Row> {
  const context = buildWriteContext(tx, db, webhooks)
  if (body.enabled === true) await skipToNewest(tx, db)
  const current = await lockRecord(context, id, expected)
  const values = Object.fromEntries(Object.entries(body).filter(([field]) => webhooks.writable.has(field)))
  const again = body.enabled === true && current.enabled === false ? { disabled_reason: null, failing_since: null } : {}
  return updateLocked(context, current, { ...values, ...again }, by)
}

/** Gives it another secret. That before it signs too for a day. */
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
  // Of two that are rotated away within a day, only the last still signs.
  await tx.delete(table).where(and(eq(table.webhook, id), gt(table.expires_at, '0001-01-01T00:00:00.000Z')))
  await tx.update(table).set({ expires_at: until }).where(eq(table.webhook, id))
  await recordChanges(tx, db, webhooks, by, [
    { operation: 'rotate', record: id, version: Number(record.version), fields: {}, state: record },
  ])
  return { record, secret: await addSecret(tx, db, id) }
}

/** Holds it. Throws `webhook-disabled` where nothing is sent to it. */
export async function lockEnabled(tx: Queries, db: Database, id: number, expected?: Precondition): Promise<void> {
  const record = await lockRecord(buildWriteContext(tx, db, webhooks), id, expected)
  if (record.enabled === false) throw new Problem('webhook-disabled', 'Nothing is sent to it: enable it first.')
}

/** Makes a delivery to see whether one arrives, and returns its id. Throws `webhook-disabled`. */
export async function createTestDelivery(tx: Queries, db: Database, id: number, request: string, expected?: Precondition): Promise<number> {
  await lockEnabled(tx, db, id, expected)
  const data = { webhook: id, request }
  return createDelivery(tx, db, id, { event: `test ${randomUUID()}`, type: TEST, at: new Date().toISOString(), data })
}

/** Its secrets go with it. Its deliveries stay on record. */
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

/** Those that sign now, the newest first. */
export async function listSecrets(tx: Queries, db: Database, webhook: number): Promise<string[]> {
  const { webhook_secrets: table } = db.tables
  const good = or(isNull(table.expires_at), gt(table.expires_at, new Date().toISOString()))
  const rows = await tx
    .select({ secret: table.secret })
    .from(table)
    .where(and(eq(table.webhook, webhook), good))
    .orderBy(desc(table.id))
  return rows.map(({ secret }) => secret)
}

/** What attempts mean for their webhook, which this transaction holds. Returns whether it is still enabled. */
export async function applyOutcomes(tx: Queries, db: Database, webhook: Webhook, outcomes: readonly Outcome[]): Promise<boolean> {
  const { webhooks: table, webhook_pauses: pauses } = db.tables
  const pause = Math.max(0, ...outcomes.map(({ pause }) => pause))
  if (pause > 0) {
    const until = new Date(Date.now() + pause).toISOString()
    await tx.insert(pauses).values({ webhook: webhook.id, until }).onConflictDoUpdate({ target: pauses.webhook, set: { until } })
  }
  const ok = outcomes.some((outcome) => outcome.ok)
  const failed = outcomes.find((outcome) => !outcome.ok)
  let since = webhook.failing_since
  if (ok) since = null
  else if (failed) since ??= new Date().toISOString()
  if (since !== webhook.failing_since) await tx.update(table).set({ failing_since: since }).where(eq(table.id, webhook.id))
  if (!webhook.enabled) return false
  const reason = findDisableReason(outcomes, since)
  if (reason === undefined) return true
  const context = buildWriteContext(tx, db, webhooks)
  await updateLocked(context, await lockRecord(context, webhook.id), { enabled: false, disabled_reason: reason }, COMMAND_LINE, { reason })
  return false
}

function findDisableReason(outcomes: readonly Outcome[], since: string | null): string | undefined {
  if (outcomes.some(({ gone }) => gone)) return 'The receiver answered 410 (Gone).'
  const last = outcomes.findLast(({ exhausted }) => exhausted)
  if (!last || since === null || Date.now() - Date.parse(since) < DISABLE_AFTER) return undefined
  return `No delivery has arrived since ${since}: ${last.error}.`
}
