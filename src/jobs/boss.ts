// The job queue on PostgreSQL: pg-boss, in the schema `pgboss` of the same database.
import { randomUUID } from 'node:crypto'
import { type SQL, sql } from 'drizzle-orm'
import { fromDrizzle, PgBoss } from 'pg-boss'
import type { Queries, QueueConnections } from '../../drizzle/database.ts'
import { type BossData, readData, STATUSES_BY_STATE, toJob } from './boss-rows.ts'
import {
  type ClaimedJob,
  type Job,
  type JobFilter,
  LEASE,
  MAX_ERROR_LENGTH,
  type NewJob,
  type Queue,
  type QueueOptions,
  type RetryPolicy,
} from './queue.ts'

/** Milliseconds between polls. */
const POLL_INTERVAL = 500
/** Seconds between two checks for expired leases. */
const SUPERVISION_INTERVAL = 5
/** Seconds that an attempt can take. pg-boss ends it then, in spite of heartbeats. */
const MAX_RUN_TIME = 12 * 3_600
const DAY = 24 * 3_600
/** Seconds that a waiting job is kept. pg-boss deletes older ones, so the time is practically infinite. */
const FOREVER = 10_000 * DAY

interface BossOptions extends QueueOptions {
  connections: QueueConnections
}

export class BossQueue implements Queue {
  readonly interval = POLL_INTERVAL
  readonly #options: BossOptions
  #started: Promise<PgBoss> | undefined

  constructor(options: BossOptions) {
    this.#options = options
  }

  async add(tx: Queries, { kind, payload, by, key, id = randomUUID(), runAt }: NewJob): Promise<string | undefined> {
    const boss = await this.#boss()
    const data: BossData = { payload, key: by.key, request: by.request }
    const options = { id, singletonKey: key ?? id, ...(runAt && { startAfter: runAt }), db: joinTransaction(tx) }
    return (await boss.send(kind, data, options)) ?? undefined
  }

  async findDueKinds(kinds: readonly string[]): Promise<readonly string[]> {
    await this.#boss()
    const { rows } = await this.#options.connections.executeSql(DUE_KINDS, [kinds])
    return rows.map(({ name }) => String(name))
  }

  async claim(kind: string, max: number): Promise<ClaimedJob[]> {
    const boss = await this.#boss()
    const jobs = await boss.fetch<BossData>(kind, { batchSize: max, includeMetadata: true })
    return jobs.map(({ id, data, retryCount }) => ({ id, kind, ...readData(data), attempt: retryCount + 1, token: String(retryCount) }))
  }

  async sendHeartbeat(jobs: readonly ClaimedJob[]): Promise<void> {
    const boss = await this.#boss()
    for (const [kind, attempts] of Map.groupBy(jobs, ({ kind }) => kind)) await boss.touch(kind, attempts.map(pickAttempt))
  }

