// The command line, run in this process, or in a separate one where signals or files matter.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import Sqlite from 'better-sqlite3'
import { type Command, CommanderError } from 'commander'
import { sql } from 'drizzle-orm'
import t, { type Test } from 'tap'
import { open } from '../drizzle/open.ts'
import packageJson from '../package.json' with { type: 'json' }
import { buildProgram, main } from '../src/command-line.ts'
import { commands } from '../src/commands.ts'
import { loadResources } from '../src/query/registry.ts'
import { sampleProducts } from '../src/transfer/sample.ts'
import { connect as connectTo, DIALECTS, type Dialect } from './dialects.ts'
import { onEach } from './helper.ts'
import { type NodeProcess, startNode } from './node-process.ts'

const CLI = new URL('../src/cli.ts', import.meta.url).pathname

interface Options {
  env?: Record<string, string>
  cwd?: string
  input?: string
}

/** Starts the command in a separate process. */
const start = (t: Test, args: string[], { env = {}, cwd }: Options = {}): NodeProcess =>
  startNode(t, [CLI, ...args], { LOG_LEVEL: 'silent', PORT: '0', ...env }, cwd)

/** Runs the command in a separate process until it ends. */
async function runProcess(t: Test, args: string[], options: Options = {}) {
  const child = start(t, args, options)
  child.stdin.on('error', () => {}).end(options.input)
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  return { out, err, code }
}

/** Runs the command in this process, which takes a tenth of the time. */
async function run(args: string[], { env = {}, input = '' }: Options = {}) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()]
  const stdin = Readable.from([Buffer.from(input)])
  const code = await main(args, { env: { LOG_LEVEL: 'silent', PORT: '0', ...env }, stdin, stdout, stderr })
  const [out, err] = await Promise.all([text(stdout.end()), text(stderr.end())])
  return { out, err, code }
}

/** A line of a stack trace. Messages to operators must have none. */
const TRACE = /^\s+at /m

t.test('help lists every command, and each command has its own help', async (t) => {
  const help = await runProcess(t, ['--help'])
  t.match(help, { code: 0, err: '' })
  for (const [name, { summary, argument, options = [] }] of Object.entries(commands)) {
    const [first, ...rest] = name.split(' ')
    t.match(help.out, new RegExp(rest.length > 0 ? `^  ${first}\\b` : `^  ${name}\\b.*${summary.slice(0, 30)}`, 'm'))
    let command: Command | undefined = buildProgram()
    for (const word of [first, ...rest]) command = command?.commands.find((command) => command.name() === word)
    const text = command?.helpInformation().replace(/\s+/g, ' ')
    for (const part of [
      name,
      summary,
      ...(argument?.slice(0, 2) ?? []),
      ...options.flatMap(({ flags, description }) => [flags, description]),
    ])
      t.ok(text?.includes(String(part)), `${name}: ${part}`)
  }
})

t.test('the version is that of the package', async (t) => {
  t.equal(buildProgram().version(), packageJson.version)
})

const misuses: [what: string, args: string[], env: Record<string, string>, says: RegExp][] = [
  ['an unknown command', ['improt'], {}, /unknown command 'improt'[\s\S]*import/],
  ['an option with a bad value', ['seed', '--count', '1e3'], {}, /whole number from 1/],
  ['a bad setting', ['serve'], { PORT: '70000' }, /PORT must be at most 65535/],
  ['a misspelt setting', ['migrate'], { DATABSE_URL: 'file:x.db' }, /DATABSE_URL is not a setting; did you mean DATABASE_URL\?/],
]

t.test('usage errors exit with 2 and a reason', async (t) => {
  const cwd = t.testdir()
  const check = async ([what, args, env, says]: (typeof misuses)[number], exits: typeof runProcess) => {
    const { code, out, err } = await exits(t, args, { env, cwd })
    t.equal(code, 2, what)
    t.match(err, says, what)
    t.notMatch(err, TRACE, what)
    t.equal(out, '', what)
  }
  for (const misuse of misuses) await check(misuse, (_t, args, options) => run(args, options))
  for (const misuse of misuses.slice(-1)) await check(misuse, runProcess)
  t.notOk(existsSync(join(cwd, 'data')), 'no database is created')
})

