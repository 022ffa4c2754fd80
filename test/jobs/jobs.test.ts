// Jobs are enqueued in a transaction, run once by any worker, retried and listed, on both databases alike.
import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import { Type } from '@sinclair/typebox'
import t, { type Test } from 'tap'
import { issueKey } from '../../src/auth/keys.ts'
import { COMMAND_LINE } from '../../src/changelog/record.ts'
import type { App } from '../../src/http/routes.ts'
import type { JobHandler } from '../../src/job-kinds.ts'
import type { EnqueueOptions } from '../../src/jobs/jobs.ts'
import type { Queue, RetryPolicy } from '../../src/jobs/queue.ts'
import { TableQueue } from '../../src/jobs/table.ts'
import { connect, type Dialect } from '../dialects.ts'
import { ask, build, get, onEach } from '../helper.ts'
import { startNode } from '../node-process.ts'
import { type Body, type Options, onSameDatabase, waitFor } from '../webhooks/receiver.ts'

// Most of each test is waiting.
t.jobs = 4

const TERMS: RetryPolicy = { attempts: 3, delay: 1, maxDelay: 60, concurrency: 2, hasHistory: true }
const LIST = '/api/products/'

type Run = (payload: { n: number }, ...rest: [services: Parameters<JobHandler['run']>[0], job: Parameters<JobHandler['run']>[2]]) => unknown

/** A kind whose payload is a number. */
const kind = (run: Run, terms: Partial<RetryPolicy> = {}): JobHandler => ({
  payload: Type.Object({ n: Type.Integer() }, { additionalProperties: false }),
  policy: { ...TERMS, ...terms },
  run: async (services, payload, job) => run(payload as { n: number }, services, job),
})

const start = (t: Test, dialect: Dialect, handlers: Record<string, JobHandler>, { env, ...options }: Options = {}): Promise<App> =>
  build(t, dialect, { handlers, ...options, env: { WORKER: 'true', ...env } })

const add = async (app: App, name: string, n: number, options: EnqueueOptions = {}): Promise<string> => {
  const id = await app.db.write((tx) => app.jobs.add(tx, name, { n }, options))
  if (id === undefined) throw new Error('the job was not enqueued')
  return id
}

const readJob = async (app: App, id: string): Promise<Body> => (await get(app, `/api/jobs/${id}/`)).body

const waitForStatus = (app: App, id: string, status: string): Promise<Body> =>
  waitFor(async () => {
    const job = await readJob(app, id)
    return job.status === status && job
  }, `the job ${id} ${status}`)

const NEVER_RUN = kind(() => {
  throw new Error('this job must not run')
})

onEach('a job exists once its transaction commits, and runs once', async (t, dialect) => {
  const ran: number[] = []
  const app = await start(t, dialect, {
    'test.run': kind(({ n }) => {
      ran.push(n)
      return { doubled: 2 * n }
    }),
  })
  let lostId: string | undefined
  await t.rejects(
    app.db.write(async (tx) => {
      lostId = await app.jobs.add(tx, 'test.run', { n: 1 }, {})
      throw new Error('rolled back')
    }),
    { message: 'rolled back' },
  )
  t.type(lostId, 'string')
  t.equal((await get(app, `/api/jobs/${lostId}/`)).status, 404)
  const before = Date.now()
  const id = await add(app, 'test.run', 2, { by: { key: null, request: 'r1' } })
  const done = await waitForStatus(app, id, 'done')
  t.match(done, { id, kind: 'test.run', payload: { n: 2 }, attempts: 1, error: null, result: { doubled: 4 }, key: null, request: 'r1' })
  const times = ['created_at', 'started_at', 'finished_at'].map((name) => Date.parse(done[name]))
  t.ok(
    times.every((time, place) => time >= before - 1_000 && time <= Date.now() + 1_000 && time >= Number(times[place - 1] ?? 0)),
    'its times',
    done,
  )
  await waitForStatus(app, await add(app, 'test.run', 3), 'done')
  t.strictSame(ran, [2, 3])
})

/** Statements that make the payload of a job unreadable, for the table of each queue. */
const SPOIL = {
  sqlite: (id: string) => `update jobs set payload = '{"n":' where id = '${id}'`,
  pg: (id: string) => `update pgboss.job set data = null where id = '${id}'`,
}