  async complete(job: ClaimedJob, result: unknown): Promise<void> {
    const boss = await this.#boss()
    if (this.#options.policies.get(job.kind)?.hasHistory)
      await boss.complete(job.kind, pickAttempt(job), result === undefined ? null : { result })
    else await boss.deleteJob(job.kind, pickAttempt(job))
  }

  async fail(job: ClaimedJob, error: string, isFinal = false): Promise<void> {
    const boss = await this.#boss()
    if (!this.#options.policies.get(job.kind)?.hasHistory)
      await this.#options.db.write((tx) =>
        tx.run(sql`delete from pgboss.job where name = ${job.kind} and state = 'failed' and singleton_key =
          (select singleton_key from pgboss.job where name = ${job.kind} and id = ${job.id}::uuid)`),
      )
    const output = { message: error.slice(0, MAX_ERROR_LENGTH) }
    if (isFinal) await this.#failForGood(job, output)
    else await boss.fail(job.kind, pickAttempt(job), output)
  }

  /** Fails a job without a further attempt, which `boss.fail` would schedule. */
  async #failForGood({ id, kind, token }: ClaimedJob, output: object): Promise<void> {
    await this.#options.db.write((tx) =>
      tx.run(sql`update pgboss.job set state = 'failed', completed_on = now(), output = ${JSON.stringify(output)}::jsonb
        where name = ${kind} and id = ${id}::uuid and state = 'active' and retry_count = ${Number(token)}`),
    )
  }

  async release({ id, kind, token }: ClaimedJob): Promise<void> {
    await this.#boss()
    // In the state `retry` the job does not block a waiting job with the same key. Without `started_on` the attempt is not counted.
    await this.#options.db.write((tx) =>
      tx.run(sql`update pgboss.job set state = 'retry', started_on = null, heartbeat_on = null, start_after = now()
        where name = ${kind} and id = ${id}::uuid and state = 'active' and retry_count = ${Number(token)}`),
    )
  }

  async find(id: string): Promise<Job | undefined> {
    const [job] = await this.#select(sql`id = ${id}::uuid`, 1)
    return job
  }

  list({ status, kind, before, limit }: JobFilter): Promise<Job[]> {
    const states = Object.entries(STATUSES_BY_STATE).flatMap(([state, shown]) =>
      shown === status ? [sql`${state}::pgboss.job_state`] : [],
    )
    const conditions = [
      ...(status === undefined ? [] : [sql`state in (${sql.join(states, sql`, `)})`]),
      ...(kind === undefined ? [] : [sql`name = ${kind}`]),
      ...(before ? [sql`(${CREATED}, id) < (${before.created_at}::timestamptz, ${before.id}::uuid)`] : []),
    ]
    return this.#select(conditions.length > 0 ? sql.join(conditions, sql` and `) : sql`true`, limit)
  }

  async retry(id: string): Promise<boolean> {
    await this.#boss()
    // `boss.retry` would allow a single further attempt. Reset, the job has all its attempts.
    const rows = await this.#options.db.write((tx) =>
      tx.all(sql`update pgboss.job set state = 'retry', retry_count = 0, started_on = null, heartbeat_on = null, completed_on = null,
        start_after = now() where id = ${id}::uuid and state in ('failed', 'cancelled') returning id`),
    )
    return rows.length > 0
  }

  /** Deletes nothing: pg-boss prunes by `deleteAfterSeconds`. */
  async prune(): Promise<number> {
    return 0
  }

  async close(): Promise<void> {
    const boss = await this.#started?.catch(() => undefined)
    await boss?.stop({ graceful: false, close: true })
  }

  async #select(where: SQL, limit: number): Promise<Job[]> {
    await this.#boss()
    const names = [...this.#options.policies.keys()].map((name) => sql`${name}`)
    const rows = await this.#options.db.read.all<Record<string, unknown>>(sql`
      select id, name, state, data, output, retry_count, start_after, started_on, completed_on, ${CREATED} as created_at
      from pgboss.job where name in (${sql.join(names, sql`, `)}) and ${where} order by ${CREATED} desc, id desc limit ${limit}`)
    return rows.map(toJob)
  }

  #boss(): Promise<PgBoss> {
    // After a failed start, the next call starts again.
    this.#started ??= this.#start().catch((error) => {
      this.#started = undefined
      throw error
    })
    return this.#started
  }

  async #start(): Promise<PgBoss> {
    const { connections, isWorker: works, onError } = this.#options
    const boss = new PgBoss({
      db: connections,
      schedule: false,
      supervise: works,
      superviseIntervalSeconds: SUPERVISION_INTERVAL,
      monitorIntervalSeconds: SUPERVISION_INTERVAL,
    })
    boss.on('error', onError)
    try {
      await boss.start()
      for (const [kind, policy] of this.#options.policies) await this.#createQueue(boss, kind, policy)
      return boss
    } catch (error) {
      await boss.stop({ graceful: false, close: true }).catch(() => {})
      throw error
    }
  }

  async #createQueue(boss: PgBoss, kind: string, { attempts, delay, maxDelay }: RetryPolicy): Promise<void> {
    const options = {
      retryLimit: attempts - 1,
      retryBackoff: true,
      retryDelay: delay,
      retryDelayMax: maxDelay,
      heartbeatSeconds: LEASE / 1_000,
      expireInSeconds: MAX_RUN_TIME,
      deleteAfterSeconds: this.#options.keepDays * DAY,
      retentionSeconds: FOREVER,
    }
    await boss.createQueue(kind, { policy: 'short', ...options })
    // `createQueue` leaves an existing queue as it is, whose policy may be outdated.
    await boss.updateQueue(kind, options)
  }
}

const DUE_KINDS = `select name from unnest($1::text[]) as kinds (name) where exists (
  select from pgboss.job where job.name = kinds.name and state < 'active' and start_after <= pgboss.job_now())`

/** Creation time in milliseconds, as cursors hold it. With microseconds, a page would repeat the last job of the previous page. */
const CREATED = sql`date_trunc('milliseconds', created_on)`

/** Makes pg-boss run its statements in our transaction. */
const joinTransaction = (tx: Queries) =>
  fromDrizzle({ execute: async (query: SQL) => ({ rows: await tx.all(query) }) } as never, sql as never)

const pickAttempt = ({ id, token }: ClaimedJob) => ({ id, retryCount: Number(token) })
