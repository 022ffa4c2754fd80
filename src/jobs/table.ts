// The embedded queue: a table of the same database, whose writer takes transactions in turn.
import { randomUUID } from 'node:crypto'
import { and, asc, desc, eq, inArray, lt, lte, or, type SQL, sql } from 'drizzle-orm'
import { BATCH, runInBatches } from '../../drizzle/batches.ts'
import type { Database, Queries } from '../../drizzle/database.ts'
import { toDriverValue } from '../../drizzle/rows.ts'
import { placeholder } from '../../drizzle/statement.ts'
import { type Claimed, type Job, LEASE, LEASE_OVER, type ListedBy, MAX_ERROR, type NewJob, type Queue, type Terms } from './queue.ts'
import { type JobTable, readPayload, shown } from './table-rows.ts'

/** Milliseconds. To look costs some microseconds. */
const INTERVAL = 100

const ADDED = ['id', 'kind', 'key', 'payload', 'run_at', 'key_id', 'request_id', 'created_at']

/** Compiled once: it stands in the writes of others. */
const ADD = sql`insert into jobs (${sql.raw(ADDED.join(', '))}, status) values (${sql.join(
  ADDED.map((_, place) => placeholder(place)),
  sql`, `,
)}, 'waiting') on conflict do nothing returning id`

export class TableQueue implements Queue {
  readonly interval = INTERVAL
  readonly #db: Database
  readonly #table: JobTable
  readonly #terms: ReadonlyMap<string, Terms>
  readonly #lease: number

  /** `lease` in milliseconds. */
  constructor(db: Database, terms: ReadonlyMap<string, Terms>, lease = LEASE) {
    this.#db = db
    this.#table = db.tables.jobs
    this.#terms = terms
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
    const [[added] = []] = await tx.runPrepared(ADD, values)
    return added === undefined ? undefined : String(added)
  }

  /** To claim is a look in this process. */
  async findDueKinds(kinds: readonly string[]): Promise<readonly string[]> {
    return kinds
  }

  async claim(kind: string, max: number): Promise<Claimed[]> {
    const table = this.#table
    const at = now()
    const overdue = and(eq(table.kind, kind), eq(table.status, 'running'), lte(table.leased_until, at))
    const due = or(and(eq(table.kind, kind), eq(table.status, 'waiting'), lte(table.run_at, at)), overdue)
    // Looked for by a reader first: most of the time there is nothing, and the writer is not to be taken for that.
    if ((await this.#db.read.select({ id: table.id }).from(table).where(due).limit(1)).length === 0) return []
    return this.#db.write(async (tx) => {
      const dead = { status: 'failed', error: LEASE_OVER, claim: null, leased_until: null, finished_at: at }
      const { attempts } = this.#termsOf(kind)
      await tx
        .update(table)
        .set(dead)
        .where(and(overdue, sql`${table.attempts} >= ${attempts}`))
      const ids = await tx.select({ id: table.id }).from(table).where(due).orderBy(asc(table.run_at), asc(table.id)).limit(max)
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

  async beat(jobs: readonly Claimed[]): Promise<void> {
    if (jobs.length === 0) return
    const mine = or(...jobs.map((job) => this.#mine(job)))
    await this.#db.write((tx) => tx.update(this.#table).set({ leased_until: this.#leaseEnd() }).where(mine))
  }

  async done(job: Claimed, result: unknown): Promise<void> {
    const table = this.#table
    const { kept } = this.#termsOf(job.kind)
    const ended = { status: 'done', result: result === undefined ? null : JSON.stringify(result), error: null, finished_at: now() }
    await this.#db.write((tx) =>
      kept
        ? tx
            .update(table)
            .set({ ...ended, ...UNCLAIMED })
            .where(this.#mine(job))
        : tx.delete(table).where(this.#mine(job)),
    )
  }

  async failed(job: Claimed, error: string, isFinal = false): Promise<void> {
    const { attempts, delay, maxDelay, kept } = this.#termsOf(job.kind)
    const wait = Math.min(maxDelay, delay * 2 ** (job.attempt - 1) * (1 + Math.random())) * 1_000
    const next =
      job.attempt < attempts && !isFinal
        ? { status: 'waiting', run_at: new Date(Date.now() + wait).toISOString(), key: null }
        : { status: 'failed', finished_at: now() }
    if (!kept) {
      const table = this.#table
      const key = sql`(select key from ${table} where id = ${job.id})`
      await this.#db.write((tx) => tx.delete(table).where(and(eq(table.kind, job.kind), eq(table.status, 'failed'), eq(table.key, key))))
    }
    await this.#end(job, { ...next, error: error.slice(0, MAX_ERROR) })
  }

  handBack(job: Claimed): Promise<void> {
    return this.#end(job, { status: 'waiting', key: null, attempts: sql`${this.#table.attempts} - 1` })
  }

  async find(id: string): Promise<Job | undefined> {
    const [row] = await this.#db.read.select().from(this.#table).where(eq(this.#table.id, id))
    return row && shown(row)
  }

  async list({ status, kind, before, limit }: ListedBy): Promise<Job[]> {
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
    return rows.map(shown)
  }

  async retry(id: string): Promise<boolean> {
    const table = this.#table
    const again = { status: 'waiting', attempts: 0, run_at: now(), finished_at: null, key: null }
    const rows = await this.#db.write((tx) =>
      tx
        .update(table)
        .set(again)
        .where(and(eq(table.id, id), eq(table.status, 'failed')))
        .returning({ id: table.id }),
    )
    return rows.length > 0
  }

  async prune(before: Date): Promise<number> {
    const table = this.#table
    const limit = before.toISOString()
    const old = and(inArray(table.status, ['done', 'failed']), lt(table.created_at, limit), lt(table.finished_at, limit))
    return runInBatches(async () => {
      const rows = await this.#db.read.select({ id: table.id }).from(table).where(old).limit(BATCH)
      const ids = rows.map(({ id }) => id)
      if (ids.length > 0) await this.#db.write((tx) => tx.delete(table).where(inArray(table.id, ids)))
      return ids.length
    })
  }

  async close(): Promise<void> {}

  async #end(job: Claimed, values: Record<string, unknown>): Promise<void> {
    await this.#db.write((tx) =>
      tx
        .update(this.#table)
        .set({ ...values, ...UNCLAIMED })
        .where(this.#mine(job)),
    )
  }

  /** Unless its lease was over, and another worker has it. */
  #mine({ id, token }: Claimed): SQL | undefined {
    return and(eq(this.#table.id, id), eq(this.#table.claim, token))
  }

  #leaseEnd(): string {
    return new Date(Date.now() + this.#lease).toISOString()
  }

  #termsOf(kind: string): Terms {
    const terms = this.#terms.get(kind)
    if (!terms) throw new TypeError(`there are no jobs of the kind ${kind}`)
    return terms
  }
}

const UNCLAIMED = { claim: null, leased_until: null }

const now = () => new Date().toISOString()