onEach('a job with an unreadable row fails for good, and the others continue', async (t, dialect) => {
  const lines: string[] = []
  const ran: number[] = []
  const handlers = { 'test.run': kind(({ n }) => ran.push(n)), 'test.second': kind(({ n }) => ran.push(n)) }
  const idle = await build(t, dialect, { handlers })
  const spoilt = await add(idle, 'test.run', 1)
  const spoil = Object.entries(SPOIL).find(([name]) => dialect.name === name)?.[1]
  if (!spoil) throw new Error(`no way to spoil a job of ${dialect.name}`)
  await (await connect(t, idle.config.DATABASE_URL))(spoil(spoilt))
  const good = [await add(idle, 'test.run', 2), await add(idle, 'test.second', 3)]
  const app = await start(t, onSameDatabase(idle), handlers, { env: { LOG_LEVEL: 'error' }, log: { write: (line) => lines.push(line) } })
  for (const id of good) await waitForStatus(app, id, 'done')
  const failed = await waitForStatus(app, spoilt, 'failed')
  t.match(failed, { attempts: 1, error: /payload/ }, 'the error names the payload, and the job is not retried')
  t.strictSame(ran.toSorted(), [2, 3])
  t.match(
    lines.map((line) => JSON.parse(line)).filter(({ job }) => job === spoilt),
    [{ kind: 'test.run', reason: failed.error }],
    'it is logged once',
  )
  const { body } = await get(app, '/api/jobs/?status=failed')
  t.strictSame(
    body.results.map(({ id }: Body) => id),
    [spoilt],
    'the list shows the job',
  )
})

onEach('a job with a later start waits', async (t, dialect) => {
  const ran: number[] = []
  const app = await start(t, dialect, { 'test.run': kind(() => ran.push(Date.now())) })
  const runAt = new Date(Date.now() + 2_000)
  const id = await add(app, 'test.run', 1, { runAt })
  t.match(await readJob(app, id), { status: 'waiting', attempts: 0, run_at: runAt.toISOString(), started_at: null })
  await waitForStatus(app, id, 'done')
  t.ok(Number(ran[0]) >= runAt.getTime() - 50, 'not before', { early: runAt.getTime() - Number(ran[0]) })
})

onEach('a key allows one waiting job of its kind, even while another runs', async (t, dialect) => {
  const app = await build(t, dialect, { handlers: { 'test.run': NEVER_RUN, 'test.other': NEVER_RUN } })
  const keyed = (key: string, name = 'test.run') => app.db.write((tx) => app.jobs.add(tx, name, { n: 1 }, { key }))
  const first = await keyed('a')
  t.type(first, 'string')
  t.equal(await keyed('a'), undefined)
  t.type(await keyed('b'), 'string')
  t.type(await keyed('a', 'test.other'), 'string', 'keys of other kinds are separate')
  const jobs = await app.jobs.queue.claim('test.run', 10)
  t.equal(jobs.length, 2)
  t.type(await keyed('a'), 'string', 'the first job runs')
  t.equal(await keyed('a'), undefined)
  const [one] = jobs.filter(({ id }) => id === first)
  if (!one) throw new Error('the first job was not claimed')
  await app.jobs.queue.fail(one, 'in vain')
  t.match(await readJob(app, one.id), { status: 'waiting', attempts: 1, error: 'in vain' }, 'the first job waits for a retry')
  for (const job of await app.jobs.queue.claim('test.run', 10)) await app.jobs.queue.complete(job, undefined)
  t.type(await keyed('a'), 'string')
  t.equal(await keyed('a'), undefined)
})

onEach('a poll finds the kinds that have a due job', async (t, dialect) => {
  const app = await build(t, dialect, { handlers: { 'test.run': NEVER_RUN, 'test.later': NEVER_RUN, 'test.other': NEVER_RUN } })
  await add(app, 'test.run', 1)
  await add(app, 'test.later', 1, { runAt: new Date(Date.now() + 3_600_000) })
  const kinds = ['test.run', 'test.later', 'test.other']
  const due = () => app.jobs.queue.findDueKinds(kinds)
  t.strictSame(await due(), ['test.run'])
  t.equal((await app.jobs.queue.claim('test.run', 10)).length, 1)
  t.strictSame(await due(), [], 'a running job is not due')
})

