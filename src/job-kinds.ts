// The table of job kinds: payload, retry policy and function of each. A new kind is added only here.
import { type TSchema, Type } from '@sinclair/typebox'
import type { Database } from '../drizzle/database.ts'
import { pruneChanges } from './feed/prune.ts'
import { pruneResponses, RESPONSE_RETENTION } from './http/idempotency.ts'
import type { Handler, JobKind } from './jobs/handler.ts'
import type { Queue, RetryPolicy } from './jobs/queue.ts'
import type { Resource } from './query/resource.ts'
import type { Row } from './query/rows.ts'
import { deliverDue } from './webhooks/deliver.ts'
import { dispatch } from './webhooks/dispatch.ts'
import { createDeliveries } from './webhooks/events.ts'
import { cancelDeliveries, cancelOrphans, pruneDeliveries, replayRange } from './webhooks/replay.ts'
import type { Sender } from './webhooks/send.ts'
import { NOTIFIED } from './webhooks/types.ts'

/** Services for handlers. */
export interface Services {
  db: Database
  queue: Queue
  resources: readonly Resource[]
  sender: Sender
  /** Milliseconds before each attempt of a delivery; by default those of src/webhooks/outcome.ts. */
  schedule?: readonly number[] | undefined
  /** Origin of record URLs; empty if unknown. */
  origin: string
  /** Days to keep changes, deliveries and jobs. With 0, changes are kept forever. */
  keepDays: { changes: number; deliveries: number; jobs: number }
}

export type JobHandler<S extends TSchema = TSchema> = Handler<Services, S>

/** Returns its argument: `run` gets the type of its payload from the schema. */
const declareHandler = <S extends TSchema>(declaration: JobHandler<S>): JobHandler<S> => declaration

/** Policy of most kinds. */
const DEFAULT: RetryPolicy = { attempts: 10, delay: 5, maxDelay: 3_600, concurrency: 2, hasHistory: true }

/** Policy of kinds that are enqueued again soon anyway. */
const EPHEMERAL: RetryPolicy = { ...DEFAULT, attempts: 1, hasHistory: false }

/** Concurrency of deliveries: the largest number of webhooks, so that slow receivers delay no others. */
const MAX_RECEIVERS = 100

const HOUR = 3_600_000
const DAY = 24 * HOUR

const NoPayload = Type.Object({}, { additionalProperties: false })

export const handlers = {
  'products.notify': declareHandler({
    payload: Type.Object({
      record: Type.Unsafe<Row>(Type.Object({ id: Type.Integer() })),
      message: Type.Optional(Type.String()),
      at: Type.String(),
    }),
    policy: DEFAULT,
    async run({ db, resources, origin }, { record, message, at }, { id }) {
      const data = message === undefined ? {} : { message }
      const events = [{ event: `job ${id}`, type: NOTIFIED, at, record, data }]
      return { deliveries: await db.write((tx) => createDeliveries(tx, db, { events, resources, origin })) }
    },
  }),
  'webhooks.dispatch': declareHandler({
    payload: NoPayload,
    policy: { ...EPHEMERAL, concurrency: 1 },
    run: ({ db, resources, origin }, _payload, { signal }) => dispatch(db, { resources, origin, signal }),
  }),
  'webhooks.deliver': declareHandler({
    payload: Type.Object({ webhook: Type.Integer() }),
    policy: { ...EPHEMERAL, concurrency: MAX_RECEIVERS },
    run: ({ db, sender, schedule }, { webhook }, { signal }) => deliverDue(db, { sender, schedule }, webhook, signal),
  }),
  'webhooks.cancel': declareHandler({
    payload: Type.Object({ webhook: Type.Integer() }),
    policy: DEFAULT,
    run: async ({ db }, { webhook }, { signal }) => ({ deliveries: await cancelDeliveries(db, webhook, signal) }),
  }),
  'webhooks.replay': declareHandler({
    payload: Type.Object({
      webhook: Type.Integer(),
      since: Type.String(),
      until: Type.String(),
      only: Type.Union([Type.Literal('failed'), Type.Literal('all')]),
    }),
    policy: DEFAULT,
    run: async ({ db }, range, { signal }) => ({ deliveries: await replayRange(db, range, signal) }),
  }),
  retention: declareHandler({
    payload: NoPayload,
    policy: { ...DEFAULT, concurrency: 1 },
    async run({ db, queue, keepDays }, _payload, { signal }) {
      const before = (days: number) => new Date(Date.now() - days * DAY)
      const pruned = {
        changes: keepDays.changes === 0 ? 0 : await pruneChanges(db, before(keepDays.changes), signal),
        answers: await pruneResponses(db, new Date(Date.now() - RESPONSE_RETENTION), signal),
        deliveries: await pruneDeliveries(db, before(keepDays.deliveries), signal),
        jobs: await queue.prune(before(keepDays.jobs)),
      }
      const cancelled = await cancelOrphans(db, signal)
      signal.throwIfAborted()
      return { ...pruned, cancelled }
    },
  }),
} as const satisfies Record<string, JobHandler>

export type JobHandlers = typeof handlers

/** Intervals of recurring jobs in milliseconds. All instances together run one job per interval. */
export const schedules: Partial<Record<JobKind<JobHandlers>, number>> = { retention: HOUR }
