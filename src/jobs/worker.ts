// Runs jobs: claims due jobs, sends heartbeats, and releases unfinished jobs when it stops.
import type { FastifyBaseLogger } from 'fastify'
import { listCauses } from '../../drizzle/database.ts'
import { type ClaimedJob, HEARTBEAT_INTERVAL, type Queue } from './queue.ts'

/** Milliseconds until the next poll after a failed one. */
const RETRY_DELAY = 1_000
/** Milliseconds that running jobs have to finish when the worker stops. Then it releases them. */
const GRACE = 6_000

/** Runs a job. Stops early when `signal` aborts, and throws if work is left. */
type RunJob = (job: ClaimedJob, signal: AbortSignal) => Promise<unknown>

interface WorkerOptions {
  queue: Queue
  /** Jobs that run at the same time, by kind. */
  concurrency: ReadonlyMap<string, number>
  run: RunJob
  log: FastifyBaseLogger
}

export class Worker {
  readonly #options: WorkerOptions
  readonly #running = new Map<ClaimedJob, Promise<void>>()
  readonly #stopping = new AbortController()
  #polling: Promise<void> | undefined
  #heartbeat: NodeJS.Timeout | undefined
  #wake = () => {}

  constructor(options: WorkerOptions) {
    this.#options = options
  }

  start(): void {
    this.#polling = this.#poll()
    this.#heartbeat = setInterval(() => void this.#sendHeartbeat(), HEARTBEAT_INTERVAL).unref()
  }

  /** Polls at once. */
  wake(): void {
    this.#wake()
  }

  /** Stops claiming jobs, waits for the running ones up to GRACE, and releases the rest. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    this.wake()
    await this.#polling
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise((resolve) => {
      timer = setTimeout(resolve, GRACE)
    })
    await Promise.race([Promise.all(this.#running.values()), timeout])
    clearTimeout(timer)
    clearInterval(this.#heartbeat)
    const { queue, log } = this.#options
    for (const job of this.#running.keys())
      await queue
        .release(job)
        .catch((err) => log.error({ err, job: job.id }, `Release of job ${job.id} failed: it runs again after its lease expires.`))
  }

  async #poll(): Promise<void> {
    const { queue, log } = this.#options
    while (!this.#stopping.signal.aborted) {
      let wait = queue.interval
      try {
        const kinds = [...this.#options.concurrency.keys()].filter((kind) => this.#countFree(kind) > 0)
        for (const kind of await queue.findDueKinds(kinds)) await this.#claim(kind)
      } catch (err) {
        if (!this.#stopping.signal.aborted) log.warn({ err }, 'Job queue failed to answer.')
        wait = RETRY_DELAY
      }
      await this.#pause(wait)
    }
  }

  /** Counts the jobs of a kind that this process can start now. */
  #countFree(kind: string): number {
    const busy = [...this.#running.keys()].filter((job) => job.kind === kind).length
    return (this.#options.concurrency.get(kind) ?? 0) - busy
  }

  async #claim(kind: string): Promise<void> {
    const { queue } = this.#options
    const free = this.#countFree(kind)
    if (free <= 0 || this.#stopping.signal.aborted) return
    for (const job of await queue.claim(kind, free)) this.#running.set(job, this.#run(job))
  }

  async #run(job: ClaimedJob): Promise<void> {
    const { queue, run, log } = this.#options
    const { signal } = this.#stopping
    try {
      if (job.payloadError !== undefined) {
        log.error({ job: job.id, kind: job.kind, reason: job.payloadError }, `Job ${job.id} failed for good: its payload cannot be read.`)
        return await queue.fail(job, job.payloadError, true)
      }
      try {
        const result = await run(job, signal)
        await queue.complete(job, result)
      } catch (err) {
        if (signal.aborted) return await queue.release(job)
        log.warn({ err, job: job.id, kind: job.kind, attempt: job.attempt }, `Job ${job.id} failed.`)
        await queue.fail(job, describeFailure(err))
      }
    } catch (err) {
      log.error({ err, job: job.id }, `Result of job ${job.id} was not stored: it runs again after its lease expires.`)
    } finally {
      this.#running.delete(job)
      this.wake()
    }
  }

  #pause(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
      if (this.#stopping.signal.aborted) this.#wake()
    })
  }

  async #sendHeartbeat(): Promise<void> {
    const { queue, log } = this.#options
    await queue.sendHeartbeat([...this.#running.keys()]).catch((err) => log.warn({ err }, 'Heartbeat of running jobs failed.'))
  }
}

/** SQLSTATE class 22, data exception. Messages of this class quote the value. */
const DATA_EXCEPTION = /^22[0-9A-Z]{3}$/

/** Returns the message of the innermost cause. Drizzle's own message holds the statement and its values, which clients must not see. */
function describeFailure(error: unknown): string {
  const cause = [...listCauses(error)].at(-1)
  if (!cause) return String(error)
  return DATA_EXCEPTION.test(String(cause.code)) ? `The database refuses a value (SQLSTATE ${cause.code}).` : cause.message
}
