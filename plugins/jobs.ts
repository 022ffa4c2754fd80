// Work behind the requests: asked for by `app.jobs`, and done here where WORKER says so.
import { setTimeout } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import packageJson from '../package.json' with { type: 'json' }
import { handlers, type JobHandler, type JobHandlers, type Services, schedules } from '../src/job-handlers.ts'
import { Jobs } from '../src/jobs/jobs.ts'
import { openQueue } from '../src/jobs/open.ts'
import type { AddressPolicy } from '../src/webhooks/address.ts'
import { findDueWork } from '../src/webhooks/due.ts'
import { Sender } from '../src/webhooks/send.ts'

declare module 'fastify' {
  interface FastifyInstance {
    jobs: Jobs<Services, JobHandlers>
    /** Where webhooks may lead to. */
    webhookPolicy: AddressPolicy
  }
}

/** Milliseconds between two looks for what webhooks wait for, and for the first webhook. */
const PULSE = 250
const PULSE_WITHOUT_WEBHOOKS = 1_000
/** Milliseconds after which to look again where the database does not answer. */
const RETRY_AFTER = 1_000

/** Other than in earnest: a test need not wait, nor have names. */
export interface WebhookOptions {
  /** Milliseconds before each attempt of a delivery. */
  schedule?: readonly number[]
  /** Milliseconds that a receiver has to answer. */
  timeout?: number
  /** Finds what names stand for. */
  resolve?: AddressPolicy['resolve']
}

export interface JobsPluginOptions {
  /** Kinds besides those of src/job-handlers.ts. */
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
      policies: new Map(Object.entries(all).map(([kind, { policy: terms }]) => [kind, terms])),
      keepDays: config.JOBS_KEEP_DAYS,
      isWorker: config.WORKER,
      onError: (err) => log.warn({ err }, 'the queue of jobs'),
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
    // What runs has the time in which requests come to their end, and more; it is over before the database is closed, whose hook was added earlier.
    app.addHook('preClose', async () => {
      stopped = stop()
    })
    app.addHook('onClose', () => (stopped ??= stop()))
  },
  { name: 'jobs', dependencies: ['db'] },
)

/** Asks for the jobs that nobody else asks for: those that are due by the clock, and those that the change log and deliveries call for. */
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
      if (!signal.aborted) log.warn({ err }, 'jobs could not be asked for')
      wait = RETRY_AFTER
    }
    await setTimeout(wait, undefined, { signal }).catch(() => {})
  }
}
