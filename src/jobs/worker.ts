// Runs jobs: claims what is due, says that it is alive, and stops without losing any.
import type { FastifyBaseLogger } from 'fastify'
import { listCauses } from '../../drizzle/database.ts'
import { type Claimed, HEARTBEAT, type Queue } from './queue.ts'

/** Milliseconds after which to look again where the queue does not answer. */
const RETRY_AFTER = 1_000
/** Milliseconds in which running jobs are to come to an end when it stops. What has not is handed back. */
const GRACE = 6_000

/** A job to run. It ends early where the signal says so; what it has not done it says by throwing. */
export type Run = (job: Claimed, signal: AbortSignal) => Promise<unknown>

export interface WorkerOptions {
  queue: Queue
  /** The kinds, and how many of each run at the same time. */
  concurrency: ReadonlyMap<string, number>
  run: Run
  log: FastifyBaseLogger
}

export class Worker {
  readonly #options: WorkerOptions
  readonly #running = new Map<Claimed, Promise<void>>()
  readonly #stopping = new AbortController()
  #looking: Promise<void> | undefined
  #heartbeat: NodeJS.Timeout | undefined
  #wake = () => {}

  constructor(options: WorkerOptions) {
    this.#options = options
  }

  start(): void {
    this.#looking = this.#look()
    this.#heartbeat = setInterval(() => void this.#beat(), HEARTBEAT).unref()
  }

  /** Looks for work at once. */
  wake(): void {
    this.#wake()
  }

  /** Takes no more work, and waits for what is running. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    this.wake()
    await this.#looking
    let late: NodeJS.Timeout | undefined
    const patience = new Promise((resolve) => {
      late = setTimeout(resolve, GRACE)
    })
    await Promise.race([Promise.all(this.#running.values()), patience])
    clearTimeout(late)
    clearInterval(this.#heartbeat)
    const { queue, log } = this.#options
    for (const job of this.#running.keys())
      await queue.handBack(job).catch((err) => log.error({ err, job: job.id }, 'a job was not handed back'))
  }

  async #look(): Promise<void> {
    const { queue, log } = this.#options
    while (!this.#stopping.signal.aborted) {
      let wait = queue.interval
      try {
        const kinds = [...this.#options.concurrency.keys()].filter((kind) => this.#countFree(kind) > 0)
        for (const kind of await queue.findDueKinds(kinds)) await this.#claim(kind)
      } catch (err) {
        if (!this.#stopping.signal.aborted) log.warn({ err }, 'the queue of jobs does not answer')
        wait = RETRY_AFTER
      }
      await this.#pause(wait)
    }
  }

  /** Counts the jobs of a kind that this process may begin now. */
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

  async #run(job: Claimed): Promise<void> {
    const { queue, run, log } = this.#options
    const { signal } = this.#stopping
    try {
      if (job.unreadable !== undefined) {
        log.error({ job: job.id, kind: job.kind, reason: job.unreadable }, 'a job cannot be read and has failed')
        return await queue.failed(job, job.unreadable, true)
      }
      try {
        const result = await run(job, signal)
        await queue.done(job, result)
      } catch (err) {
        if (signal.aborted) return await queue.handBack(job)
        log.warn({ err, job: job.id, kind: job.kind, attempt: job.attempt }, 'a job failed')
        await queue.failed(job, reasonOf(err))
      }
    } catch (err) {
      // Its lease ends, and it is begun again.
      log.error({ err, job: job.id }, 'how a job ended could not be noted')
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

  async #beat(): Promise<void> {
    const { queue, log } = this.#options
    await queue.beat([...this.#running.keys()]).catch((err) => log.warn({ err }, 'a sign of life was not heard'))
  }
}

/** What is wrong with a value (SQL, class 22, data exception): databases show it. */
const DATA_EXCEPTION = /^22[0-9A-Z]{3}$/

/** Drizzle's own words hold the statement and its values, which are not to be shown. */
function reasonOf(error: unknown): string {
  const cause = [...listCauses(error)].at(-1)
  if (!cause) return String(error)
  return DATA_EXCEPTION.test(String(cause.code)) ? `the database cannot take a value (SQLSTATE ${cause.code})` : cause.message
}
