// Failures of PostgreSQL: answers of requests and of /readyz, recovery, and messages at start.
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { Writable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { main } from '../../src/command-line.ts'
import type { App } from '../../src/http/routes.ts'
import { connect, DIALECTS, type Dialect, type Query } from '../dialects.ts'
import { type Answer, ask, build, get } from '../helper.ts'
import { startServer } from '../postgres.ts'
import { startProxy } from '../tcp-proxy.ts'

// The tests mostly wait for time limits and use no CPU meanwhile.
t.jobs = 5

const [, postgres] = DIALECTS as [Dialect, Dialect]

const OPTIONS = { buffered: true, skip: postgres.skip }
const at = (url: string) => ({ env: { DATABASE_URL: url } })

const PRODUCT = { name: 'Shirt', price: '1.00' }
const create = (app: App, product: object = PRODUCT) => ask(app, 'POST', '/api/products/', product)
const list = (app: App) => get(app, '/api/products/')
const ready = (app: App) => get(app, '/readyz')

/** A 503 with a code and a detail. */
const unavailable = (code: string, detail: RegExp) => ({ status: 503, headers: { 'retry-after': '1' }, body: { code, detail } })

/** Repeats a request until its answer has a status. The time limit of the test ends an endless wait. */
async function waitForStatus(status: number, request: () => Promise<Answer>): Promise<void> {
  while ((await request()).status !== status) await setTimeout(50)
}

async function terminateOthers(query: Query): Promise<void> {
  await query('select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()')
}

t.test('a read-only database answers 503 to writes and to /readyz until it is writable', OPTIONS, async (t) => {
  const app = await build(t, postgres)
  const query = await connect(t, app.config.DATABASE_URL)
  const name = new URL(app.config.DATABASE_URL).pathname.slice(1)
  for (const [setting, isReadOnly] of [
    ['on', true],
    ['off', false],
  ] as const) {
    await query(`alter database ${name} set default_transaction_read_only = ${setting}`)
    await terminateOthers(query)
    await waitForStatus(isReadOnly ? 503 : 200, () => ready(app))
    t.match(await ready(app), isReadOnly ? unavailable('not-ready', /read-only/) : { status: 200 })
    t.match(await create(app), isReadOnly ? unavailable('database-unavailable', /read-only/) : { status: 201 })
    t.match(await list(app), { status: 200 }, 'reads continue')
  }
})

t.test('connections that vanish silently are replaced, and /readyz does not hang', OPTIONS, async (t) => {
  const { url, stallExisting, setStalled } = await startProxy(t, await postgres.create(t), 5432)
  const app = await build(t, postgres, at(url))
  // All connections are open and idle.
  await Promise.all(Array.from({ length: 12 }, (_, number) => [list(app), create(app, { ...PRODUCT, sku: `${number}` })]).flat())
  stallExisting()
  t.match(await ready(app), unavailable('not-ready', /has not answered for 2 s/))
  t.match(await create(app), unavailable('database-unavailable', /does not respond/), 'the request is answered')
  await waitForStatus(200, () => list(app))
  await waitForStatus(201, () => create(app))
  await waitForStatus(200, () => ready(app))

  setStalled(true)
  t.match(await ready(app), unavailable('not-ready', /has not answered for 2 s/), 'the server hangs')
  setStalled(false)
  await waitForStatus(200, () => ready(app))
  t.match(await create(app), { status: 201 })
})

t.test('a locked table and an exhausted pool are reported differently', OPTIONS, async (t) => {
  const app = await build(t, postgres)
  const query = await connect(t, app.config.DATABASE_URL)
  await query('begin; lock table products in exclusive mode')
  const waiting = Array.from({ length: 4 }, () => create(app))
  while ((await query("select from pg_locks where not granted and relation = 'products'::regclass")).length < 4) await setTimeout(20)
  for (const answer of await Promise.all(waiting)) t.match(answer, unavailable('database-busy', /has locked/))
  await query('rollback')
  t.match(await create(app), { status: 201 })

  const released = Promise.withResolvers<void>()
  const holding = Array.from({ length: 4 }, () => app.db.write(() => released.promise))
  t.match(await create(app), unavailable('database-busy', /All database connections/))
  t.match(await list(app), { status: 200 }, 'reads use separate connections')
  released.resolve()
  await Promise.all(holding)
  t.match(await create(app), { status: 201 })
})

const noMount = spawnSync('mount', ['--version']).status === 0 && process.getuid?.() === 0 ? false : 'needs root to mount a small disk'

t.test(
  'a full disk answers 503 to writes and to /readyz until there is space',
  { ...OPTIONS, skip: noMount || postgres.skip },
  async (t) => {
    const server = await startServer(t, { disk: '100m' })
    if (!server) return void t.pass('no small disk can be mounted here')
    const app = await build(t, postgres, at(server.url))
    t.match(await create(app), { status: 201 })
    server.fillDisk()
    let answer = await create(app)
    while (answer.status === 201) answer = await create(app, { ...PRODUCT, description: randomBytes(1_000).toString('hex') })
    t.match(answer, unavailable('database-unavailable', /disk .* full/))
    t.match(await ready(app), unavailable('not-ready', /disk .* full/))
    t.match(await list(app), { status: 200 }, 'reads continue')
    server.freeDisk()
    await waitForStatus(200, () => ready(app))
    t.match(await create(app), { status: 201 })
  },
)

/** Runs a command in this process. Returns its exit code and its output to standard error. */
async function run(args: string[], env: Record<string, string>) {
  let output = ''
  const stderr = new Writable({
    write(chunk, _encoding, done) {
      output += chunk
      done()
    },
  })
  const code = await main(args, { env, stdin: process.stdin, stdout: stderr, stderr })
  return { code, output }
}

t.test('a start that cannot use the server says why in one sentence', OPTIONS, async (t) => {
  const hanging = createServer(() => {}).listen(0, '127.0.0.1')
  await once(hanging, 'listening')
  t.teardown(() => hanging.close())
  const fails = async (what: string, url: string, says: RegExp) => {
    const { code, output } = await run(['migrate'], { DATABASE_URL: url })
    t.equal(code, 1, what)
    t.match(output, says, what)
    t.equal(output.trim().split('\n').length, 1, `${what}: one line`)
  }
  const url = await postgres.create(t)
  const query = await connect(t, url)
  const name = new URL(url).pathname.slice(1)
  const role = `${name}_guest`
  await query(`create role ${role} login`)
  t.teardown(() => query(`drop role ${role}`))
  await query('revoke create on schema public from public')
  const guest = new URL(url)
  guest.username = role
  await fails('a guest', guest.href, /^PostgreSQL at \S+ refuses this user\. Let the user own the database \(permission denied/)
  await query(`alter database ${name} set default_transaction_read_only = on`)
  await fails('read-only', url, /^PostgreSQL at \S+ is read-only/)
  await fails(
    'nothing listens',
    'postgres://postgres@127.0.0.1:1/none',
    /^PostgreSQL at 127\.0\.0\.1:1\/none does not respond\. .*ECONNREFUSED/,
  )
  const missing = new URL(url)
  missing.pathname = '/stockroom_missing'
  await fails(
    'no such database',
    missing.href,
    /^PostgreSQL at \S+\/stockroom_missing has no such database\. Create it, or check DATABASE_URL/,
  )
  const { port } = hanging.address() as AddressInfo
  await fails('it hangs', `postgres://postgres@127.0.0.1:${port}/none`, /^PostgreSQL at \S+ does not respond\. Check DATABASE_URL/)
})