onEach('a failing job is retried at growing intervals and then fails for good', async (t, dialect) => {
  const starts: number[] = []
  let fails = true
  const app = await start(t, dialect, {
    'test.fail': kind(() => {
      starts.push(Date.now())
      if (fails) throw new Error(`no, ${starts.length}`)
      return 'yes'
    }),
  })
  const id = await add(app, 'test.fail', 1)
  const retry = () => ask(app, 'POST', `/api/jobs/${id}/retry/`)
  await waitFor(async () => starts.length === 1)
  t.match(await retry(), { status: 409, body: { code: 'job-not-failed' } })
  const failed = await waitForStatus(app, id, 'failed')
  t.match(failed, { attempts: 3, error: 'no, 3', result: null })
  t.type(failed.finished_at, 'string')
  const waits = starts.slice(1).map((time, place) => time - Number(starts[place]))
  t.ok(Number(waits[0]) >= 950, 'one second at least', { waits })
  t.ok(Number(waits[1]) >= 1_950, 'then two', { waits })

  t.match(await retry(), { status: 200, body: { id, finished_at: null } })
  await waitFor(async () => (await readJob(app, id)).status === 'failed' && starts.length === 6)
  t.match(await readJob(app, id), { attempts: 3, error: 'no, 6' }, 'a manual retry allows the same number of attempts')
  fails = false
  t.equal((await retry()).status, 200)
  t.match(await waitForStatus(app, id, 'done'), { attempts: 1, error: null, result: 'yes' })
  t.match(await retry(), { status: 409, body: { code: 'job-not-failed' } })
  const none = '00000000-0000-4000-8000-000000000000'
  t.match(await ask(app, 'POST', `/api/jobs/${none}/retry/`), { status: 404, body: { code: 'not-found' } })
  t.equal((await ask(app, 'POST', '/api/jobs/nonsense/retry/')).status < 500, true)
  t.equal(starts.length, 7)
})

onEach('an invalid payload or unknown kind is not enqueued', async (t, dialect) => {
  const app = await build(t, dialect, { handlers: { 'test.run': NEVER_RUN } })
  for (const [name, payload] of [
    ['test.run', { n: 'x' }],
    ['test.run', {}],
    ['test.run', { n: 1, more: 1 }],
    ['test.run', null],
    ['test.none', { n: 1 }],
    ['retention', { n: 1 }],
  ] as const)
    await t.rejects(
      app.db.write((tx) => app.jobs.add(tx, name, payload, {})),
      TypeError,
      `${name} ${JSON.stringify(payload)}`,
    )
  t.strictSame((await get(app, '/api/jobs/')).body.results, [])
})

onEach('errors of jobs show no SQL and no values', async (t, dialect) => {
  const app = await start(t, dialect, {
    'test.sql': kind(
      async (_payload, { db }) => {
        const { categories } = db.tables
        const now = new Date().toISOString()
        const row = { name: 'a secret value', slug: 'a-secret-value', created_at: now, updated_at: now, version: 1 }
        await db.write((tx) => tx.insert(categories).values([row, row]))
      },
      { attempts: 1 },
    ),
  })
  const { error } = await waitForStatus(app, await add(app, 'test.sql', 1), 'failed')
  t.ok(error.length > 0)
  t.notMatch(error, /secret|insert|values|select/i, error)
})

onEach('the list of jobs filters by kind and status, and pages through every job once', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', LIST, { sku: 'A', name: 'Shirt', price: 1 })
  const ids: string[] = []
  for (let n = 0; n < 5; n++) ids.unshift((await ask(app, 'POST', `${LIST}1/notify_update/`)).body.id)
  await app.db.write((tx) => app.jobs.enqueue(tx, 'retention', {}))
  const list = async (query: string) => (await get(app, `/api/jobs/?${query}`)).body
  t.equal((await list('')).results.length, 6)
  const listedIds: string[] = []
  for (let query: string | undefined = 'kind=products.notify&page_size=2'; query; ) {
    const { next, results }: Body = await list(query)
    t.ok(results.length <= 2)
    listedIds.push(...results.map(({ id }: Body) => id))
    query = next?.split('?')[1]
  }
  t.strictSame(listedIds.toSorted(), ids.toSorted(), 'each job is on one page')
  const [job] = await app.jobs.queue.claim('products.notify', 1)
  t.equal(job?.id, ids.at(-1), 'the oldest job first')
  t.strictSame(
    (await list('status=running')).results.map(({ id }: Body) => id),
    [job?.id],
  )
  t.equal((await list('status=waiting')).results.length, 5)
  t.equal((await list('status=waiting&kind=retention')).results.length, 1)
  t.equal((await list('status=failed')).results.length, 0)
  // JavaScript and PostgreSQL accept different times.
  const times = ['-200000-01-01T00:00:00.000Z', '+275760-09-13T00:00:00.000Z', '0000-01-01T00:00:00.000Z', '2026', 'now', 'infinity']
  const invented = times.map((time) => `cursor=${Buffer.from(`${time} ${ids[0]}`).toString('base64url')}`)
  for (const query of ['status=lost', 'kind=none', 'page_size=0', 'page_size=101', 'cursor=x', 'ordering=id', ...invented])
    t.equal((await get(app, `/api/jobs/?${query}`)).status, 400, query)
})

