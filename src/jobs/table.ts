// The job queue in the table `jobs`, for an engine with a single writer: no two workers can claim the same row.
import { randomUUID } from 'node:crypto'
import { and, asc, desc, eq, inArray, lt, lte, or, type SQL, sql } from 'drizzle-orm'
import { BATCH, runInBatches } from '../../drizzle/batches.ts'
import type { Database, Queries } from '../../drizzle/database.ts'
import { toDriverValue } from '../../drizzle/rows.ts'
import { placeholder } from '../../drizzle/statement.ts'
import {
  type ClaimedJob,
  type Job,
  type JobFilter,
  LEASE,
  LEASE_EXPIRED,
  MAX_ERROR_LENGTH,
  type NewJob,
  type Queue,
  type RetryPolicy,
  type Status,
} from './queue.ts'

type JobTable = Database['tables']['jobs']

/** Milliseconds between polls. A poll takes microseconds. */
const POLL_INTERVAL = 100

const INSERT_COLUMNS = ['id', 'kind', 'key', 'payload', 'run_at', 'key_id', 'request_id', 'created_at']

/** Compiled once, since it is part of requests' write transactions. */
const INSERT = sql`insert into jobs (${sql.raw(INSERT_COLUMNS.join(', '))}, status) values (${sql.join(
  INSERT_COLUMNS.map((_, place) => placeholder(place)),
  sql`, `,
)}, 'waiting') on conflict do nothing returning id`

/** Compiled once, since it runs for each kind at every poll of an idle process. A claim would block other writes. */
const FIND_DUE = sql`select 1 from jobs where kind = ${placeholder(0)} and status = 'waiting' and run_at <= ${placeholder(1)}
  union all select 1 from jobs where kind = ${placeholder(0)} and status = 'running' and leased_until <= ${placeholder(1)} limit 1`

export class TableQueue implements Queue {
  readonly interval = POLL_INTERVAL
  readonly #db: Database
  readonly #table: JobTable
  readonly #policies: ReadonlyMap<string, RetryPolicy>
  readonly #lease: number

  /** `lease` is in milliseconds. */
  constructor(db: Database, policies: ReadonlyMap<string, RetryPolicy>, lease = LEASE) {
    this.#db = db
    this.#table = db.tables.jobs
    this.#policies = policies
    this.#lease = lease
  }

  async add(tx: Queries, { kind, payload, by, key, id = randomUUID(), runAt = new Date() }: NewJob): Promise<string | undefined> {
    const { run_at, created_at } = this.#table
    const values = [
      id,
      kind,
      key ?? null,
      JSON.stringify(payload),
      toDriverValue(run_at, runAt.toISOString()),
      by.key,
      by.request,
      toDriverValue(created_at, now()),
    ]
    const [[newId] = []] = await tx.runPrepared(INSERT, values)
    return newId === undefined ? undefined : String(newId)
  }

