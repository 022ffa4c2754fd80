// Jobs for the rest of the application: enqueues in a transaction, and runs the worker of this process.
import { createHash } from 'node:crypto'
import type { FastifyBaseLogger } from 'fastify'
import type { Queries } from '../../drizzle/database.ts'
import { type Actor, COMMAND_LINE } from '../changelog/record.ts'
import { compileBody, type Validator } from '../validate.ts'
import type { Handlers, JobKind, JobPayload, RunningJob } from './handler.ts'
import type { ClaimedJob, Queue } from './queue.ts'
import { Worker } from './worker.ts'

export interface EnqueueOptions {
  /** Earliest start; now by default. */
  runAt?: Date
  /** Unique among the waiting jobs of the kind. */
  key?: string
  by?: Actor
}

interface JobsOptions<Services> {
  queue: Queue
  handlers: Handlers<Services>
  services: Services
  log: FastifyBaseLogger
}

/** `H` types the payloads of `enqueue`. `handlers` may hold further kinds, which `add` takes. */
export class Jobs<Services, H extends Handlers<Services>> {
  readonly queue: Queue
  readonly #options: JobsOptions<Services>
  readonly #validators: ReadonlyMap<string, Validator>
  #worker: Worker | undefined

  constructor(options: JobsOptions<Services>) {
    this.queue = options.queue
    this.#options = options
    this.#validators = new Map(Object.entries(options.handlers).map(([kind, { payload }]) => [kind, compileBody(payload)]))
  }

  /**
   * Enqueues a job in a transaction: the job exists once, and only if, that commits. Returns its id, or undefined if a waiting job of the
   * kind has the same key. Throws a TypeError if the payload does not match the schema of the kind.
   */
  enqueue<K extends JobKind<H>>(
    tx: Queries,
    kind: K,
    payload: JobPayload<H, K>,
    options: EnqueueOptions = {},
  ): Promise<string | undefined> {
    return this.add(tx, kind, payload, options)
  }

  /** Enqueues a job of any kind, without a static type for its payload. Errors and result as for `enqueue`. */
  add(tx: Queries, kind: string, payload: unknown, { by = COMMAND_LINE, ...rest }: EnqueueOptions & { id?: string }) {
    this.#check(kind, payload)
    return this.queue.add(tx, { kind, payload, by, ...rest })
  }

  /** Enqueues a job unless some instance has done so in this slot of `every` milliseconds. The slot determines the id of the job. */
  schedule(tx: Queries, kind: string, every: number): Promise<string | undefined> {
    const slot = Math.floor(Date.now() / every)
    return this.add(tx, kind, {}, { id: hashToId(`${kind} ${every} ${slot}`) })
  }

  startWorker(): void {
    const { queue, handlers, log } = this.#options
    const concurrency = new Map(Object.entries(handlers).map(([kind, { policy }]) => [kind, policy.concurrency]))
    this.#worker = new Worker({ queue, concurrency, log, run: (job, signal) => this.#run(job, { id: job.id, signal }) })
    this.#worker.start()
  }

  /** Makes the worker of this process poll at once. */
  wake(): void {
    this.#worker?.wake()
  }

  async stop(): Promise<void> {
    await this.#worker?.stop()
    await this.queue.close()
  }

  async #run({ kind, payload }: ClaimedJob, job: RunningJob): Promise<unknown> {
    this.#check(kind, payload)
    return this.#options.handlers[kind]?.run(this.#options.services, payload as never, job)
  }

  #check(kind: string, payload: unknown): void {
    const validate = this.#validators.get(kind)
    if (!validate) throw new TypeError(`Job kind ${kind} has no handler.`)
    const [fault] = validate(payload)
    if (fault) throw new TypeError(`Payload of job kind ${kind}: ${'pointer' in fault ? fault.pointer : ''} ${fault.detail}.`)
  }
}

/** Hashes a text to a UUID (RFC 9562, version 8). */
function hashToId(text: string): string {
  const hex = createHash('sha256').update(text).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}