onEach('a job is visible to administrators and to the key that requested it', async (t, dialect) => {
  const app = await build(t, dialect)
  await ask(app, 'POST', LIST, { sku: 'A', name: 'Shirt', price: 1 })
  const by = async (role: 'read' | 'write') => {
    const { token } = await issueKey(app.db, { name: 'Shop', role }, COMMAND_LINE)
    return { authorization: `Bearer ${token}` }
  }
  const [shop, other, reader] = [await by('write'), await by('write'), await by('read')]
  const { status, body: job, headers } = await ask(app, 'POST', `${LIST}1/notify_update/`, undefined, { ...shop, 'x-request-id': 'r7' })
  t.equal(status, 202)
  t.match(job, { status: 'waiting', request: 'r7' })
  const url = new URL(String(headers.location)).pathname
  t.equal((await get(app, url)).status, 200)
  t.match(await ask(app, 'GET', url, undefined, shop), { status: 200, body: { id: job.id, key: job.key, request: 'r7' } })
  for (const who of [other, reader]) t.match(await ask(app, 'GET', url, undefined, who), { status: 404, body: { code: 'not-found' } })
  t.equal((await app.inject({ url })).statusCode, 401)
  t.equal((await ask(app, 'GET', '/api/jobs/', undefined, shop)).status, 403)
  t.equal((await ask(app, 'POST', `${url}retry/`, undefined, shop)).status, 403)
})

onEach('another worker takes over the job of a worker that vanished', async (t, dialect) => {
  const handlers = { 'test.run': kind(({ n }) => ({ by: 'another', n })) }
  const idle = await build(t, dialect, { handlers })
  const queue: Queue = dialect.name === 'pg' ? idle.jobs.queue : new TableQueue(idle.db, new Map([['test.run', TERMS]]), 8_000)
  const id = await add(idle, 'test.run', 1)
  const [lostJob] = await queue.claim('test.run', 5)
  if (lostJob?.id !== id) throw new Error('the job was not claimed')
  t.match(await readJob(idle, id), { status: 'running', attempts: 1 })
  const app = await start(t, onSameDatabase(idle), handlers)
  t.match(await waitForStatus(app, await add(app, 'test.run', 2), 'done'), { result: { n: 2 } })
  t.match(await readJob(app, id), { status: 'running', attempts: 1 }, 'not before the lease expires')
  const done = await waitForStatus(app, id, 'done')
  t.match(done, { attempts: 2, result: { by: 'another', n: 1 } })
  // The worker returns, but its results no longer count.
  await queue.complete(lostJob, { by: 'the lost one' })
  await queue.fail(lostJob, 'the lost one').catch(() => {})
  await queue.release(lostJob)
  t.strictSame(await readJob(app, id), done)
})

/** Milliseconds, longer than the tests run. */
const HOUR = 3_600_000

onEach('a closing worker hands back its running jobs and takes no more', async (t, dialect) => {
  const started: number[] = []
  const handlers = {
    'test.polite': kind(async ({ n }, _services, { signal }) => {
      started.push(n)
      await setTimeout(HOUR, undefined, { signal })
    }),
    'test.deaf': kind(async ({ n }) => {
      started.push(n)
      await setTimeout(HOUR, undefined, { ref: false })
    }),
    'test.quick': kind(async ({ n }, _services, { signal }) => {
      started.push(n)
      await setTimeout(HOUR, undefined, { signal }).catch(() => {})
      return 'in time'
    }),
  }
  const app = await start(t, dialect, handlers)
  const idle = await build(t, onSameDatabase(app), { handlers })
  const [polite, deaf, quick] = [await add(app, 'test.polite', 1), await add(app, 'test.deaf', 2), await add(app, 'test.quick', 3)]
  await waitFor(async () => started.length === 3)
  const closed = app.close()
  const late = await add(idle, 'test.polite', 4)
  await closed
  for (const id of [polite, deaf]) t.match(await readJob(idle, id), { status: 'waiting', attempts: 0, error: null })
  t.match(await readJob(idle, quick), { status: 'done', attempts: 1, result: 'in time' })
  t.match(await readJob(idle, late), { status: 'waiting', attempts: 0, started_at: null })
  t.strictSame(started.toSorted(), [1, 2, 3])
  const next = await start(t, onSameDatabase(idle), { ...handlers, 'test.polite': kind(() => 'done'), 'test.deaf': kind(() => 'done') })
  for (const id of [polite, deaf, late])
    t.match(await waitForStatus(next, id, 'done'), { attempts: 1 }, 'the handed back attempt did not count')
})