  async findDueKinds(kinds: readonly string[]): Promise<readonly string[]> {
    const values: unknown[] = [undefined, toDriverValue(this.#table.run_at, now())]
    const due: string[] = []
    for (const kind of kinds) {
      values[0] = kind
      if ((await this.#db.readRows(FIND_DUE, values)).length > 0) due.push(kind)
    }
    return due
  }

  async claim(kind: string, max: number): Promise<ClaimedJob[]> {
    const table = this.#table
    const at = now()
    const isExpired = and(eq(table.kind, kind), eq(table.status, 'running'), lte(table.leased_until, at))
    const isDue = or(and(eq(table.kind, kind), eq(table.status, 'waiting'), lte(table.run_at, at)), isExpired)
    return this.#db.write(async (tx) => {
      const failure = { status: 'failed', error: LEASE_EXPIRED, claim: null, leased_until: null, finished_at: at }
      const { attempts } = this.#getPolicy(kind)
      await tx
        .update(table)
        .set(failure)
        .where(and(isExpired, sql`${table.attempts} >= ${attempts}`))
      const ids = await tx.select({ id: table.id }).from(table).where(isDue).orderBy(asc(table.run_at), asc(table.id)).limit(max)
      if (ids.length === 0) return []
      const token = randomUUID()
      const rows = await tx
        .update(table)
        .set({ status: 'running', claim: token, leased_until: this.#leaseEnd(), started_at: at, attempts: sql`${table.attempts} + 1` })
        .where(
          inArray(
            table.id,
            ids.map(({ id }) => id),
          ),
        )
        .returning({ id: table.id, payload: table.payload, attempt: table.attempts, key: table.key_id, request: table.request_id })
      return rows.map(({ payload, ...row }) => ({ ...row, kind, token, ...readPayload(payload) }))
    })
  }

  async sendHeartbeat(jobs: readonly ClaimedJob[]): Promise<void> {
    if (jobs.length === 0) return
    const areClaimed = or(...jobs.map((job) => this.#isClaimed(job)))
    await this.#db.write((tx) => tx.update(this.#table).set({ leased_until: this.#leaseEnd() }).where(areClaimed))
  }

  async complete(job: ClaimedJob, result: unknown): Promise<void> {
    const table = this.#table
    const { hasHistory } = this.#getPolicy(job.kind)
    const outcome = { status: 'done', result: result === undefined ? null : JSON.stringify(result), error: null, finished_at: now() }
    await this.#db.write((tx) =>
      hasHistory
        ? tx
            .update(table)
            .set({ ...outcome, ...UNCLAIMED })
            .where(this.#isClaimed(job))
        : tx.delete(table).where(this.#isClaimed(job)),
    )
  }

  async fail(job: ClaimedJob, error: string, isFinal = false): Promise<void> {
    const { attempts, delay, maxDelay, hasHistory } = this.#getPolicy(job.kind)
    const wait = Math.min(maxDelay, delay * 2 ** (job.attempt - 1) * (1 + Math.random())) * 1_000
    const next =
      job.attempt < attempts && !isFinal
        ? { status: 'waiting', run_at: new Date(Date.now() + wait).toISOString(), key: null }
        : { status: 'failed', finished_at: now() }
    if (!hasHistory) {
      const table = this.#table
      const key = sql`(select key from ${table} where id = ${job.id})`
      await this.#db.write((tx) => tx.delete(table).where(and(eq(table.kind, job.kind), eq(table.status, 'failed'), eq(table.key, key))))
    }
    await this.#end(job, { ...next, error: error.slice(0, MAX_ERROR_LENGTH) })
  }

  release(job: ClaimedJob): Promise<void> {
    return this.#end(job, { status: 'waiting', key: null, attempts: sql`${this.#table.attempts} - 1` })
  }

  async find(id: string): Promise<Job | undefined> {
    const [row] = await this.#db.read.select().from(this.#table).where(eq(this.#table.id, id))
    return row && toJob(row)
  }

  async list({ status, kind, before, limit }: JobFilter): Promise<Job[]> {
    const { id, created_at, status: state, kind: name } = this.#table
    const conditions: (SQL | undefined)[] = [
      status && eq(state, status),
      kind === undefined ? undefined : eq(name, kind),
      before && or(lt(created_at, before.created_at), and(eq(created_at, before.created_at), lt(id, before.id))),
    ]
    const rows = await this.#db.read
      .select()
      .from(this.#table)
      .where(and(...conditions))
      .orderBy(desc(created_at), desc(id))
      .limit(limit)
    return rows.map(toJob)
  }

  async retry(id: string): Promise<boolean> {
    const table = this.#table
    const reset = { status: 'waiting', attempts: 0, run_at: now(), finished_at: null, key: null }
    const rows = await this.#db.write((tx) =>
      tx
        .update(table)
        .set(reset)
        .where(and(eq(table.id, id), eq(table.status, 'failed')))
        .returning({ id: table.id }),
    )
    return rows.length > 0
  }

  async prune(before: Date): Promise<number> {
    const table = this.#table
    const limit = before.toISOString()
    const isOld = and(inArray(table.status, ['done', 'failed']), lt(table.created_at, limit), lt(table.finished_at, limit))
    return runInBatches(async () => {
      const rows = await this.#db.read.select({ id: table.id }).from(table).where(isOld).limit(BATCH)
      const ids = rows.map(({ id }) => id)
      if (ids.length > 0) await this.#db.write((tx) => tx.delete(table).where(inArray(table.id, ids)))
      return ids.length
    })
  }

  async close(): Promise<void> {}

  async #end(job: ClaimedJob, values: Record<string, unknown>): Promise<void> {
    await this.#db.write((tx) =>
      tx
        .update(this.#table)
        .set({ ...values, ...UNCLAIMED })
        .where(this.#isClaimed(job)),
    )
  }

  /** True while this attempt holds the lease. After the lease expired, another worker may have claimed the job. */
  #isClaimed({ id, token }: ClaimedJob): SQL | undefined {
    return and(eq(this.#table.id, id), eq(this.#table.claim, token))
  }

  #leaseEnd(): string {
    return new Date(Date.now() + this.#lease).toISOString()
  }

  #getPolicy(kind: string): RetryPolicy {
    const policy = this.#policies.get(kind)
    if (!policy) throw new TypeError(`Job kind ${kind} has no handler.`)
    return policy
  }
}

const UNCLAIMED = { claim: null, leased_until: null }

const now = () => new Date().toISOString()

/** Parses the payload of a row. Other programs can write to the table, so invalid JSON returns `payloadError` instead of throwing. */
function readPayload(text: string): { payload: unknown; payloadError?: string } {
  try {
    return { payload: JSON.parse(text) }
  } catch (error) {
    return { payload: text, payloadError: `The payload is not JSON: ${(error as Error).message}` }
  }
}

const toJob = ({ key: _, key_id, request_id, claim: __, leased_until: ___, ...row }: JobTable['$inferSelect']): Job => ({
  ...row,
  status: row.status as Status,
  payload: readPayload(row.payload).payload,
  result: row.result === null ? null : JSON.parse(row.result),
  key: key_id,
  request: request_id,
})
