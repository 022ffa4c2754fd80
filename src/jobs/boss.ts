// The queue on PostgreSQL: pg-boss, in a schema of its own in the same database.
import { randomUUID } from 'node:crypto'
import { type SQL, sql } from 'drizzle-orm'
import { fromDrizzle, PgBoss } from 'pg-boss'
import type { Queries, QueueConnections } from '../../drizzle/database.ts'
import { type Data, readData, STATUS_OF, shown } from './boss-rows.ts'
import { type Claimed, type Job, LEASE, type ListedBy, MAX_ERROR, type NewJob, type Queue, type QueueOptions, type Terms } from './queue.ts'

/** Milliseconds. */
const INTERVAL = 500
/** Seconds between two looks for workers that are not heard of. */
const SUPERVISE = 5
/** Seconds after which no job is believed to run, whatever it says. */
const EXPIRE = 12 * 3_600
const DAY = 24 * 3_600
/** Seconds for which one that nobody begins is kept: no job is lost because it waits. */
const FOR_EVER = 10_000 * DAY

export interface BossOptions extends QueueOptions {
  connections: QueueConnections
}

export class BossQueue implements Queue {
  readonly interval = INTERVAL
  readonly #options: BossOptions
  #started: Promise<PgBoss> | undefined

  constructor(options: BossOptions) {
    this.#options = options
  }

  async add(tx: Queries, { kind, payload, by, key, id = randomUUID(), runAt }: NewJob): Promise<string | undefined> {
    const boss = await this.#boss()
    const data: Data = { payload, key: by.key, request: by.request }
    const options = { id, singletonKey: key ?? id, ...(runAt && { startAfter: runAt }), db: within(tx) }
    return (await boss.send(kind, data, options)) ?? undefined
  }

  async findDueKinds(kinds: readonly string[]): Promise<readonly string[]> {
    await this.#boss()
    const { rows } = await this.#options.connections.executeSql(DUE, [kinds])
    return rows.map(({ name }) => String(name))
  }

  async claim(kind: string, max: number): Promise<Claimed[]> {
    const boss = await this.#boss()
    const jobs = await boss.fetch<Data>(kind, { batchSize: max, includeMetadata: true })
    return jobs.map(({ id, data, retryCount }) => ({ id, kind, ...readData(data), attempt: retryCount + 1, token: String(retryCount) }))
  }

  async beat(jobs: readonly Claimed[]): Promise<void> {
    const boss = await this.#boss()
    for (const [kind, some] of Map.groupBy(jobs, ({ kind }) => kind)) await boss.touch(kind, some.map(attemptOf))
  }

