// What is read is never older than what was acknowledged, whoever reads, where and how.
import { once } from 'node:events'
import { Agent, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import {
  ask,
  type Body,
  consistency,
  ELSEWHERE,
  GONE,
  History,
  type Options,
  quietLags,
  type Report,
  Subject,
  serve,
} from './consistency.ts'
import { DIALECTS, type Dialect } from './dialects.ts'
import { onEach } from './helper.ts'

const [sqlite, postgres] = DIALECTS as [Dialect, Dialect]

/** Milliseconds by which an instance on PostgreSQL may be behind what another wrote. */
const BOUND = 1_000

async function start(t: Test, dialect: Dialect, instances: number): Promise<Pick<Options, 'origins' | 'database'>> {
  const database = await dialect.create(t)
  const origins: string[] = []
  while (origins.length < instances) origins.push((await serve(t, database)).origin)
  return { origins, database }
}

function passes(t: Test, { faults, figures }: Report): void {
  t.strictSame(faults, [])
  t.comment(JSON.stringify(figures))
  t.ok(Number(figures.reads) > 0 && Number(figures.writes) > 0 && Number(figures.elsewhere) > 0, 'there was something to see')
}

const arrangements: [title: string, dialect: Dialect, instances: number, bound: number][] = [
  ['one process', sqlite, 1, 0],
  ['two processes on one file', sqlite, 2, 0],
  ['one instance', postgres, 1, BOUND],
  ['two instances', postgres, 2, BOUND],
]

for (const [title, dialect, instances, bound] of arrangements) {
  t.test(`nothing old is shown: ${title} [${dialect.name}]`, { skip: dialect.skip }, async (t) => {
    passes(t, await consistency(t, { ...(await start(t, dialect, instances)), bound, seconds: 1.5 }))
  })
}

/** What keeps a moment of the database to the end of a transaction. */
const HOLDING: Record<string, string[]> = {
  sqlite: ['begin', 'select count(*) from products'],
  pg: ['begin isolation level repeatable read', 'select count(*) from products'],
}

onEach('nothing old is shown while another program has a long read transaction open', async (t, dialect) => {
  const bound = dialect === postgres ? BOUND : 0
  const holding = HOLDING[dialect.name] ?? []
  passes(t, await consistency(t, { ...(await start(t, dialect, 1)), bound, seconds: 1, holding }))
})

t.test('an instance that has nothing to do sees what others write', { skip: postgres.skip }, async (t) => {
  const lags = await quietLags(t, await start(t, postgres, 2), 6)
  t.comment(`at most ${Math.max(...lags).toFixed(0)} ms`)
  t.ok(
    lags.every((lag) => lag <= BOUND),
    lags.join(),
  )
})

// What would be seen if it were not so.

interface Told {
  status: number
  etag: string
  text: string
}

/** What a service does wrong: the answer that it gives in the place of the right one, or nothing where it is right. */
type Mistake = (asked: { url: string; method: string; tag: string | undefined }, now: Told, before: Told | undefined) => Told | undefined

const isRecord = (url: string) => /^\/api\/products\/\d+\/$/.test(url)
const isList = (url: string) => url.startsWith('/api/products/?')

function edited(told: Told, edit: (page: { count: number; results: Body[] }) => void): Told {
  const page = JSON.parse(told.text)
  edit(page)
  return { ...told, etag: '', text: JSON.stringify(page) }
}

const mistakes: Record<string, [mistake: Mistake, found: RegExp]> = {
  'an old record': [
    ({ url, method }, now, before) => (isRecord(url) && method === 'GET' && now.status === 200 ? before : undefined),
    /^an old record /,
  ],
  'a record that is deleted': [
    ({ url }, now, before) => (isRecord(url) && now.status === 404 && before?.status === 200 ? before : undefined),
    /^a deleted record /,
  ],
  'a record that is not found': [
    ({ url, method }, now) => (isRecord(url) && method === 'GET' ? { ...now, status: 404, text: '{}' } : undefined),
    /^a record that was not found /,
  ],
  'an old list': [({ url }, _now, before) => (isList(url) ? before : undefined), /^(an old record|a record that is not in a list) /],
  'an old list by a slug': [({ url }, _now, before) => (url.includes('slug=') ? before : undefined), /by a slug|not in a list/],
  'a list without its last record': [
    ({ url }, now) =>
      isList(url) && now.status === 200
        ? edited(now, (page) => {
            if (page.results.pop()) page.count--
          })
        : undefined,
    /^a record that is not in a list /,
  ],
  'a wrong count': [({ url }, now) => (isList(url) ? edited(now, (page) => page.count++) : undefined), /^a count that /],
  'a 304 that does not hold': [
    ({ tag }, now) => (tag !== undefined && tag !== now.etag ? { ...now, status: 304, text: '' } : undefined),
    /^an old record /,
  ],
  'a record without its last change': [
    ({ url, method }, now) =>
      isRecord(url) && method === 'PATCH' && now.status === 200
        ? { ...now, text: now.text.replace(/"name":"(Red|Blue)/, '"name":"No') }
        : undefined,
    /^one version of a record with two bodies /,
  ],
}

/** How often a mistake is made where it can be. */
const OFTEN = 0.8

/** So much that each mistake is made and seen, nearly always, however long it takes. */
const SHORT = { bound: 0, requests: 1_000, moods: [0.4] }
const ATTEMPTS = 4

/** Stands before the service and makes a mistake. */
async function mistaken(t: Test, origin: string, mistake: Mistake): Promise<string> {
  const agent = new Agent({ keepAlive: true })
  /** For each URL the last two answers that differ. */
  const told = new Map<string, [Told | undefined, Told]>()
  const server = createServer(async (request, response) => {
    const { method = '', url = '' } = request
    const payload = await text(request)
    const { 'if-match': condition, 'if-none-match': tag } = request.headers
    const headers: Record<string, string> = condition ? { 'if-match': condition } : {}
    const answer = await ask(agent, origin, method, url, { headers, ...(payload && { body: JSON.parse(payload) }) })
    const { etag = '' } = answer.headers
    const now: Told = { status: answer.status, etag, text: answer.text }
    const [, last] = told.get(url) ?? []
    if (method === 'GET' && last?.text !== now.text) told.set(url, [last, now])
    const wrong = Math.random() < OFTEN ? mistake({ url, method, tag }, now, told.get(url)?.[0]) : undefined
    const right = tag !== undefined && tag === now.etag ? { ...now, status: 304, text: '' } : now
    const { status, etag: its, text: body } = wrong ?? right
    response.writeHead(status, its ? { etag: its } : {}).end(body)
  })
  t.teardown(() => {
    agent.destroy()
    server.close()
    server.closeAllConnections()
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

t.test('what a service does wrong is found', async (t) => {
  const { origins, database } = await start(t, sqlite, 1)
  const [origin] = origins as [string]
  passes(t, await consistency(t, { origins: [await mistaken(t, origin, () => undefined)], database, ...SHORT }))
  const tried = Object.entries(mistakes).slice(0, process.env.MISTAKES === 'all' ? undefined : 2)
  for (const [title, [mistake, found]] of tried) {
    let faults: string[] = []
    const isFound = () => faults.some((fault) => found.test(fault))
    // It is left to chance what is asked for, and so whether there was anything to be mistaken in.
    for (let attempt = 0; attempt < ATTEMPTS && !isFound(); attempt++)
      ({ faults } = await consistency(t, { origins: [await mistaken(t, origin, mistake)], database, ...SHORT }))
    t.ok(isFound(), `${title}: ${faults.map((fault) => fault.slice(0, 100)).join('\n')}`)
  }
})

/** A record made at 0 and changed at 1000, by instance 0. */
function changedOnce(bound: number, { by = 0 } = {}) {
  const subject = new Subject('A')
  const history = new History(2, bound)
  const [first, second] = [
    { sku: 'A', price: '1.00', version: 1 },
    { sku: 'A', price: '2.00', version: 2 },
  ]
  history.wrote(subject, 1, { instance: 0, begun: 0, ended: 10 }, { body: first, asked: [() => ({ price: '1.00' })] })
  history.wrote(subject, 2, { instance: by, begun: 900, ended: 1_000 }, { body: second, asked: [() => ({ price: '2.00' })] })
  const read = (instance: number, begun: number, body: Body | undefined) =>
    history.read({ what: 'read', instance, begun, ended: begun + 5, subject, body })
  return { subject, history, read, first, second }
}

const moments: [title: string, bound: number, by: number, instance: number, at: number, version: number, passes: boolean][] = [
  ['the new one, before its writer is told', 0, 0, 1, 950, 2, true],
  ['the old one, before its writer is told', 0, 0, 0, 999, 1, true],
  ['the old one, as soon as its writer was told', 0, 0, 0, 1_001, 1, false],
  ['the new one, before it was asked for', 0, 0, 0, 800, 2, false],
  ['the old one at another instance, within the bound', BOUND, 0, 1, 1_990, 1, true],
  ['the old one at another instance, after the bound', BOUND, 0, 1, 2_010, 1, false],
  ['the old one at the instance that wrote, within the bound', BOUND, 0, 0, 1_990, 1, false],
  ['the old one after another program wrote, within the bound', BOUND, ELSEWHERE, 0, 1_990, 1, true],
  ['the old one after another program wrote, after the bound', BOUND, ELSEWHERE, 0, 2_010, 1, false],
]

t.test('a read is right or wrong by when it began', async (t) => {
  for (const [title, bound, by, instance, at, version, passes] of moments) {
    const { history, read, first, second } = changedOnce(bound, { by })
    read(instance, at, version === 1 ? first : second)
    t.equal(history.check().length === 0, passes, title)
    if (passes && at > 1_000) t.equal(history.worstLag, at - 1_000, 'and by how much it is late')
  }
})

t.test('no write is lost', async (t) => {
  const lost = changedOnce(0)
  lost.history.wrote(
    lost.subject,
    2,
    { instance: 1, begun: 900, ended: 1_000 },
    { asked: [() => ({ stock: 5 })], body: { ...lost.second, stock: 5 } },
  )
  t.match(lost.history.check(), [/two bodies/])
  const undone = changedOnce(0)
  const third = { ...undone.first, version: 3, stock: 5 }
  undone.history.wrote(undone.subject, 3, { instance: 1, begun: 1_100, ended: 1_200 }, { body: third, asked: [() => ({ stock: 5 })] })
  t.match(undone.history.check(), [/^a lost write /])
  const unknown = changedOnce(0)
  unknown.history.wrote(unknown.subject, 4, { instance: 1, begun: 1_100, ended: 1_200 })
  t.match(unknown.history.check(), [/^a version that no write was told of /])
  const passed = changedOnce(0)
  passed.history.wrote(passed.subject, GONE, { instance: 1, begun: 1_100, ended: 1_200 }, { after: 1 })
  passed.read(1, 1_201, undefined)
  t.match(passed.history.check(), [/^a delete that passed over a change /])
})
