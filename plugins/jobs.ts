// Background jobs: decorates the application with `jobs`, and runs them in this process if WORKER is set.
import { setTimeout } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import packageJson from '../package.json' with { type: 'json' }
import { handlers, type JobHandler, type JobHandlers, type Services, schedules } from '../src/job-kinds.ts'
import { Jobs } from '../src/jobs/jobs.ts'
import { openQueue } from '../src/jobs/open.ts'
import type { AddressPolicy } from '../src/webhooks/address.ts'
import { findDueWork } from '../src/webhooks/due.ts'
import { Sender } from '../src/webhooks/send.ts'

declare module 'fastify' {
  interface FastifyInstance {
    jobs: Jobs<Services, JobHandlers>
    /** Addresses that webhooks may lead to. */
    webhookPolicy: AddressPolicy
  }
}

/** Milliseconds between two checks for work of webhooks. */
const PULSE = 250
/** Milliseconds between two checks while no webhook is enabled. */
const PULSE_WITHOUT_WEBHOOKS = 1_000
/** Milliseconds until the next check after a failed one. */
const RETRY_DELAY = 1_000

/** Settings for tests, which need neither wait nor resolve names. */
export interface WebhookOptions {
  /** Milliseconds before each attempt of a delivery. */
  schedule?: readonly number[]
  /** Milliseconds that a receiver has to respond. */
  timeout?: number
  /** Resolves host names. */
  resolve?: AddressPolicy['resolve']
}

interface JobsPluginOptions {
  /** Further kinds, besides those of src/job-kinds.ts. */
  handlers?: Readonly<Record<string, JobHandler>> | undefined
  webhooks?: WebhookOptions | undefined
}

export default fp(
  async function jobs(app: FastifyInstance, { handlers: others = {}, webhooks: { schedule, timeout, resolve } = {} }: JobsPluginOptions) {
    const { config, db, resources, log } = app
    const all: Record<string, JobHandler> = { ...handlers, ...others }
    const policy = { allowHttp: config.WEBHOOK_ALLOW_HTTP, allowPrivate: config.WEBHOOK_ALLOW_PRIVATE, resolve }
    const sender = new Sender(policy, { userAgent: `Stockroom/${packageJson.version}`, timeout })
    const queue = openQueue({
      db,
      policies: new Map(Object.entries(all).map(([kind, { policy }]) => [kind, policy])),
      keepDays: config.JOBS_KEEP_DAYS,
      isWorker: config.WORKER,
      onError: (err) => log.warn({ err }, 'Job queue failed.'),
    })
    const keepDays = { changes: config.CHANGES_KEEP_DAYS, deliveries: config.DELIVERIES_KEEP_DAYS, jobs: config.JOBS_KEEP_DAYS }
    const services: Services = { db, queue, resources, sender, schedule, origin: config.PUBLIC_URL, keepDays }
    const jobs = new Jobs<Services, JobHandlers>({ queue, handlers: all, services, log })
    app.decorate('jobs', jobs)
    app.decorate('webhookPolicy', policy)

    const stopping = new AbortController()
    let pulsing: Promise<void> | undefined
    let stopped: Promise<void> | undefined
    const stop = async () => {
      stopping.abort()
      await pulsing
      await jobs.stop()
      await sender.close()
    }
    app.addHook('onReady', async () => {
      if (!config.WORKER) return
      jobs.startWorker()
      pulsing = runPulse(app, stopping.signal)
    })
    // Jobs stop while requests finish, and before the database closes: its hook was added earlier, and hooks run in reverse order.
    app.addHook('preClose', async () => {
      stopped = stop()
    })
    app.addHook('onClose', () => (stopped ??= stop()))
  },
  { name: 'jobs', dependencies: ['db'] },
)

/** Enqueues recurring jobs, and jobs for unread changes and due deliveries, until `signal` aborts. */
async function runPulse({ db, jobs, log }: FastifyInstance, signal: AbortSignal): Promise<void> {
  const slots = new Map<string, number>()
  const enqueueScheduled = async () => {
    for (const [kind, every] of Object.entries(schedules)) {
      const slot = Math.floor(Date.now() / every)
      if (slots.get(kind) === slot) continue
      await db.write((tx) => jobs.schedule(tx, kind, every))
      slots.set(kind, slot)
    }
  }
  const enqueueDue = async () => {
    const { isEnabled, hasUnreadChanges, dueWebhooks } = await findDueWork(db)
    if (!hasUnreadChanges && dueWebhooks.length === 0) return isEnabled
    await db.write(async (tx) => {
      if (hasUnreadChanges) await jobs.enqueue(tx, 'webhooks.dispatch', {}, { key: 'webhooks' })
      for (const webhook of dueWebhooks) await jobs.enqueue(tx, 'webhooks.deliver', { webhook }, { key: String(webhook) })
    })
    jobs.wake()
    return true
  }
  while (!signal.aborted) {
    let wait = PULSE
    try {
      await enqueueScheduled()
      if (!(await enqueueDue())) wait = PULSE_WITHOUT_WEBHOOKS
    } catch (err) {
      if (!signal.aborted) log.warn({ err }, 'Enqueueing of due jobs failed.')
      wait = RETRY_DELAY
    }
    await setTimeout(wait, undefined, { signal }).catch(() => {})
  }
}
