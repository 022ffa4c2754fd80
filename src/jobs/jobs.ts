// Jobs as the application sees them: asked for in a transaction, run by whoever works, looked up and tried again.
import { createHash } from 'node:crypto'
import type { FastifyBaseLogger } from 'fastify'
import type { Queries } from '../../drizzle/database.ts'
import { type Actor, COMMAND_LINE } from '../changelog/record.ts'
import { compileBody, type Validator } from '../validate.ts'
import type { Handlers, Kind, Payload, RunningJob } from './handler.ts'
import type { Claimed, Queue } from './queue.ts'
import { Worker } from './worker.ts'

export interface EnqueueOptions {
  /** Not before then. */
  runAt?: Date
  /** Of the jobs of a kind that wait, no two have the same. */
  key?: string
  by?: Actor
}

export interface JobsOptions<Services> {
  queue: Queue
  handlers: Handlers<Services>
  services: Services
  log: FastifyBaseLogger
}

/** Jobs of the kinds in `H`, and of the other kinds in `handlers`, whose payloads the types do not know. */
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
   * Asks for a job as part of a transaction: it is there if, and as soon as, that is committed. Returns its id, or undefined where one
   * with its key waits already. Throws a TypeError for a payload that its kind cannot take.
   */
  enqueue<K extends Kind<H>>(tx: Queries, kind: K, payload: Payload<H, K>, options: EnqueueOptions = {}): Promise<string | undefined> {
    return this.add(tx, kind, payload, options)
  }

  /** The same for a kind whose payload the types do not know. */
  add(tx: Queries, kind: string, payload: unknown, { by = COMMAND_LINE, ...rest }: EnqueueOptions & { id?: string }) {
    this.#check(kind, payload)
    return this.queue.add(tx, { kind, payload, by, ...rest })
  }

  /** Once for each slot of so many milliseconds, whoever asks for it first. */
  schedule(tx: Queries, kind: string, every: number): Promise<string | undefined> {
    const slot = Math.floor(Date.now() / every)
    return this.add(tx, kind, {}, { id: idOf(`${kind} ${every} ${slot}`) })
  }

  work(): void {
    const { queue, handlers, log } = this.#options
    const concurrency = new Map(Object.entries(handlers).map(([kind, { terms }]) => [kind, terms.concurrency]))
    this.#worker = new Worker({ queue, concurrency, log, run: (job, signal) => this.#run(job, { id: job.id, signal }) })
    this.#worker.start()
  }

  /** Has the worker of this process look for work at once. */
  wake(): void {
    this.#worker?.wake()
  }

  async stop(): Promise<void> {
    await this.#worker?.stop()
    await this.queue.close()
  }

  async #run({ kind, payload }: Claimed, job: RunningJob): Promise<unknown> {
    this.#check(kind, payload)
    return this.#options.handlers[kind]?.run(this.#options.services, payload as never, job)
  }

  #check(kind: string, payload: unknown): void {
    const validate = this.#validators.get(kind)
    if (!validate) throw new TypeError(`there are no jobs of the kind ${kind}`)
    const [fault] = validate(payload)
    if (fault) throw new TypeError(`a job of the kind ${kind} cannot take this: ${'pointer' in fault ? fault.pointer : ''} ${fault.detail}`)
  }
}

/** A UUID that is the same for the same text (RFC 9562, version 8). */
function idOf(text: string): string {
  const hex = createHash('sha256').update(text).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}