for (const args of [
  [],
  ['import'],
  ['seed', '--counts', '5'],
  ['seed', '--count'],
  ['seed', '--count', '0'],
  ['import', 'a', 'b'],
  ['serve', 'now'],
]) {
  t.test(`a usage error is reported for ${args.join(' ') || 'no arguments'}`, async (t) => {
    const stockroom = buildProgram()
    for (const command of [stockroom, ...stockroom.commands]) command.configureOutput({ writeErr: () => {} })
    const error = await stockroom.parseAsync(args, { from: 'user' }).catch((error) => error)
    t.ok(error instanceof CommanderError)
    t.not(error.exitCode, 0)
  })
}

t.test('failures exit with 1 and a reason', async (t) => {
  const folder = t.testdir({
    'bad.ndjson': '{"sku": "A", "name": "a", "price": 1}\n{"sku": "B"}\n',
    'not.db': 'This is no database. '.repeat(100),
  })
  const locked = new Sqlite(join(folder, 'locked.db'))
  locked.pragma('journal_mode = wal')
  locked.exec('begin immediate')
  t.teardown(() => locked.close())
  const failures: [what: string, args: string[], database: string, says: RegExp][] = [
    [
      'a file that is not there',
      ['import', 'nowhere.ndjson'],
      `file:${join(folder, 'a.db')}`,
      /^File nowhere\.ndjson does not exist\. Name a file with one JSON object a line, or - for standard input\.\n$/,
    ],
    ['a folder', ['import', folder], `file:${join(folder, 'a.db')}`, /^File \S+ is a folder\. Name a file/],
    [
      'a refused import',
      ['import', join(folder, 'bad.ndjson')],
      `file:${join(folder, 'c.db')}`,
      /^Nothing was imported:\n {2}line 2: name is required for a new product; price is required for a new product\n/,
    ],
    ['a locked database', ['migrate'], `file:${join(folder, 'locked.db')}`, /^The database is locked by another process\. Wait/],
    [
      'a file that is no database',
      ['migrate'],
      `file:${join(folder, 'not.db')}`,
      /^Database file \S+not\.db is not an SQLite database\. Set DATABASE_URL/,
    ],
    [
      'a server that is not there',
      ['serve'],
      'postgres://postgres@127.0.0.1:1/stockroom',
      /^PostgreSQL at 127\.0\.0\.1:1\/stockroom does not respond\. Check/,
    ],
    [
      'a server without an address',
      ['serve'],
      'postgres://postgres@nowhere.invalid/stockroom',
      /^PostgreSQL at nowhere\.invalid\/stockroom does not respond\. Check/,
    ],
    [
      'a folder as database',
      ['migrate'],
      `file:${folder}`,
      /^Database file \S+ cannot be opened\. Set DATABASE_URL to a file, not a folder/,
    ],
    ['a database below a file', ['migrate'], `file:${join(folder, 'not.db', 'a.db')}`, /^Database file \S+ cannot be created\. Set/],
  ]
  const all = failures.map(async ([what, args, database, says]) => {
    const { code, out, err } = await run(args, { env: { DATABASE_URL: database } })
    t.equal(code, 1, what)
    t.match(err, says, what)
    t.notMatch(err, TRACE, what)
    t.equal(out, '', what)
  })
  await Promise.all(all)
})

onEach('each command does its work and reports it', async (t, dialect) => {
  const env = { DATABASE_URL: await dialect.create(t) }
  const resources = await loadResources()
  const steps: [args: string[], out: RegExp, input?: string][] = [
    [['migrate'], /^Applied 0000_init, .*products_search.*\.\n$/],
    [
      ['import', '-'],
      /^2 created, 0 updated, 0 unchanged\.\n$/,
      '{"sku": "A", "name": "a", "price": 3}\r\n{"sku": "C", "name": "c", "price": 1}\r\n',
    ],
    [
      ['import', '--atomic', '-'],
      /^1 created, 1 updated, 0 unchanged\.\n$/,
      '{"sku": "A", "price": 4}\n{"sku": "D", "name": "d", "price": 1}\n',
    ],
    [
      ['import', '-'],
      /^0 created, 2 updated, 0 unchanged\. New categories: Clothng, Shoes\\u\{202e\}\.\n$/,
      '{"sku": "A", "category": ["Clothng", "Shoes\\u202e"]}\n{"sku": "C", "category": ["Clothng"]}\n',
    ],
    [['import', '-'], /^0 created, 0 updated, 1 unchanged\.\n$/, '{"sku": "C", "category": ["Clothng"]}\n'],
    [
      ['import', '-'],
      /^25 created, 0 updated, 0 unchanged\. New categories: N0, N1, .*, N19 and 5 more\.\n$/,
      Array.from({ length: 25 }, (_, n) => `{"sku": "N${n}", "name": "n", "price": 1, "category": ["N${n}"]}`).join('\n'),
    ],
    [['seed', '--count', '5'], /^The database already has products\. Nothing was added\.\n$/],
    [
      ['reindex'],
      new RegExp(
        `^${resources.map(({ table }) => `${table}: ${table === 'products' ? 28 : table === 'categories' ? 27 : 0}\n`).join('')}$`,
      ),
    ],
  ]
  for (const [args, out, input] of steps)
    t.match(await run(args, { env, ...(input && { input }) }), { code: 0, err: '', out }, args.join(' '))
})

