// No read is older than the acknowledged writes, by any client, at any instance and URL.
import { once } from 'node:events'
import { Agent, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { DIALECTS, type Dialect } from '../dialects.ts'
import { onEach } from '../helper.ts'
import { History } from './history.ts'
import { ask, serve } from './process.ts'
import type { Options, Report } from './session.ts'
import { type Body, DELETED, OTHER_PROGRAM, Subject } from './subject.ts'
import { measureIdleLags, runWorkload } from './workload.ts'

const [sqlite, postgres] = DIALECTS as [Dialect, Dialect]

/** The lag in ms that an instance on PostgreSQL may have behind writes of another. */
const BOUND = 1_000

async function start(t: Test, dialect: Dialect, instances: number): Promise<Pick<Options, 'origins' | 'database'>> {
  const database = await dialect.create(t)
  const origins: string[] = []
  while (origins.length < instances) origins.push((await serve(t, database)).origin)
  return { origins, database }
}

function checkReport(t: Test, { faults, figures }: Report): void {
  t.strictSame(faults, [])
  t.comment(JSON.stringify(figures))
  t.ok(Number(figures.reads) > 0 && Number(figures.writes) > 0 && Number(figures['by another program']) > 0, 'there were reads and writes')
}

const arrangements: [title: string, dialect: Dialect, instances: number, bound: number][] = [
  ['one process', sqlite, 1, 0],
  ['two processes on one file', sqlite, 2, 0],
  ['one instance', postgres, 1, BOUND],
  ['two instances', postgres, 2, BOUND],
]

for (const [title, dialect, instances, bound] of arrangements) {
  t.test(`no read is outdated: ${title} [${dialect.name}]`, { skip: dialect.skip }, async (t) => {
    checkReport(t, await runWorkload(t, { ...(await start(t, dialect, instances)), bound, seconds: 1.5 }))
  })
}

/** Statements that hold a snapshot of the database until the transaction ends. */
const HOLDING: Record<string, string[]> = {
  sqlite: ['begin', 'select count(*) from products'],
  pg: ['begin isolation level repeatable read', 'select count(*) from products'],
}

onEach('no read is outdated while another program has a long read transaction open', async (t, dialect) => {
  const bound = dialect === postgres ? BOUND : 0
  const holding = HOLDING[dialect.name] ?? []
  checkReport(t, await runWorkload(t, { ...(await start(t, dialect, 1)), bound, seconds: 1, holding }))
})

t.test('an idle instance sees the writes of others', { skip: postgres.skip }, async (t) => {
  const lags = await measureIdleLags(t, await start(t, postgres, 2), 6)
  t.comment(`at most ${Math.max(...lags).toFixed(0)} ms`)
  t.ok(
    lags.every((lag) => lag <= BOUND),
    lags.join(),
  )
})

// Tests of the checker: a proxy with deliberate mistakes must be detected.

interface Reply {
  status: number
  etag: string
  text: string
}

interface Request {
  url: string
  method: string
  tag: string | undefined
}

/** Returns a wrong answer, or undefined if the mistake does not apply. `earlier` is the previous different answer of the URL. */
type Mistake = (request: Request, reply: Reply, earlier: Reply | undefined) => Reply | undefined

const isRecord = (url: string) => /^\/api\/products\/\d+\/$/.test(url)
const isList = (url: string) => url.startsWith('/api/products/?')

function editPage(reply: Reply, edit: (page: { count: number; results: Body[] }) => void): Reply {
  const page = JSON.parse(reply.text)
  edit(page)
  return { ...reply, etag: '', text: JSON.stringify(page) }
}

const mistakes: Record<string, [mistake: Mistake, fault: RegExp]> = {
  'an outdated record': [
    ({ url, method }, reply, earlier) => (isRecord(url) && method === 'GET' && reply.status === 200 ? earlier : undefined),
    /^outdated record /,
  ],
  'a deleted record': [
    ({ url }, reply, earlier) => (isRecord(url) && reply.status === 404 && earlier?.status === 200 ? earlier : undefined),
    /^deleted record /,
  ],
  'a record that is not found': [
    ({ url, method }, reply) => (isRecord(url) && method === 'GET' ? { ...reply, status: 404, text: '{}' } : undefined),
    /^record not found /,
  ],
  'an outdated list': [({ url }, _reply, earlier) => (isList(url) ? earlier : undefined), /^(outdated record|record missing from a list) /],
  'an outdated list by slug': [
    ({ url }, _reply, earlier) => (url.includes('slug=') ? earlier : undefined),
    /^(outdated list by slug|record missing from a list) /,
  ],
  'a list without its last record': [
    ({ url }, reply) =>
      isList(url) && reply.status === 200
        ? editPage(reply, (page) => {
            if (page.results.pop()) page.count--
          })
        : undefined,
    /^record missing from a list /,
  ],
  'a wrong count': [
    ({ url }, reply) => (isList(url) ? editPage(reply, (page) => page.count++) : undefined),
    /^(count of other records|outdated count) /,
  ],
  'a 304 for another tag': [
    ({ tag }, reply) => (tag !== undefined && tag !== reply.etag ? { ...reply, status: 304, text: '' } : undefined),
    /^outdated record /,
  ],
  'a record without its last change': [
    ({ url, method }, reply) =>
      isRecord(url) && method === 'PATCH' && reply.status === 200
        ? { ...reply, text: reply.text.replace(/"name":"(Red|Blue)/, '"name":"No') }
        : undefined,
    /^two bodies of one version /,
  ],
}

/** The probability of a mistake where it applies. */
const MISTAKE_RATE = 0.8

/** Enough requests that nearly every mistake occurs and is read, on slow machines too. */
const SHORT = { bound: 0, requests: 1_000, writeShares: [0.4] }
const ATTEMPTS = 4

/** Starts a proxy in front of the service that makes a mistake. */
async function startMistaken(t: Test, origin: string, mistake: Mistake): Promise<string> {
  const agent = new Agent({ keepAlive: true })
  /** The last two different answers of each URL. */
  const replies = new Map<string, [Reply | undefined, Reply]>()
  const server = createServer(async (request, response) => {
    const { method = '', url = '' } = request
    const payload = await text(request)
    const { 'if-match': condition, 'if-none-match': tag } = request.headers
    const headers: Record<string, string> = condition ? { 'if-match': condition } : {}
    const answer = await ask(agent, origin, method, url, { headers, ...(payload && { body: JSON.parse(payload) }) })
    const reply: Reply = { status: answer.status, etag: answer.headers.etag ?? '', text: answer.text }
    const [, last] = replies.get(url) ?? []
    if (method === 'GET' && last?.text !== reply.text) replies.set(url, [last, reply])
    const wrong = Math.random() < MISTAKE_RATE ? mistake({ url, method, tag }, reply, replies.get(url)?.[0]) : undefined
    const right = tag !== undefined && tag === reply.etag ? { ...reply, status: 304, text: '' } : reply
    const { status, etag, text: body } = wrong ?? right
    response.writeHead(status, etag ? { etag } : {}).end(body)
  })
  t.teardown(() => {
    agent.destroy()
    server.close()
    server.closeAllConnections()
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

t.test('the checker detects mistakes of a service', async (t) => {
  const { origins, database } = await start(t, sqlite, 1)
  const [origin] = origins as [string]
  checkReport(t, await runWorkload(t, { origins: [await startMistaken(t, origin, () => undefined)], database, ...SHORT }))
  const selection = Object.entries(mistakes).slice(0, process.env.MISTAKES === 'all' ? undefined : 2)
  for (const [title, [mistake, expected]] of selection) {
    let faults: string[] = []
    const isDetected = () => faults.some((fault) => expected.test(fault))
    // Requests are random, so a run may offer no occasion for the mistake.
    for (let attempt = 0; attempt < ATTEMPTS && !isDetected(); attempt++)
      ({ faults } = await runWorkload(t, { origins: [await startMistaken(t, origin, mistake)], database, ...SHORT }))
    t.ok(isDetected(), `${title}: ${faults.map((fault) => fault.slice(0, 100)).join('\n')}`)
  }
})

/** Returns the history of a record that was created at 0 ms and changed at 1000 ms, by default by instance 0. */
function createHistory(bound: number, { by = 0 } = {}) {
  const subject = new Subject('A')
  const history = new History(2, bound)
  const [first, second] = [
    { sku: 'A', price: '1.00', version: 1 },
    { sku: 'A', price: '2.00', version: 2 },
  ]
  history.addWrite(subject, 1, { instance: 0, startedAt: 0, endedAt: 10 }, { body: first, effects: [() => ({ price: '1.00' })] })
  history.addWrite(subject, 2, { instance: by, startedAt: 900, endedAt: 1_000 }, { body: second, effects: [() => ({ price: '2.00' })] })
  const read = (instance: number, startedAt: number, body: Body | undefined) =>
    history.addRead({ request: 'read', instance, startedAt, endedAt: startedAt + 5, subject, body })
  return { subject, history, read, first, second }
}

const moments: [title: string, bound: number, by: number, instance: number, at: number, version: number, isRight: boolean][] = [
  ['the new version, before its acknowledgement', 0, 0, 1, 950, 2, true],
  ['the old version, before the acknowledgement', 0, 0, 0, 999, 1, true],
  ['the old version, after the acknowledgement', 0, 0, 0, 1_001, 1, false],
  ['the new version, before its write', 0, 0, 0, 800, 2, false],
  ['the old version at another instance, within the bound', BOUND, 0, 1, 1_990, 1, true],
  ['the old version at another instance, after the bound', BOUND, 0, 1, 2_010, 1, false],
  ['the old version at the writing instance, within the bound', BOUND, 0, 0, 1_990, 1, false],
  ['the old version after a write of another program, within the bound', BOUND, OTHER_PROGRAM, 0, 1_990, 1, true],
  ['the old version after a write of another program, after the bound', BOUND, OTHER_PROGRAM, 0, 2_010, 1, false],
]

t.test('the checker judges a read by the time when it started', async (t) => {
  for (const [title, bound, by, instance, at, version, isRight] of moments) {
    const { history, read, first, second } = createHistory(bound, { by })
    read(instance, at, version === 1 ? first : second)
    t.equal(history.check().length === 0, isRight, title)
    if (isRight && at > 1_000) t.equal(history.worstLag, at - 1_000, `${title}: the lag`)
  }
})

t.test('the checker detects lost writes', async (t) => {
  const lost = createHistory(0)
  lost.history.addWrite(
    lost.subject,
    2,
    { instance: 1, startedAt: 900, endedAt: 1_000 },
    { effects: [() => ({ stock: 5 })], body: { ...lost.second, stock: 5 } },
  )
  t.match(lost.history.check(), [/two bodies/])
  const later = { instance: 1, startedAt: 1_100, endedAt: 1_200 }
  const undone = createHistory(0)
  const third = { ...undone.first, version: 3, stock: 5 }
  undone.history.addWrite(undone.subject, 3, later, { body: third, effects: [() => ({ stock: 5 })] })
  t.match(undone.history.check(), [/^lost write /])
  const unknown = createHistory(0)
  unknown.history.addWrite(unknown.subject, 4, later)
  t.match(unknown.history.check(), [/^unacknowledged version /])
  const ignored = createHistory(0)
  ignored.history.addWrite(ignored.subject, DELETED, later, { requiredVersion: 1 })
  ignored.read(1, 1_201, undefined)
  t.match(ignored.history.check(), [/^delete despite another version /])
})
