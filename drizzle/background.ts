// Tables of background work: jobs, webhooks and deliveries.
import { sql } from 'drizzle-orm'
import { defineStamps, type Kit } from './served.ts'

export function defineBackgroundTables(kit: Kit) {
  // The queue of jobs on SQLite. PostgreSQL keeps jobs in the tables of pg-boss, and this one stays empty.
  const jobs = kit.table(
    'jobs',
    {
      id: kit.text().primaryKey(),
      kind: kit.text().notNull(),
      // Unique among the waiting jobs of a kind.
      key: kit.text(),
      status: kit.text().notNull(),
      payload: kit.text().notNull(),
      attempts: kit.integer().notNull().default(0),
      error: kit.text(),
      result: kit.text(),
      run_at: kit.time().notNull(),
      // Token of the worker that runs the job, and the end of its lease.
      claim: kit.text(),
      leased_until: kit.time(),
      key_id: kit.integer(),
      request_id: kit.text(),
      created_at: kit.time().notNull(),
      started_at: kit.time(),
      finished_at: kit.time(),
    },
    (t) => [
      kit.uniqueIndex('jobs_waiting_key', t.kind, t.key).where(sql`status = 'waiting'`),
      kit.index('jobs_by_status_kind', t.status, t.kind, t.run_at),
      kit.index('jobs_by_created_at', t.created_at, t.id),
      kit.index('jobs_by_status_created_at', t.status, t.created_at, t.id),
    ],
  )
  const webhooks = kit.table(
    'webhooks',
    {
      id: kit.id(),
      url: kit.text().notNull(),
      events: kit.json<string[]>().notNull(),
      filter: kit.text().notNull().default(''),
      description: kit.text().notNull().default(''),
      enabled: kit.boolean().notNull().default(true),
      disabled_reason: kit.text(),
      failing_since: kit.time(),
      ...defineStamps(kit),
    },
    (t) => [
      kit.index('webhooks_by_url', t.url, t.id),
      kit.index('webhooks_by_enabled', t.enabled, t.id),
      kit.index('webhooks_by_failing_since', t.failing_since, t.id),
      kit.index('webhooks_by_created_at', t.created_at, t.id),
      kit.index('webhooks_by_updated_at', t.updated_at, t.id),
    ],
  )
  // A table of its own, so that no list, log or export shows secrets. The newest secret signs, and so do older ones until they expire.
  const webhook_secrets = kit.table(
    'webhook_secrets',
    {
      id: kit.id(),
      webhook: kit.reference(() => webhooks.id).notNull(),
      secret: kit.text().notNull(),
      expires_at: kit.time(),
    },
    (t) => [kit.index('webhook_secrets_by_webhook', t.webhook, t.id)],
  )
  // Pauses that receivers asked for by `Retry-After`.
  const webhook_pauses = kit.table(
    'webhook_pauses',
    { webhook: kit.reference(() => webhooks.id).notNull(), until: kit.time().notNull() },
    (t) => [kit.uniqueIndex('webhook_pauses_webhook', t.webhook)],
  )
  // Messages and their receivers. `webhook` is no foreign key: deliveries outlive their webhook.
  const deliveries = kit.table(
    'deliveries',
    {
      id: kit.id(),
      webhook: kit.integer().notNull(),
      message: kit.text().notNull(),
      type: kit.text().notNull(),
      // Identifies the event. A webhook gets each event once.
      event: kit.text().notNull(),
      record_id: kit.integer(),
      status: kit.text().notNull(),
      attempts: kit.integer().notNull().default(0),
      // Time to send the delivery; while it is being sent, time at which it counts as lost. NULL once it is finished.
      due_at: kit.time(),
      response_status: kit.integer(),
      latency_ms: kit.integer(),
      error: kit.text(),
      history: kit.json<object[]>().notNull(),
      body: kit.text().notNull(),
      ...defineStamps(kit),
    },
    (t) => [
      kit.uniqueIndex('deliveries_webhook_event', t.webhook, t.event),
      kit.index('deliveries_due', t.webhook, t.status, t.due_at),
      kit.index('deliveries_by_webhook', t.webhook, t.id),
      kit.index('deliveries_by_type', t.type, t.id),
      kit.index('deliveries_by_status', t.status, t.id),
      kit.index('deliveries_by_record_id', t.record_id, t.id),
      kit.index('deliveries_by_created_at', t.created_at, t.id),
    ],
  )
  return { jobs, webhooks, webhook_secrets, webhook_pauses, deliveries }
}