t.test('output of an import contains no terminal control characters', async (t) => {
  const env = { DATABASE_URL: `file:${join(t.testdir(), 'a.db')}` }
  const input = [
    '{"sku": "A", "name": "a", "price": 1, "\u001b[2J\u009b1m": 1}'.replace('\u001b', '\\u001b'),
    'no JSON \u001b]0;title\u0007',
    '{"sku": "B\u202e\u2028\\n\u0085", "price": 1, "nam\\ne": 1}',
  ].join('\n')
  const { code, err } = await run(['import', '-'], { env, input })
  t.equal(code, 1)
  t.match(err, /line 1: \\u\{1b\}\[2J\\u\{9b\}1m is not known/)
  t.notMatch(err, /(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
  t.equal(err.trimEnd().split('\n').length, 4, 'no line of the file becomes two')
})

onEach('repeating a killed import completes it', async (t, dialect) => {
  const env = { DATABASE_URL: await dialect.create(t) }
  const input = Array.from({ length: 3_000 }, (_, n) => `{"sku": "S${n}", "name": "Shirt", "price": 1}`).join('\n')
  await run(['migrate'], { env })
  const db = await open(env.DATABASE_URL, { served: [] })
  t.teardown(() => db.close())
  const count = async () => (await db.read.select({ id: db.tables.products.id }).from(db.tables.products)).length
  const child = start(t, ['import', '-'], { env })
  const closed = once(child, 'close')
  child.stdin.end(input)
  while ((await count()) === 0) await setTimeout(2)
  child.kill('SIGKILL')
  await closed
  const before = await count()
  t.comment(`${before} lines before the kill`)
  const { out } = await run(['import', '-'], { env, input })
  t.equal(out, `${3_000 - before} created, 0 updated, ${before} unchanged.\n`)
})

t.test('the default database is a file below the working directory', async (t) => {
  const cwd = t.testdir()
  t.match(await runProcess(t, ['seed', '--count', '7'], { cwd }), { code: 0, err: '', out: '7 created, 0 updated, 0 unchanged.\n' })
  const db = new Sqlite(join(cwd, 'data/stockroom.db'), { readonly: true })
  t.same(db.prepare('select count(*) as count from products').get(), { count: 7 })
  db.close()
})

/** Starts `serve` and waits until it listens. */
async function startServing(t: Test, env: Record<string, string>, drain = 0) {
  const child = start(t, ['serve', '--drain', `${drain}`], { env })
  const exit = once(child, 'exit')
  const out: Buffer[] = []
  child.stdout.on('data', (chunk) => out.push(chunk))
  const err = text(child.stderr)
  const readOutput = () => Buffer.concat(out).toString()
  while (!readOutput().includes('openapi.json\n'))
    await Promise.race([once(child.stdout, 'data'), exit.then(async () => Promise.reject(new Error(await err)))])
  const url = new URL(/Stockroom listens on (\S+)/.exec(readOutput())?.[1] ?? '')
  const [key = ''] = /stk_\w+/.exec(readOutput()) ?? []
  return { child, exit, url, out: readOutput(), readOutput, port: Number(url.port), key }
}

/** Repeats a signal until the process ends, because `serve` ignores signals within a second of the first. */
async function signalUntilExit({ child, exit }: Pick<Awaited<ReturnType<typeof startServing>>, 'child' | 'exit'>, signal: NodeJS.Signals) {
  const hasEnded = exit.then(() => true)
  do child.kill(signal)
  while (!(await Promise.race([hasEnded, setTimeout(100, false)])))
}

/** Opens a connection for writing a request piece by piece. */
async function dial(t: Test, port: number): Promise<{ socket: Socket; answer: Promise<string> }> {
  const socket = connect(port, '127.0.0.1').on('error', () => {})
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  return { socket, answer: text(socket) }
}

const isRefused = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.on('connect', () => resolve(false)).on('error', () => resolve(true))
    socket.on('connect', () => socket.destroy())
  })

async function waitUntilRefused(port: number): Promise<void> {
  while (!(await isRefused(port))) await setTimeout(5)
}

onEach('the first start creates an admin key and prints it once, with a command to try', async (t, dialect) => {
  const DATABASE_URL = await dialect.create(t)
  const first = await startServing(t, { DATABASE_URL, LOG_LEVEL: 'info' })
  t.match(first.key, /^stk_1_[0-9a-f]{48}$/)
  const [line = ''] = /^curl .*$/m.exec(first.out) ?? []
  const result = spawnSync('sh', ['-c', `${line} --silent --show-error --include`], { encoding: 'utf8' })
  t.match(result.stdout, /^HTTP\/1\.1 201 Created[\s\S]*"name":"Red shirt","description":"","price":"29.90"/)
  first.child.kill('SIGTERM')
  await first.exit
  t.equal(first.readOutput().split(first.key).length - 1, 2, 'the key appears alone and in the command, but in no log line')

  const second = await startServing(t, { DATABASE_URL })
  t.notMatch(second.out, /stk_/)
  t.equal((await fetch(new URL('/api/keys/', second.url), { headers: { authorization: `Bearer ${first.key}` } })).status, 200)
})

t.test('ADMIN_KEY becomes the first key and is never printed', async (t) => {
  const ADMIN_KEY = `stk_1_${'a1B2'.repeat(12)}`
  const DATABASE_URL = `file:${join(t.testdir(), 'test.db')}`
  const { child, exit, url, readOutput } = await startServing(t, { DATABASE_URL, ADMIN_KEY, LOG_LEVEL: 'info' })
  t.equal((await fetch(new URL('/api/keys/', url), { headers: { authorization: `Bearer ${ADMIN_KEY}` } })).status, 200)
  child.kill('SIGTERM')
  await exit
  t.notOk(readOutput().includes(ADMIN_KEY), 'the configured key is not printed')
  t.notMatch(readOutput(), /ADMIN_KEY/)

  const other = await startServing(t, { DATABASE_URL, ADMIN_KEY: ADMIN_KEY.replace('a', 'b'), LOG_LEVEL: 'info' }, 600)
  other.child.kill('SIGTERM')
  while ((await fetch(new URL('/readyz', other.url))).status === 200);
  t.equal((await fetch(new URL('/api/products/', other.url))).status, 200, 'a draining service answers')
  await signalUntilExit(other, 'SIGTERM')
  t.same(await other.exit, [1, null], 'a second signal ends the drain')
  t.match(other.readOutput(), /ADMIN_KEY is not a key of this database/, 'an ignored ADMIN_KEY is reported')
})

const [, postgres] = DIALECTS as [Dialect, Dialect]

t.test('a service listens only after ADMIN_KEY is stored in the database', { skip: postgres.skip }, async (t) => {
  const ADMIN_KEY = `stk_1_${'a1B2'.repeat(12)}`
  const DATABASE_URL = await postgres.create(t)
  const db = await open(DATABASE_URL, { served: (await loadResources()).map(({ served }) => served) })
  t.teardown(() => db.close())
  await db.migrate()
  const reserved = createServer().listen(0, '127.0.0.1')
  await once(reserved, 'listening')
  const { port } = reserved.address() as AddressInfo
  reserved.close()
  const locks = await connectTo(t, DATABASE_URL)
  const others = await connectTo(t, DATABASE_URL)
  await locks("begin; select pg_advisory_xact_lock(hashtext('keys'))")
  const serves = startServing(t, { DATABASE_URL, ADMIN_KEY, PORT: `${port}` })
  const waits = `select from pg_locks where not granted and locktype = 'advisory' and database =
    (select oid from pg_database where datname = current_database())`
  while ((await others(waits)).length === 0) await setTimeout(20)
  t.ok(await isRefused(port), 'the port is closed while the key is not stored')
  await locks('commit')
  const { url } = await serves
  t.equal((await fetch(new URL('/readyz', url))).status, 200)
  t.equal((await fetch(new URL('/api/keys/', url), { headers: { authorization: `Bearer ${ADMIN_KEY}` } })).status, 200)
})

onEach('the keys commands create, list, rotate and revoke keys, and report errors', async (t, dialect) => {
  const DATABASE_URL = await dialect.create(t)
  const env = { DATABASE_URL }
  const keys = (...args: string[]) => run(['keys', ...args], { env })
  t.match(await keys('list'), { code: 0, out: 'There are no API keys.\n' })
  const created = await keys('create', '--name', 'Shop', '--role', 'admin')
  t.match(created, { code: 0, err: '', out: /^stk_1_[0-9a-f]{48}\n$/ })
  // Earlier versions accepted control characters in names.
  const query = await connectTo(t, DATABASE_URL)
  await query("update keys set name = 'Shop\u001b[2J'")
  t.match(await keys('create', '--name', 'Soon over', '--role', 'read', '--expires', '2099-01-31'), { code: 0, out: /^stk_2_/ })
  t.match(await keys('list'), {
    code: 0,
    out: /^id +name +role +created_at +last_used_at +expires_at +revoked_at\n1 +Shop\?\[2J +admin +20\S+Z +- +- +-\n2 +Soon over +read +20\S+Z +- +2099-01-31T00:00:00\.000Z +-\n$/,
  })
  const rotated = await keys('rotate', '1')
  t.match(rotated, { code: 0, out: /^stk_1_/ })
  t.not(rotated.out, created.out)
  t.match(await keys('revoke', rotated.out.trim()), { code: 0, out: /^Key 1 \(.*\) is revoked\. Running instances reject it/ })
  t.match(await keys('list'), { out: /^1 .* 20\S+Z$/m })
  for (const [args, code, err] of [
    [['rotate', '1'], 1, /^Key 1 is revoked\./],
    [['revoke', '9'], 1, /There is no key with the id 9/],
    [['revoke', 'Shop'], 2, /Expected the id of a key/],
    [['create', '--name', 'A'], 2, /--role/],
    [['create', '--name', 'A', '--role', 'root'], 2, /read, write, admin/],
    [['create', '--name', 'A', '--role', 'read', '--expires', 'soon'], 1, /expires_at/],
    [['create', '--name', 'A', '--role', 'read', '--expires', '2001-01-01'], 1, /expires_at is in the past/],
    [['create', '--name', '', '--role', 'read'], 1, /name/],
    [['create', '--name', 'Shop\u001b[2J', '--role', 'read'], 1, /name has the control character U\+001B/],
  ] as const) {
    const { code: actual, out, err: message } = await keys(...args)
    t.equal(actual, code, args.join(' '))
    t.match(message, err)
    t.notMatch(message, TRACE)
    t.equal(out, '')
  }
})

const BODY = '{"name": "Half a body", "price": "1.00"}'
const half = (key: string) =>
  `POST /api/products/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\nContent-Type: application/json\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY.slice(0, 20)}`

onEach('serve prints its URLs, and on SIGTERM completes open requests before it exits', async (t, dialect) => {
  const DATABASE_URL = await dialect.create(t)
  const { child, exit, url, out, readOutput, port, key } = await startServing(t, { DATABASE_URL })
  for (const path of ['/api/products/', '/api/categories/', '/docs/', '/openapi.json']) {
    t.ok(out.includes(`${url.origin}${path}\n`), `the output names ${path}`)
    const response = await fetch(new URL(path, url))
    t.equal(response.status, 200, path)
    await response.arrayBuffer()
  }
  // fetch has left an idle connection open, which must not delay the exit.
  const posting = await dial(t, port)
  posting.socket.write(half(key))
  const asking = await dial(t, port)
  asking.socket.write('GET /readyz HTTP/1.1\r\nHost: x\r\n')
  t.equal((await fetch(new URL('/readyz', url))).status, 200, 'it is ready before the signal')

  child.kill('SIGTERM')
  await waitUntilRefused(port)
  t.equal(child.exitCode, null, 'it waits for open requests')
  asking.socket.write('\r\n')
  t.match(await asking.answer, /^HTTP\/1\.1 503 [\s\S]*connection: close[\s\S]*"code":"not-ready"/i)
  posting.socket.write(BODY.slice(20))
  t.match(await posting.answer, /^HTTP\/1\.1 201 [\s\S]*connection: close/i)
  t.same(await exit, [0, null])

  t.equal(readOutput(), out, 'it logs nothing at this LOG_LEVEL')
  const db = await open(DATABASE_URL, { served: [] })
  t.teardown(() => db.close())
  t.match(await db.read.select().from(db.tables.products), [{ name: 'Half a body' }], 'the acknowledged write is in the database')
})

t.test('a signal more than a second after the first ends the process at once', async (t) => {
  const env = { DATABASE_URL: `file:${join(t.testdir(), 'test.db')}`, LOG_LEVEL: 'error' }
  const { child, exit, port, key, readOutput } = await startServing(t, env)
  const posting = await dial(t, port)
  posting.socket.write(half(key))
  t.equal((await fetch(`http://127.0.0.1:${port}/livez`)).status, 200)
  child.kill('SIGINT')
  await waitUntilRefused(port)
  t.equal(child.exitCode, null)
  await signalUntilExit({ child, exit }, 'SIGINT')
  t.same(await exit, [1, null])
  t.match(readOutput(), /second signal, SIGINT: exiting at once/)
})

for (const first of ['SIGTERM', 'SIGINT'] as const) {
  t.test(`signals within a second of a first ${first} are ignored`, async (t) => {
    const env = { DATABASE_URL: `file:${join(t.testdir(), 'test.db')}` }
    const { child, exit, port, key } = await startServing(t, env)
    const posting = await dial(t, port)
    posting.socket.write(half(key))
    t.equal((await fetch(`http://127.0.0.1:${port}/livez`)).status, 200)
    for (const signal of [first, first, 'SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
      child.kill(signal)
      await setTimeout(50)
    }
    await waitUntilRefused(port)
    posting.socket.write(BODY.slice(20))
    t.match(await posting.answer, /^HTTP\/1\.1 201 /)
    t.same(await exit, [0, null])
  })
}

t.test('serve reports a port in use and exits', async (t) => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  t.teardown(() => other.close())
  const { port } = other.address() as AddressInfo
  const env = { DATABASE_URL: `file:${join(t.testdir(), 'test.db')}`, PORT: `${port}` }
  const { code, out, err } = await runProcess(t, ['serve'], { env })
  t.match({ code, out }, { code: 1, out: '' })
  t.equal(err, `Port ${port} on 127.0.0.1 is in use by another process. Set PORT to another one.\n`)
  const elsewhere = await run(['serve'], { env: { ...env, HOST: '192.0.2.1' } })
  t.match(elsewhere, { code: 1, out: '', err: /^Address 192\.0\.2\.1 does not belong to this machine\. Set HOST/ })
})

onEach('serve refuses the database of a newer version', async (t, dialect) => {
  const DATABASE_URL = await dialect.create(t)
  await run(['migrate'], { env: { DATABASE_URL } })
  const db = await open(DATABASE_URL, { served: [] })
  t.teardown(() => db.close())
  await db.write((tx) => tx.run(sql`insert into stockroom_schema (kind, name, hash) values ('migration', '9999_newer', '')`))
  const { code, out, err } = await run(['serve'], { env: { DATABASE_URL } })
  t.match({ code, out }, { code: 1, out: '' })
  t.match(err, /^Migration 9999_newer of the database is unknown to this version/)
  t.notMatch(err, TRACE)
})

const noTerminal = spawnSync('script', ['--version']).status === 0 ? false : 'script(1) is not here'

t.test('an import from a file shows its progress on a terminal', { skip: noTerminal }, async (t) => {
  const rows: string[] = []
  for await (const line of sampleProducts(10_000)) if ('value' in line) rows.push(JSON.stringify(line.value))
  const cwd = t.testdir({ 'sample.ndjson': rows.join('\n') })
  const command = `${process.execPath} ${CLI} import sample.ndjson`
  const child = spawn('env', ['-i', `PATH=${process.env.PATH}`, 'TERM=xterm', 'script', '-qec', command, '/dev/null'], {
    cwd,
    stdio: 'pipe',
  })
  const [output, [code]] = await Promise.all([text(child.stdout), once(child, 'close')])
  t.equal(code, 0)
  t.match(output, /[1-9]\d?% \| [1-9]\d*00 lines/, 'progress while it runs')
  t.match(output, /100% \| 10000 lines/, 'progress at the end')
  t.match(output, /10000 created, 0 updated, 0 unchanged\./)
})