  async done(job: Claimed, result: unknown): Promise<void> {
    const boss = await this.#boss()
    if (this.#options.terms.get(job.kind)?.kept) await boss.complete(job.kind, attemptOf(job), result === undefined ? null : { result })
    else await boss.deleteJob(job.kind, attemptOf(job))
  }

  async failed(job: Claimed, error: string, isFinal = false): Promise<void> {
    const boss = await this.#boss()
    if (!this.#options.terms.get(job.kind)?.kept)
      await this.#options.db.write((tx) =>
        tx.run(sql`delete from pgboss.job where name = ${job.kind} and state = 'failed' and singleton_key =
          (select singleton_key from pgboss.job where name = ${job.kind} and id = ${job.id}::uuid)`),
      )
    const output = { message: error.slice(0, MAX_ERROR) }
    if (isFinal) await this.#failForGood(job, output)
    else await boss.fail(job.kind, attemptOf(job), output)
  }

  /** pg-boss would try it again. */
  async #failForGood({ id, kind, token }: Claimed, output: object): Promise<void> {
    await this.#options.db.write((tx) =>
      tx.run(sql`update pgboss.job set state = 'failed', completed_on = now(), output = ${JSON.stringify(output)}::jsonb
        where name = ${kind} and id = ${id}::uuid and state = 'active' and retry_count = ${Number(token)}`),
    )
  }

  async handBack({ id, kind, token }: Claimed): Promise<void> {
    await this.#boss()
    // Waiting for another try, so that it is not in the way of one with its key; and not begun, so that none is counted.
    await this.#options.db.write((tx) =>
      tx.run(sql`update pgboss.job set state = 'retry', started_on = null, heartbeat_on = null, start_after = now()
        where name = ${kind} and id = ${id}::uuid and state = 'active' and retry_count = ${Number(token)}`),
    )
  }

  async find(id: string): Promise<Job | undefined> {
    const [job] = await this.#select(sql`id = ${id}::uuid`, 1)
    return job
  }

  list({ status, kind, before, limit }: ListedBy): Promise<Job[]> {
    const states = Object.entries(STATUS_OF).flatMap(([state, of]) => (of === status ? [sql`${state}::pgboss.job_state`] : []))
    const conditions = [
      ...(status === undefined ? [] : [sql`state in (${sql.join(states, sql`, `)})`]),
      ...(kind === undefined ? [] : [sql`name = ${kind}`]),
      ...(before ? [sql`(${CREATED}, id) < (${before.created_at}::timestamptz, ${before.id}::uuid)`] : []),
    ]
    return this.#select(conditions.length > 0 ? sql.join(conditions, sql` and `) : sql`true`, limit)
  }

  async retry(id: string): Promise<boolean> {
    await this.#boss()
    // pg-boss' own way allows one attempt more. As if it had not been begun, it has as many as the first time.
    const rows = await this.#options.db.write((tx) =>
      tx.all(sql`update pgboss.job set state = 'retry', retry_count = 0, started_on = null, heartbeat_on = null, completed_on = null,
        start_after = now() where id = ${id}::uuid and state in ('failed', 'cancelled') returning id`),
    )
    return rows.length > 0
  }

  /** pg-boss does so by itself. */
  async prune(): Promise<number> {
    return 0
  }

  async close(): Promise<void> {
    const boss = await this.#started?.catch(() => undefined)
    await boss?.stop({ graceful: false, close: true })
  }

  async #select(where: SQL, limit: number): Promise<Job[]> {
    await this.#boss()
    const names = [...this.#options.terms.keys()].map((name) => sql`${name}`)
    const rows = await this.#options.db.read.all<Record<string, unknown>>(sql`
      select id, name, state, data, output, retry_count, start_after, started_on, completed_on, ${CREATED} as created_at
      from pgboss.job where name in (${sql.join(names, sql`, `)}) and ${where} order by ${CREATED} desc, id desc limit ${limit}`)
    return rows.map(shown)
  }

  #boss(): Promise<PgBoss> {
    // One that failed is tried again.
    this.#started ??= this.#start().catch((error) => {
      this.#started = undefined
      throw error
    })
    return this.#started
  }

  async #start(): Promise<PgBoss> {
    const { connections, works, onError } = this.#options
    const boss = new PgBoss({
      db: connections,
      schedule: false,
      supervise: works,
      superviseIntervalSeconds: SUPERVISE,
      monitorIntervalSeconds: SUPERVISE,
    })
    boss.on('error', onError)
    try {
      await boss.start()
      for (const [kind, terms] of this.#options.terms) await this.#makeQueue(boss, kind, terms)
      return boss
    } catch (error) {
      await boss.stop({ graceful: false, close: true }).catch(() => {})
      throw error
    }
  }

  async #makeQueue(boss: PgBoss, kind: string, { attempts, delay, maxDelay }: Terms): Promise<void> {
    const options = {
      retryLimit: attempts - 1,
      retryBackoff: true,
      retryDelay: delay,
      retryDelayMax: maxDelay,
      heartbeatSeconds: LEASE / 1_000,
      expireInSeconds: EXPIRE,
      deleteAfterSeconds: this.#options.keepDays * DAY,
      retentionSeconds: FOR_EVER,
    }
    await boss.createQueue(kind, { policy: 'short', ...options })
    // One that was there has other terms, perhaps.
    await boss.updateQueue(kind, options)
  }
}

const DUE = `select name from unnest($1::text[]) as kinds (name) where exists (
  select from pgboss.job where job.name = kinds.name and state < 'active' and start_after <= pgboss.job_now())`

/** To the millisecond, as it is shown: a page begins behind what the last one showed. */
const CREATED = sql`date_trunc('milliseconds', created_on)`

/** pg-boss' statements as part of a transaction of ours. */
const within = (tx: Queries) => fromDrizzle({ execute: async (query: SQL) => ({ rows: await tx.all(query) }) } as never, sql as never)

const attemptOf = ({ id, token }: Claimed) => ({ id, retryCount: Number(token) })