onEach('the hourly retention job runs once for all instances and removes old entries', async (t, dialect) => {
  const idle = await build(t, dialect)
  const { changes, deliveries } = idle.db.tables
  const ago = (days: number) => new Date(Date.now() - days * 86_400_000).toISOString()
  await idle.db.write(async (tx) => {
    await tx.delete(changes)
    for (const at of [ago(100), ago(10)])
      await tx.insert(changes).values({ resource: 'products', record_id: 1, operation: 'update', version: 1, at, fields: '{}' })
    for (const [n, created_at] of [ago(40), ago(10), ago(5)].entries())
      await tx.insert(deliveries).values({
        webhook: 1,
        message: `msg_${n}`,
        type: 'products.updated',
        event: `change ${n}`,
        // The last one belongs to a webhook that does not exist.
        status: n === 2 ? 'pending' : 'delivered',
        history: [],
        body: '{}',
        created_at,
        updated_at: created_at,
        version: 1,
      })
  })
  const env = { CHANGES_KEEP_DAYS: '90', DELIVERIES_KEEP_DAYS: '30' }
  const [one, other] = await Promise.all([start(t, onSameDatabase(idle), {}, { env }), start(t, onSameDatabase(idle), {}, { env })])
  const list = async (): Promise<Body[]> => (await get(one, '/api/jobs/?kind=retention')).body.results
  const [job] = await waitFor(async () => {
    const jobs = await list()
    return jobs.length > 0 && jobs.every(({ status }) => status === 'done') && jobs
  })
  t.match(job, { attempts: 1, result: { changes: 1, deliveries: 1, cancelled: 1 } })
  // Both instances schedule the job again.
  for (const app of [one, other]) await app.db.write((tx) => app.jobs.schedule(tx, 'retention', 3_600_000))
  t.equal((await list()).length, 1)
  t.strictSame((await one.db.read.select().from(deliveries)).map(({ message, status }) => [message, status]).sort(), [
    ['msg_1', 'delivered'],
    ['msg_2', 'cancelled'],
  ])
  t.equal((await one.db.read.select().from(changes)).filter(({ resource }) => resource === 'products').length, 1)
})

const WORKER = new URL('worker-process.ts', import.meta.url).pathname
const JOBS = 200

onEach('three processes share the jobs, and no job runs twice', async (t, dialect) => {
  const app = await build(t, dialect, { handlers: { 'test.share': NEVER_RUN } })
  const query = await connect(t, app.config.DATABASE_URL)
  await query('create table ran (n integer not null, process integer not null)')
  const children = Array.from({ length: 3 }, () => startNode(t, [WORKER], { DATABASE_URL: app.config.DATABASE_URL }))
  const exits = children.map((child) => once(child, 'exit'))
  for (const child of children) await once(child.stdout, 'data')
  await app.db.write(async (tx) => {
    for (let n = 0; n < JOBS; n++) await app.jobs.add(tx, 'test.share', { n }, {})
  })
  await waitFor(async () => (await query('select count(*) as count from ran'))[0]?.count?.toString() === String(JOBS), `${JOBS} jobs`)
  await setTimeout(500)
  for (const child of children) child.stdin.end()
  for (const [code] of await Promise.all(exits)) t.equal(code, 0)
  const rows = await query('select n, process from ran order by n')
  t.strictSame(
    rows.map(({ n }) => Number(n)),
    Array.from({ length: JOBS }, (_, n) => n),
  )
  t.equal(new Set(rows.map(({ process }) => process)).size, 3, 'each process ran some')
})
