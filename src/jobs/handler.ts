// A kind of job as the application declares it: its payload, its retry policy and the function that runs it.
import type { Static, TSchema } from '@sinclair/typebox'
import type { RetryPolicy } from './queue.ts'

/** The job that a handler runs. When `signal` aborts, the handler stops early; an error that it throws then is no failure. */
export interface RunningJob {
  id: string
  signal: AbortSignal
}

/** Declares a kind of job. Every handler gets the `Services` of the application. */
export interface Handler<Services, S extends TSchema = TSchema> {
  payload: S
  policy: RetryPolicy
  /** Runs one job. The queue stores the result. A job can run more than once, so `run` must be idempotent. */
  run(services: Services, payload: Static<S>, job: RunningJob): Promise<unknown>
}

/** Handlers by kind. */
export type Handlers<Services> = Readonly<Record<string, Handler<Services>>>

export type JobKind<H> = keyof H & string

/** The payload that a kind of `H` takes. */
export type JobPayload<H, K extends JobKind<H>> = H[K] extends { payload: infer S extends TSchema } ? Static<S> : never
