// Clients that write and read at random over HTTP, and a check of all that they were shown against all that was acknowledged before.
import type { ChildProcess } from 'node:child_process'
import { hash, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import { connect, type Query } from './dialects.ts'
import { type Scope, startNode } from './node-process.ts'

// Processes.

/** For a script what a test is for its own: what was begun ends, whatever comes. */
export async function scoped<R>(work: (scope: Scope) => Promise<R>): Promise<R> {
  const ends: (() => unknown)[] = []
  try {
    return await work({ teardown: (end) => void ends.push(end) })
  } finally {
    for (const end of ends.reverse()) await end()
  }
}

const CLI = new URL('../src/cli.ts', import.meta.url).pathname
const ADMIN_KEY = `stk_1_${'c0nsistency'.repeat(4)}`
export const AUTHORIZATION = { authorization: `Bearer ${ADMIN_KEY}` }

export interface Served {
  origin: string
  child: ChildProcess
  /** SIGKILL: nothing is finished, and nothing is closed. */
  kill(): Promise<void>
}

/** Serves a database in a process of its own, and waits until it listens. */
export async function serve(scope: Scope, database: string, env: Record<string, string> = {}): Promise<Served> {
  const unlimited = { RATE_LIMIT_ANONYMOUS: '0', RATE_LIMIT_AUTHENTICATED: '0' }
  const settings = { DATABASE_URL: database, ADMIN_KEY, PORT: '0', LOG_LEVEL: 'error', ...unlimited, ...env }
  const child = startNode(scope, [CLI, 'serve'], settings)
  const exit = once(child, 'exit')
  const kill = async () => {
    child.kill('SIGKILL')
    await exit
  }
  scope.teardown(kill)
  let said = ''
  child.stdout.on('data', (chunk) => {
    said += chunk
  })
  child.stderr.on('data', (chunk) => {
    said += chunk
  })
  const ended = exit.then(() => Promise.reject(new Error(`the service ended: ${said}`)))
  ended.catch(() => {})
  while (!said.includes('openapi.json\n')) await Promise.race([once(child.stdout, 'data'), ended])
  return { origin: /Stockroom listens on (\S+)/.exec(said)?.[1] ?? '', child, kill }
}

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  text: string
  /** By the one clock of this process: before anything was sent, and after the last byte of the answer. */
  begun: number
  ended: number
}

interface Asked {
  body?: unknown
  headers?: Record<string, string>
}

const decoders: Record<string, (bytes: Buffer) => Buffer> = { gzip: gunzipSync, br: brotliDecompressSync }

export function ask(agent: Agent, origin: string, method: string, path: string, { body, headers }: Asked = {}): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  const payload = body === undefined ? undefined : JSON.stringify(body)
  const sent = {
    ...(method !== 'GET' && method !== 'HEAD' && AUTHORIZATION),
    ...(payload && { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(payload)) }),
    ...headers,
  }
  const begun = performance.now()
  const request = httpRequest(new URL(path, origin), { method, agent, headers: sent }, (response) => {
    const { statusCode: status = 0, headers } = response
    const decode = decoders[String(headers['content-encoding'])] ?? ((bytes) => bytes)
    buffer(response).then((bytes) => {
      const ended = performance.now()
      resolve({ status, headers, text: decode(bytes).toString(), begun, ended })
    }, reject)
  })
  request.on('error', reject).end(payload)
  return promise
}

/** The same, again and again while the service is too busy for it. */
async function askPatiently(...request: Parameters<typeof ask>): Promise<Answer> {
  for (;;) {
    const answer = await ask(...request)
    if (answer.status !== BUSY) return answer
    await setTimeout(100)
  }
}

// What was written, and what may be shown.

export type Body = Record<string, unknown>

/** The version of a record that is deleted: none comes after. Before it is made it has 0. */
export const GONE = Number.POSITIVE_INFINITY
const NOT_YET = 0

/** A write by another program, which no instance has made itself. */
export const ELSEWHERE = -1

interface State {
  /** When the first write that led to it was begun: before, nobody can have seen it. */
  invoked: number
  /** The whole record, as an answer said it. */
  body?: Body
  /** For each write that was told this version, what it asked for. */
  asked: ((before: Body) => Body)[]
  /** Of writes that are one: who sees one of them sees all. */
  batch?: Map<Subject, number>
  /** The version that a delete was to find (If-Match). */
  after?: number | undefined
}

interface Ack {
  at: number
  version: number
  instance: number
}

/** A record, from its making to its end. It is known by something that nobody else has, so that it is known before its id is. */
export class Subject {
  id: number | undefined
  readonly key: string
  readonly states = new Map<number, State>()
  readonly acks: Ack[] = []
  /** Reads that have ended, as if they had promised what they showed. */
  readonly seen: Ack[] = []
  readonly tags = new Map<number, string>()
  readonly versions = new Map<string, number>()
  /** Whether a client means to delete it: no other begins to write it then. */
  leaving = false

  constructor(key: string) {
    this.key = key
  }
}

/** Acknowledgements in their order, with the newest version up to each: of all, and of each instance. */
class Promises {
  readonly #acks: Ack[]
  readonly #newest: number[]
  readonly #newestBy: number[][] = []

  constructor(acks: readonly Ack[], instances: number) {
    this.#acks = [...acks].sort((a, b) => a.at - b.at)
    const upTo = (counts: (ack: Ack) => boolean) => {
      let newest = NOT_YET
      return this.#acks.map((ack) => {
        if (counts(ack)) newest = Math.max(newest, ack.version)
        return newest
      })
    }
    this.#newest = upTo(() => true)
    for (let instance = 0; instance < instances; instance++) this.#newestBy.push(upTo((ack) => ack.instance === instance))
  }

  /** How many had come before that moment. */
  #before(time: number): number {
    let [low, high] = [0, this.#acks.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#acks[middle] as Ack).at < time) low = middle + 1
      else high = middle
    }
    return low
  }

  /** The oldest version that a read may show which began at `time`, where the instance may be behind what others wrote by `lag`. */
  floor(instance: number, time: number, lag: number): number {
    const all = this.#newest[this.#before(time - lag) - 1] ?? NOT_YET
    const own = this.#newestBy[instance]?.[this.#before(time) - 1] ?? NOT_YET
    return Math.max(all, own)
  }

  /** By how much the instance must have been behind for this to be right; infinite where that explains nothing. */
  lag(instance: number, time: number, isRight: (floor: number) => boolean): number {
    if (isRight(this.floor(instance, time, 0))) return 0
    for (let index = this.#before(time) - 1; index >= 0; index--) {
      const lag = time - (this.#acks[index] as Ack).at
      if (isRight(this.floor(instance, time, lag))) return lag
    }
    return GONE
  }

  /** Milliseconds since the first word of a version that is newer than this one. */
  since(time: number, version: number): number {
    const first = this.#acks.find((ack) => ack.version > version)
    return first ? time - first.at : 0
  }
}

interface Seen {
  /** What was asked, for people. */
  what: string
  instance: number
  begun: number
  ended: number
}

interface RecordSeen extends Seen {
  subject: Subject
  /** Nothing where there was none. */
  body: Body | undefined
  /** A tag alone, where that is all that was shown. */
  tag?: string | undefined
}

export interface List {
  path: string
  /** The records that can be in it, among which are all that a change is made to meanwhile. */
  subjects: readonly Subject[]
  keeps(body: Body): boolean
  /** It has only what is in a category by this slug, which may change. */
  slug?: { category: Subject; is: string }
  /** At most so many on a page. */
  size: number
  /** Negative where the first comes before the second. */
  order?(one: Body, other: Body): number
  /** Records of the same table that are none of the subjects. */
  others?: number
}

interface ListSeen extends Seen {
  list: List
  rows: Body[]
  count: number | null
}

interface Refusal extends Seen {
  subject: Subject
  status: number
  stock?: unknown
  delta?: number
  /** The version that it was to have (If-Match). */
  ifVersion?: number | undefined
}

interface Prepared {
  promises: Promises
  seen: Promises
  /** In their order, with the record as far as it is known, and when the first write was begun that led to this state or a later one. */
  states: { version: number; invoked: number; earliest: number; body: Body | undefined }[]
}

const LISTED_FAULTS = 40

/** All that was written and shown. What it means is looked at when all is over: until then a write may have happened whose answer is still on its way. */
export class History {
  readonly #records: RecordSeen[] = []
  readonly #lists: ListSeen[] = []
  readonly #refusals: Refusal[] = []
  readonly #subjects = new Set<Subject>()
  readonly #prepared = new Map<Subject, Prepared>()
  readonly #instances: number
  readonly #bound: number
  readonly #faults = new Map<string, { example: string; times: number }>()
  /** The longest that an instance was behind the writes of others. */
  worstLag = 0
  /** Reads that showed less than one that had ended before, of writes that nobody had been told of yet. */
  wentBack = 0

  /** `bound`: milliseconds by which an instance may be behind what others wrote. */
  constructor(instances: number, bound: number) {
    this.#instances = instances
    this.#bound = bound
  }

  fault(kind: string, example: string): void {
    const known = this.#faults.get(kind)
    if (known) known.times++
    else this.#faults.set(kind, { example, times: 1 })
  }

  /** A write that was acknowledged with this version. */
  wrote(subject: Subject, version: number, { instance, begun, ended }: Omit<Seen, 'what'>, state: Partial<State> = {}): void {
    this.#subjects.add(subject)
    subject.acks.push({ at: ended, version, instance })
    const known = subject.states.get(version)
    if (!known) return void subject.states.set(version, { asked: [], invoked: begun, ...state })
    // A change that changes nothing is told the version of the one before.
    known.invoked = Math.min(known.invoked, begun)
    known.asked.push(...(state.asked ?? []))
    if (state.body && known.body && !isDeepStrictEqual(state.body, known.body)) this.#twoBodies(subject, version, known.body, state.body)
    known.body ??= state.body
  }

  #twoBodies(subject: Subject, version: number, one: Body, other: Body): void {
    this.fault('one version of a record with two bodies', `${subject.key}, version ${version}: ${json(one)} and ${json(other)}`)
  }

  tagged(subject: Subject, version: number, tag: string): void {
    const known = subject.tags.get(version)
    if (known !== undefined && known !== tag)
      this.fault('one version with two tags', `${subject.key}, version ${version}: ${known}, ${tag}`)
    const its = subject.versions.get(tag)
    if (its !== undefined && its !== version) this.fault('two versions with one tag', `${subject.key}, versions ${its}, ${version}: ${tag}`)
    subject.tags.set(version, tag)
    subject.versions.set(tag, version)
  }

  read(seen: RecordSeen): void {
    this.#records.push(seen)
    const { subject, instance, ended: at, body } = seen
    if (body) subject.seen.push({ at, version: Number(body.version), instance })
  }

  listed(seen: ListSeen): void {
    this.#lists.push(seen)
  }

  refused(refusal: Refusal): void {
    this.#refusals.push(refusal)
  }

  /** What is wrong, in sentences. */
  check(): string[] {
    for (const subject of this.#subjects) this.#prepare(subject)
    for (const seen of this.#records) this.#checkRecord(seen)
    for (const seen of this.#lists) this.#checkList(seen)
    for (const refusal of this.#refusals) this.#checkRefusal(refusal)
    return [...this.#faults].slice(0, LISTED_FAULTS).map(([kind, { example, times }]) => `${kind} (${times}): ${example}`)
  }

  /** The last version of each record, for who looks into the database. */
  *last(): Generator<[Subject, version: number]> {
    for (const subject of this.#subjects) yield [subject, Math.max(...subject.states.keys())]
  }

  /** Each version has to follow from the one before and what was asked for: no write may be lost, and none may come from nowhere. */
  #prepare(subject: Subject): void {
    const versions = [...subject.states.keys()].filter((version) => version !== GONE).sort((a, b) => a - b)
    const states: Prepared['states'] = []
    let before: Body = {}
    for (const [index, version] of versions.entries()) {
      const { invoked, body, asked } = subject.states.get(version) as State
      if (version !== index + 1) this.fault('a version that no write was told of', `${subject.key}: ${versions}`)
      const results = asked.map((ask) => ask(before))
      const made = body ?? { ...before, ...results[0], version }
      // What was asked for holds in what came of it; and one of those who were told this version made it, and changed nothing else.
      if (!results.every((result) => agrees(result, made)))
        this.fault('a write that did something else', `${subject.key}, version ${version}: ${json(made)} for ${json(results)}`)
      if (!results.some((result) => agrees({ ...without(before), ...result }, made)))
        this.fault('a lost write', `${subject.key}, version ${version}: ${json(made)} after ${json(before)}, for ${json(results)}`)
      if (!body) delete made.updated_at
      states.push({ version, invoked, earliest: invoked, body: made })
      before = made
    }
    const gone = subject.states.get(GONE)
    if (gone) states.push({ version: GONE, invoked: gone.invoked, earliest: gone.invoked, body: undefined })
    states.reduceRight(
      (next, state) => {
        state.earliest = Math.min(state.earliest, next.earliest)
        return state
      },
      states.at(-1) as Prepared['states'][number],
    )
    if (gone?.after !== undefined && gone.after !== versions.at(-1))
      this.fault('a delete that passed over a change', `${subject.key}: of version ${gone.after}, after ${versions.at(-1)}`)
    const promises = new Promises(subject.acks, this.#instances)
    this.#prepared.set(subject, { promises, seen: new Promises(subject.seen, this.#instances), states })
  }

  #of(subject: Subject): Prepared {
    return this.#prepared.get(subject) ?? { promises: new Promises([], 0), seen: new Promises([], 0), states: [] }
  }

  /** Whether a read that ended then may have met the record in a state as this, given the oldest that it may show. */
  #canBe(subject: Subject, floor: number, ended: number, is: (body: Body | undefined) => boolean): boolean {
    if (floor === NOT_YET && is(undefined)) return true
    const { states } = this.#of(subject)
    for (let index = placeOf(states, floor); index < states.length; index++) {
      const { invoked, earliest, body } = states[index] as Prepared['states'][number]
      if (earliest >= ended) return false
      if (invoked < ended && is(body)) return true
    }
    return false
  }

  #late(kind: string, lag: number, { what, instance, begun, ended }: Seen, detail: string): void {
    if (lag <= this.#bound) {
      this.worstLag = Math.max(this.worstLag, lag)
      return
    }
    const by = Number.isFinite(lag) ? `${Math.round(lag)} ms behind` : 'behind what this instance was told itself, or never right'
    this.fault(kind, `${what} at instance ${instance}, from ${begun.toFixed(1)} to ${ended.toFixed(1)}: ${by}: ${detail}`)
  }

  #checkShown(seen: Seen, subject: Subject, body: Body): void {
    const { promises, seen: shown, states } = this.#of(subject)
    const version = Number(body.version)
    const state = states[placeOf(states, version)]
    if (state?.version !== version) {
      this.fault('a version that nobody wrote', `${seen.what}: ${json(body)}`)
      return
    }
    if (state.invoked > seen.ended) this.fault('a version before it was written', `${seen.what}: ${json(body)}`)
    if (!agrees(state.body ?? {}, body)) this.#twoBodies(subject, version, state.body ?? {}, body)
    const isRight = (floor: number) => floor <= version
    const lag = promises.lag(seen.instance, seen.begun, isRight)
    if (lag > 0) {
      const kind = promises.floor(seen.instance, seen.begun, 0) === GONE ? 'a deleted record' : 'an old record'
      const age = promises.since(seen.begun, version).toFixed(1)
      this.#late(kind, lag, seen, `${subject.key} in version ${version}, ${age} ms after a newer one was acknowledged`)
    } else if (!isRight(shown.floor(seen.instance, seen.begun, GONE))) this.wentBack++
  }

  #checkRecord(seen: RecordSeen): void {
    const { subject, body, tag } = seen
    const { promises } = this.#of(subject)
    if (tag !== undefined) {
      const version = subject.versions.get(tag)
      if (version !== undefined)
        this.#late(
          'an old tag',
          promises.lag(seen.instance, seen.begun, (floor) => floor <= version),
          seen,
          tag,
        )
    } else if (body) this.#checkShown(seen, subject, body)
    else {
      const lag = promises.lag(seen.instance, seen.begun, (floor) => this.#canBe(subject, floor, seen.ended, (body) => body === undefined))
      if (lag > 0) this.#late('a record that was not found', lag, seen, subject.key)
    }
  }

  #checkList(seen: ListSeen): void {
    const { list, rows, count, ended, instance, begun } = seen
    const { slug } = list
    const shown = new Map(rows.map((row) => [keyOf(row), row]))
    if (shown.size !== rows.length) this.fault('a record twice in a list', `${seen.what}: ${json(rows)}`)
    if (count !== null && rows.length !== Math.min(count, list.size))
      this.fault('a count that does not fit', `${seen.what}: ${count} for ${rows.length} records`)
    for (const [index, row] of rows.entries()) {
      const next = rows[index + 1]
      if (next && list.order && list.order(row, next) > 0) this.fault('a wrong order', `${seen.what}: ${json([row, next])}`)
    }

    const slugIs = (is: boolean) => (floor: number) =>
      !slug || this.#canBe(slug.category, floor, ended, (body) => (body?.slug === slug.is) === is)
    const lagOfSlug = (is: boolean) => (slug ? this.#of(slug.category).promises.lag(instance, begun, slugIs(is)) : is ? 0 : GONE)
    if (rows.length > 0 && slug) {
      const lag = lagOfSlug(true)
      if (lag > 0) this.#late('a list by a slug that was another', lag, seen, `${slug.category.key} as ${slug.is}`)
    }
    const lagOfAbsence = lagOfSlug(false)

    const out = (body: Body | undefined) => body === undefined || !list.keeps(body)
    const [complete, whole] = [rows.length < list.size, new Set(list.subjects)]
    let [least, most] = [list.others ?? 0, list.others ?? 0]
    for (const subject of whole) {
      const { promises } = this.#of(subject)
      const row = shown.get(subject.key)
      shown.delete(subject.key)
      if (row) {
        least++
        most++
        this.#checkShown(seen, subject, row)
        if (!list.keeps(row)) this.fault('a record that is not of the list', `${seen.what}: ${json(row)}`)
        this.#checkBatch(seen, subject, row, rows)
        continue
      }
      const missing = (floor: number) => this.#canBe(subject, floor, ended, out)
      if (complete) {
        const lag = Math.min(lagOfAbsence, promises.lag(instance, begun, missing))
        if (lag > 0) this.#late('a record that is not in a list', lag, seen, subject.key)
        continue
      }
      const floor = promises.floor(instance, begun, this.#bound)
      if (!missing(floor)) least++
      if (this.#canBe(subject, floor, ended, (body) => !out(body))) most++
    }
    for (const row of shown.values()) if (!list.others) this.fault('a record that nobody made', `${seen.what}: ${json(row)}`)
    if (!complete && count !== null && !slug && (count < least || count > most))
      this.fault('a count that is not of its time', `${seen.what} at instance ${instance}: ${count}, and not from ${least} to ${most}`)
  }

  /** A list is of one moment, so of writes that were one it has all or none. */
  #checkBatch({ what, list }: ListSeen, subject: Subject, row: Body, rows: Body[]): void {
    const { batch } = subject.states.get(Number(row.version)) ?? {}
    for (const [other, version] of batch ?? []) {
      const its = rows.find((row) => keyOf(row) === other.key)
      if (its && list.subjects.includes(other) && Number(its.version) < version)
        this.fault('a part of writes that are one', `${what}: ${json(row)} and ${json(its)}`)
    }
  }

  #checkRefusal({ what, subject, instance, begun, ended, status, stock, delta, ifVersion }: Refusal): void {
    const floor = this.#of(subject).promises.floor(instance, begun, 0)
    const could = (is: (body: Body | undefined) => boolean) => this.#canBe(subject, floor, ended, is)
    const right =
      status === 404
        ? could((body) => body === undefined)
        : status === 409
          ? could((body) => body?.stock === stock && Number(stock) + Number(delta) < 0)
          : status === 412 && could((body) => body?.version !== ifVersion)
    if (!right) this.fault(`a refused write (${status}) that was right`, `${what}: ${subject.key} ${json({ stock, delta, ifVersion })}`)
  }
}

/** The place of the first state that is not older. */
function placeOf(states: Prepared['states'], version: number): number {
  let [low, high] = [0, states.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((states[middle] as Prepared['states'][number]).version < version) low = middle + 1
    else high = middle
  }
  return low
}

const json = (value: unknown): string => JSON.stringify(value)
const keyOf = ({ sku, id }: Body): string => (sku === undefined ? `category ${id}` : String(sku))

/** What changes by itself with every write. */
const without = ({ version: _, updated_at: __, slug: ___, ...rest }: Body): Body => rest

/** Whether the second has all members of the first as they are there. */
const agrees = (part: Body, whole: Body): boolean =>
  Object.entries(part).every(([name, value]) => !(name in whole) || isDeepStrictEqual(value, whole[name]))

// Clients.

export interface Options {
  /** Where the instances are, which all have one database. */
  origins: string[]
  database: string
  /** Milliseconds by which an instance may be behind what others wrote. */
  bound: number
  /** When to end: after this time or after so many requests. */
  seconds?: number
  requests?: number
  /** The shares of writes, one after the other. */
  moods?: readonly number[]
  /** Another program's transaction, begun before and open to the end. */
  holding?: string[]
}

export interface Report {
  faults: string[]
  /** How often what happened, and the worst lag in milliseconds. */
  figures: Record<string, number>
}

const CLIENTS = 8
const CODINGS: Record<string, string>[] = [{}, { 'accept-encoding': 'gzip' }, { 'accept-encoding': 'br, gzip;q=0.5' }]
const GROUPS = 4
/** Records of a group: all are on one page, and some are always there. */
const FEWEST = 5
const MOST = 12
const ALWAYS = 2
const PAGE = 100
/** The share of writes, for a while each. Where much is written nothing is kept for long; where little is, what is kept too long is shown. */
const MOODS = [0.5, 0.02, 0.1, 0.02]
/** Milliseconds of each. */
const MOOD = 150
/** Milliseconds for which all write at one instance, then at the next, then at any: who has nothing to write is to see what is written elsewhere. Longer than any bound. */
const ROUND = 1_500
/** In half of the moods all come together at so few: what one asks for is being read for another, and changes meanwhile. */
const CROWD = 2
/** How often a client looks at once at what it wrote. */
const LOOKS = 0.6
/** Milliseconds after which what is old is held to be so for ever. */
const PATIENCE = 5_000
/** The share of reads that say which tag they have, and of writes that say which they mean. */
const CONDITIONAL_READS = 0.6
const CONDITIONAL_WRITES = 0.2
/** Milliseconds between two writes of another program. */
const ELSEWHERE_EVERY = 25

interface Group {
  brand: string
  category: Subject
  names: string[]
  products: Subject[]
  lists: List[]
}

interface Client {
  agents: Agent[]
  /** The codings that it takes. */
  coding: Record<string, string>
  /** For each URL what this client was shown last. */
  kept: Map<string, { tag: string; body: Body | undefined }>
  /** What it wrote last. */
  last?: Subject
}

const below = (limit: number) => Math.floor(Math.random() * limit)
const pick = <T>(items: readonly T[]): T => items[below(items.length)] as T
const price = () => `${below(500)}.${String(below(100)).padStart(2, '0')}`
const recordUrl = ({ id }: Subject) => `/api/products/${id}/`
const categoryUrl = ({ id }: Subject) => `/api/categories/${id}/`
const sets = (values: Body) => () => values

/** Refusals that say that nothing was done, and that may be met where much is going on. */
const BUSY = 503
/** What a URL without a route says, and what it says where `/api/products/{id}/` is like it. */
const NO_ROUTE = [404, 405]

/** Lets clients write and read at random for a time. */
export async function consistency(
  scope: Scope,
  { origins, database, bound, moods = MOODS, holding = [], ...end }: Options,
): Promise<Report> {
  const history = new History(origins.length, bound)
  const figures = {
    reads: 0,
    writes: 0,
    bulks: 0,
    elsewhere: 0,
    refused: 0,
    'precondition failed': 0,
    stored: 0,
    hits: 0,
    'not modified': 0,
  }
  /** For each URL and tag the body that had it. */
  const bodies = new Map<string, string>()
  const tag = `k${randomUUID().slice(0, 8)}`
  const all: Subject[] = []
  const agent = new Agent({ keepAlive: true })
  scope.teardown(() => agent.destroy())
  let serial = 0

  const start = performance.now()
  const turn = (time: number, turns: number) => Math.floor((performance.now() - start) / time) % turns
  const oneOf = <T>(items: readonly T[]) => pick(turn(CROWD * MOOD, 2) === 0 ? items : items.slice(0, CROWD))
  const shareOfWrites = () => moods[turn(MOOD, moods.length)] as number
  const writable = () => {
    const only = turn(ROUND, origins.length + 1)
    return only < origins.length ? only : below(origins.length)
  }

  const counted = (answer: Answer): boolean => {
    const status = String(answer.headers['cache-status'])
    if (status.includes('hit')) figures.hits++
    if (status.includes('stored')) figures.stored++
    if (answer.status !== BUSY) return true
    figures.refused++
    return false
  }
  const parse = ({ text }: Answer) => (text === '' ? undefined : (JSON.parse(text) as Body))
  const unexpected = (what: string, { status, text }: Answer) =>
    history.fault(`an answer ${status} that was not expected`, `${what}: ${text}`)

  // Writing.

  const newProduct = (group: Group): [Subject, Body] => {
    const subject = new Subject(`${group.brand}-${++serial}`)
    group.products.push(subject)
    all.push(subject)
    return [subject, fullBody(group, subject)]
  }
  const fullBody = ({ category }: Group, { key }: Subject): Body => ({
    sku: key,
    name: `${pick(['Red', 'Blue'])} thing`,
    price: price(),
    stock: below(100),
    brand: key.split('-', 1)[0],
    category: Math.random() < 0.8 ? category.id : null,
  })
  const isThere = (subject: Subject) => subject.id !== undefined && !subject.leaving
  const there = (group: Group) => group.products.filter(isThere)

  /** What was written, of which the answer is the record. */
  const wrote = (
    client: Client,
    subject: Subject,
    url: string,
    seen: Omit<Seen, 'what'>,
    answer: Answer,
    asked: State['asked'][number],
  ) => {
    const body = parse(answer) as Body
    const { etag } = answer.headers
    subject.id = Number(body.id)
    history.wrote(subject, Number(body.version), seen, { body, asked: [asked] })
    if (!etag) return
    history.tagged(subject, Number(body.version), etag)
    client.kept.set(url || recordUrl(subject), { tag: etag, body })
  }

  /** A write of one record. What it asks for, given the one before. */
  const change = async (
    client: Client,
    subject: Subject,
    method: string,
    url: string,
    { body, asked = sets(body as Body), delta }: { body?: Body; asked?: State['asked'][number]; delta?: number },
  ) => {
    const instance = writable()
    const kept = url === recordUrl(subject) && Math.random() < CONDITIONAL_WRITES ? client.kept.get(url) : undefined
    const ifVersion = kept?.body && Number(kept.body.version)
    const headers = kept?.body ? { headers: { 'if-match': kept.tag } } : {}
    const answer = await ask(client.agents[instance] as Agent, origins[instance] as string, method, url, { body, ...headers })
    figures.writes++
    client.last = subject
    if (!counted(answer)) return
    const { status, begun, ended } = answer
    const what = `${method} ${url} ${json(body)}`
    const seen = { what, instance, begun, ended }
    if (status === 200 || status === 201) {
      wrote(client, subject, subject.id === undefined ? '' : url.replace(/stock\/$/, ''), seen, answer, asked)
      const version = Number(parse(answer)?.version)
      if (ifVersion !== undefined && version !== ifVersion && version !== ifVersion + 1)
        history.fault('a write that passed over a change', `${what}, with version ${ifVersion}: ${version}`)
    } else if (status === 204) history.wrote(subject, GONE, seen, { after: ifVersion })
    else if (status === 404) history.refused({ ...seen, subject, status })
    else if (status === 412 && ifVersion !== undefined) {
      figures['precondition failed']++
      history.refused({ ...seen, subject, status, ifVersion })
    } else if (status === 409 && delta !== undefined) history.refused({ ...seen, subject, status, stock: parse(answer)?.stock, delta })
    else unexpected(what, answer)
    return status
  }

  const create = (client: Client, group: Group) => {
    const [subject, body] = newProduct(group)
    return change(client, subject, 'POST', '/api/products/', { body })
  }

  type Operation = { op: string; id?: number | undefined; body?: Body }
  const bulk = async (client: Client, group: Group) => {
    const operations: [Operation, Subject][] = []
    const chosen = new Set(Array.from({ length: 3 }, () => pick(there(group))))
    for (const subject of chosen) operations.push([{ op: 'update', id: subject.id, body: { price: price(), stock: below(100) } }, subject])
    const always = there(group)[below(ALWAYS)] as Subject
    if (!chosen.has(always)) operations.push([{ op: 'upsert', body: fullBody(group, always) }, always])
    if (there(group).length < MOST) {
      const [subject, body] = newProduct(group)
      operations.push([{ op: pick(['create', 'upsert']), body }, subject])
    }
    const atomic = Math.random() < 0.5
    const instance = writable()
    const sent = { body: { operations: operations.map(([operation]) => operation), ...(!atomic && { atomic }) } }
    const answer = await ask(client.agents[instance] as Agent, origins[instance] as string, 'POST', '/api/products/bulk/', sent)
    figures.writes++
    if (!counted(answer)) return
    const what = `POST /api/products/bulk/ ${json(sent.body)}`
    const seen = { what, instance, begun: answer.begun, ended: answer.ended }
    if (answer.status === 404 && atomic) return
    if (answer.status !== 200 && (answer.status !== 207 || atomic)) return unexpected(what, answer)
    figures.bulks++
    const results = parse(answer)?.results as { status: number; id: number; version: number; etag?: string }[]
    const batch = new Map(atomic ? results.map(({ version }, index) => [operations[index]?.[1] as Subject, version]) : [])
    for (const [index, { status, id, version, etag }] of results.entries()) {
      const [{ body = {} }, subject] = operations[index] as [Operation, Subject]
      if (status === 404) history.refused({ ...seen, subject, status })
      else if (status !== 200 && status !== 201) unexpected(`${what}, ${index}`, answer)
      else {
        subject.id = id
        history.wrote(subject, version, seen, { asked: [sets(body)], ...(atomic && { batch }) })
        if (etag) history.tagged(subject, version, etag)
      }
    }
  }

  const patch = (values: (group: Group) => Body) => (client: Client, group: Group) => {
    const subject = oneOf(there(group))
    return change(client, subject, 'PATCH', recordUrl(subject), { body: values(group) })
  }

  const stock = (client: Client, group: Group) => {
    const subject = oneOf(there(group))
    const delta = pick([-60, -7, -1, 1, 5, 40])
    const asked = (before: Body) => ({ stock: Number(before.stock) + delta })
    return change(client, subject, 'POST', `${recordUrl(subject)}stock/`, { body: { delta, reason: 'test' }, asked, delta })
  }

  const remove = async (client: Client, group: Group) => {
    const subject = pick(there(group).slice(ALWAYS))
    subject.leaving = true
    // It stays where something else came between.
    if ((await change(client, subject, 'DELETE', recordUrl(subject), {})) !== 204) subject.leaving = subject.states.has(GONE)
  }

  const writes: [weight: number, write: (client: Client, group: Group) => Promise<unknown>][] = [
    [6, patch(() => ({ price: price() }))],
    [3, patch(() => ({ stock: below(100) }))],
    [2, patch(() => ({ name: `${pick(['Red', 'Blue'])} thing` }))],
    [2, patch(({ category }) => ({ category: pick([category.id, null]) }))],
    [
      2,
      (client, group) => {
        const subject = oneOf(there(group))
        return change(client, subject, 'PUT', recordUrl(subject), { body: fullBody(group, subject) })
      },
    ],
    [2, (client, group) => (there(group).length < MOST ? create(client, group) : remove(client, group))],
    [2, (client, group) => (there(group).length > FEWEST ? remove(client, group) : create(client, group))],
    [1, (client, { category, names }) => change(client, category, 'PATCH', categoryUrl(category), { body: { name: pick(names) } })],
  ]

  // Reading.

  const read = async (
    client: Client,
    method: string,
    path: string,
    see: (seen: Seen, status: number, body: Body | undefined, tag?: string) => void,
  ) => {
    const instance = below(origins.length)
    const kept = Math.random() < CONDITIONAL_READS ? client.kept.get(path) : undefined
    const headers = { ...client.coding, ...(kept && { 'if-none-match': kept.tag }) }
    const answer = await ask(client.agents[instance] as Agent, origins[instance] as string, method, path, { headers })
    figures.reads++
    if (!counted(answer)) return
    const { status, begun, ended } = answer
    const what = `${method} ${path}${kept ? ` (If-None-Match: ${kept.tag})` : ''}`
    const { etag } = answer.headers
    const seen = { what, instance, begun, ended }
    if (status === 304 && kept) {
      figures['not modified']++
      see(seen, 200, kept.body, kept.tag)
    } else if (status === 200 && method === 'HEAD') see(seen, 200, undefined, etag)
    else if (status === 200) {
      const body = parse(answer)
      if (etag) {
        client.kept.set(path, { tag: etag, body })
        const url = `${origins[instance]}${path} ${etag}`
        const digest = hash('sha1', answer.text)
        if ((bodies.get(url) ?? digest) !== digest) history.fault('one tag for two bodies', `${what}: ${etag}`)
        bodies.set(url, digest)
      }
      see(seen, 200, body, etag)
    } else if (status === 404) see(seen, 404, undefined)
    else unexpected(what, answer)
  }

  const readRecord = (client: Client, subject: Subject, url: string, method = 'GET') =>
    read(client, method, url, (seen, status, body, tag) => {
      if (status === 200 && method === 'HEAD') {
        if (tag) history.read({ ...seen, subject, body, tag })
      } else history.read({ ...seen, subject, body })
      // Under one of its URLs a record has the tag that its writer was told.
      if (body && tag && url === recordUrl(subject)) history.tagged(subject, Number(body.version), tag)
    })

  const readList = (client: Client, list: List) =>
    read(client, 'GET', list.path, (seen, status, body) => {
      if (status !== 200) return history.fault('a list that was not found', seen.what)
      const exact = body?.count_exact !== false
      history.listed({ ...seen, list, rows: body?.results as Body[], count: exact ? (body?.count as number | null) : null })
    })

  /** Those that are there, and some that were. */
  const anyProduct = ({ products }: Group) =>
    oneOf([...products.slice(0, CROWD), ...products.slice(-2 * MOST)].filter(({ id }) => id !== undefined))

  const reads: [weight: number, read: (client: Client, group: Group) => Promise<unknown>][] = [
    [8, (client, group) => readList(client, oneOf(group.lists))],
    [
      5,
      (client, group) => {
        const subject = anyProduct(group)
        return readRecord(client, subject, recordUrl(subject))
      },
    ],
    [
      1,
      (client, group) => {
        const subject = anyProduct(group)
        return readRecord(client, subject, recordUrl(subject), 'HEAD')
      },
    ],
    [1, (client, { category }) => readRecord(client, category, categoryUrl(category))],
    [1, (client) => readList(client, whole)],
  ]

  // What is there at first.

  const newClient = (): Client => {
    const agents = origins.map(() => new Agent({ keepAlive: true, maxSockets: 1 }))
    scope.teardown(() => agents.map((agent) => agent.destroy()))
    return { agents, coding: pick(CODINGS), kept: new Map() }
  }
  const clients = Array.from({ length: CLIENTS }, newClient)
  const [first] = clients as [Client]
  const [origin] = origins as [string]
  const others = Number(parse(await askPatiently(agent, origin, 'GET', '/api/products/?page_size=1&count=exact'))?.count)
  const whole: List = {
    path: '/api/products/?ordering=-id&page_size=1',
    subjects: all,
    keeps: () => true,
    size: 1,
    order: (one, other) => Number(other.id) - Number(one.id),
    others,
  }

  const newGroup = async (_: unknown, index: number): Promise<Group> => {
    const brand = `${tag}g${index}x`
    const names = ['a', 'b', 'c'].map((letter) => `${brand} ${letter}`)
    const body = { name: names[0] }
    const answer = await askPatiently(agent, origin, 'POST', '/api/categories/', { body })
    const made = parse(answer) as Body
    const category = new Subject(`category ${made.id}`)
    wrote(first, category, `/api/categories/${made.id}/`, { instance: 0, begun: answer.begun, ended: answer.ended }, answer, sets(body))
    const group: Group = { brand, category, names, products: [], lists: [] }
    group.lists = listsOf(group)
    while (there(group).length < FEWEST + 2) await create(first, group)
    return group
  }
  const groups = await Promise.all(Array.from({ length: GROUPS }, newGroup))

  /** Writes for which there may be no route yet. */
  const [probe] = groups as [Group]
  const hasRoute = async (method: string, path: string, body?: Body) =>
    !NO_ROUTE.includes((await askPatiently(agent, origin, method, path, { body })).status)
  const [example] = there(probe) as [Subject]
  if (await hasRoute('GET', `${recordUrl(example)}cached_detail/`))
    reads.push([
      3,
      (client, group) => {
        const subject = anyProduct(group)
        return readRecord(client, subject, `${recordUrl(subject)}cached_detail/`)
      },
    ])
  if (await hasRoute('POST', `${recordUrl(example)}stock/`, {})) writes.push([4, stock])
  if (await hasRoute('POST', '/api/products/bulk/', {})) writes.push([3, bulk])

  // The load.

  const query = await connect(scope, database)
  const holder = holding.length > 0 ? await connect(scope, database) : undefined
  for (const statement of holding) await holder?.(statement)
  const { seconds = GONE, requests = GONE } = end
  const until = performance.now() + seconds * 1_000
  const goesOn = () => performance.now() < until && figures.reads + figures.writes < requests
  /** At each instance, since it may be any that keeps what is old. */
  const look = async (client: Client, { lists }: Group) => {
    const { last } = client
    for (const _ of origins) {
      if (last?.key.startsWith(tag) && last.id !== undefined) await readRecord(client, last, recordUrl(last))
      await readList(client, oneOf(lists))
    }
  }
  const run = async (client: Client) => {
    while (goesOn()) {
      const group = oneOf(groups)
      if (Math.random() < shareOfWrites()) {
        await weighted(writes)(client, group)
        if (Math.random() < LOOKS) await look(client, group)
      } else await weighted(reads)(client, group)
    }
  }
  const elsewhere = async (client: Client) => {
    while (goesOn()) {
      const group = oneOf(groups)
      const subject = oneOf(there(group))
      const at = performance.now()
      const made = await priceElsewhere(query, subject, price())
      if (made) {
        figures.elsewhere++
        const { version, ...body } = made
        history.wrote(subject, version, { instance: ELSEWHERE, begun: at, ended: performance.now() }, { asked: [sets(body)] })
        client.last = subject
        await look(client, group)
      }
      await setTimeout(ELSEWHERE_EVERY)
    }
  }
  await Promise.all([...clients.map(run), elsewhere(newClient())])
  if (holding.length > 0) await holder?.('rollback')

  const rows = await query(`select sku, version from products where sku like '${tag}%'`)
  const versions = new Map(rows.map(({ sku, version }) => [sku, Number(version)]))
  for (const [{ key }, version] of history.last())
    if (key.startsWith(tag) && (versions.get(key) ?? GONE) !== version)
      history.fault('a record that is not as it was left', `${key}: ${versions.get(key)}, and not ${version}`)
  if (figures.stored > 0 && figures.hits === 0) history.fault('a cache that never hits', json(figures))
  const faults = history.check()
  return { faults, figures: { ...figures, 'went back': history.wentBack, 'worst lag': Math.round(history.worstLag) } }
}

/** With nothing else going on: for how many milliseconds the last instance shows what was, after each write at the first and after each by another program. */
export async function quietLags(
  scope: Scope,
  { origins, database }: Pick<Options, 'origins' | 'database'>,
  times: number,
): Promise<number[]> {
  const agent = new Agent({ keepAlive: true })
  scope.teardown(() => agent.destroy())
  const query = await connect(scope, database)
  const [here, there] = [origins[0] as string, origins.at(-1) as string]
  const brand = `k${randomUUID().slice(0, 8)}`
  const made = await askPatiently(agent, here, 'POST', '/api/products/', { body: { name: 'Quiet', price: '0.00', brand } })
  const url = recordUrl(JSON.parse(made.text))
  const paths = [url, `/api/products/?brand=${brand}`, `/api/products/?search=${brand}&ordering=-price`]
  const shown = async (path: string) => {
    const { text, begun } = await askPatiently(agent, there, 'GET', path)
    const body = JSON.parse(text)
    return { begun, price: (body.results?.[0] ?? body).price as string }
  }
  const lags: number[] = []
  for (let time = 1; time <= times; time++) {
    // What was read is kept, if anything is.
    for (const path of [...paths, ...paths]) await shown(path)
    const price = `${time}.00`
    if (time % 2 === 0) await query(`update products set price = ${time * 100} where id = ${JSON.parse(made.text).id}`)
    else await askPatiently(agent, here, 'PATCH', url, { body: { price } })
    const acknowledged = performance.now()
    const lag = async (path: string) => {
      for (let last = 0; ; ) {
        const { begun, price: its } = await shown(path)
        if (its === price || begun - acknowledged > PATIENCE) return its === price ? last : GONE
        last = begun - acknowledged
      }
    }
    lags.push(Math.max(...(await Promise.all(paths.map(lag)))))
  }
  return lags
}

/** Several spellings of what a group has, which is all on one page. */
function listsOf({ brand, names, category, products: subjects }: Group): List[] {
  const list = (query: string, keeps: List['keeps'] = () => true, more: Partial<List> = {}): List => ({
    path: `/api/products/?${query}`,
    subjects,
    keeps,
    size: PAGE,
    ...more,
  })
  const byPrice = (one: Body, other: Body) => Number(one.price) - Number(other.price)
  const isRed: List['keeps'] = ({ name }) => /red/i.test(String(name))
  const isIn: List['keeps'] = (body) => body.category === category.id
  return [
    list(`brand=${brand}&page_size=${PAGE}`),
    list(`page_size=${PAGE}&brand=${brand}&ordering=-price`, undefined, { order: (one, other) => byPrice(other, one) }),
    list(`page_size=${PAGE}&ordering=price,-id&brand__iexact=${brand.toUpperCase()}`, undefined, { order: byPrice }),
    list(`brand=${brand}&stock__lt=50&page_size=${PAGE}`, ({ stock }) => Number(stock) < 50),
    list(`brand__in=${brand},nothing&count=exact&price__gte=250&page_size=${PAGE}`, (body) => Number(body.price) >= 250),
    list(`brand=${brand}&page_size=3`, undefined, { size: 3 }),
    list(`search=${brand}&page_size=${PAGE}`),
    list(`search=red+${brand}&page_size=${PAGE}`, isRed),
    list(`category=${category.id}&page_size=${PAGE}`, isIn),
    list(`brand=${brand}&name__icontains=RED&category__isnull=false&page_size=${PAGE}`, (body) => isRed(body) && isIn(body)),
    ...names.flatMap((name) => {
      const slug = name.replace(' ', '-')
      return [
        list(`category__slug=${slug}&page_size=${PAGE}`, isIn, { slug: { category, is: slug } }),
        { path: `/api/categories/?slug=${slug}`, subjects: [category], keeps: (body: Body) => body.slug === slug, size: 20 },
      ]
    }),
  ]
}

function weighted<T>(choices: readonly [weight: number, choice: T][]): T {
  let rest = Math.random() * choices.reduce((sum, [weight]) => sum + weight, 0)
  for (const [weight, choice] of choices) {
    rest -= weight
    if (rest < 0) return choice
  }
  return pick(choices)[1]
}

/** Another program's write. It says the version and the price that it left, or nothing where the record was not there any more. */
async function priceElsewhere(query: Query, { id }: Subject, price: string): Promise<{ version: number; price: string } | undefined> {
  await query('begin')
  await query(`update products set price = ${Math.round(Number(price) * 100)} where id = ${id}`)
  const [row] = await query(`select version, price from products where id = ${id}`)
  await query('commit')
  return row && { version: Number(row.version), price: (Number(row.price) / 100).toFixed(2) }
}

// Kills.

/** Writers of one service, each with records of its own, and so many of them in one bulk. */
const WRITERS = 4
const BULK = 50
/** Milliseconds after the first acknowledgement in which the service is killed. */
const KILLED_WITHIN = 400

interface Write {
  skus: string[]
  stock: number
  method: string
  path: string
  sent: { body: Body; headers: Record<string, string> }
}

/** What one client has written: one write at a time, so that all but the last are acknowledged. */
interface Writer {
  brand: string
  ids: Map<string, number>
  /** What is known to hold. */
  stocks: Map<string, number>
  underWay: Write | undefined
  acknowledged: number
  /** Counts writes: the stock that each sets is its own. */
  serial: number
}

/** Kills the service in the midst of writes, again and again, and looks for what it had acknowledged. */
export async function survivesKills(scope: Scope, database: string, kills: number): Promise<Report> {
  const faults: string[] = []
  const figures = { kills: 0, acknowledged: 0, 'cut off': 0, 'of these kept': 0, 'bulks cut off': 0 }
  const query = await connect(scope, database)
  const writers = Array.from({ length: WRITERS }, (_, index): Writer => {
    return { brand: `writer-${index}`, ids: new Map(), stocks: new Map(), underWay: undefined, acknowledged: 0, serial: 0 }
  })
  let service = await serve(scope, database)
  let bulks: boolean | undefined
  while (figures.kills < kills) {
    const agent = new Agent({ keepAlive: true })
    bulks ??= !NO_ROUTE.includes((await askPatiently(agent, service.origin, 'POST', '/api/products/bulk/', { body: {} })).status)
    const { promise: begun, resolve: onAcknowledged } = Promise.withResolvers<void>()
    const told = Promise.all(writers.map((writer) => writeUntilCut(agent, service.origin, writer, bulks === true, onAcknowledged)))
    await Promise.race([begun, told.then((reasons) => Promise.reject(new Error(`nothing could be written: ${reasons}`)))])
    await setTimeout(below(KILLED_WITHIN))
    await service.kill()
    for (const reason of await told) if (reason !== CUT) faults.push(reason)
    agent.destroy()
    figures.kills++
    if (database.startsWith('postgres')) await connectionsEnded(query)

    service = await serve(scope, database)
    const agentAfter = new Agent({ keepAlive: true })
    for (const writer of writers) {
      const { underWay } = writer
      const kept = await resolve(agentAfter, service.origin, writer, faults)
      if (!underWay) continue
      figures['cut off']++
      if (kept) figures['of these kept']++
      if (underWay.skus.length > 1) figures['bulks cut off']++
    }
    agentAfter.destroy()
  }
  for (const { acknowledged } of writers) figures.acknowledged += acknowledged
  return { faults, figures }
}

const CUT = 'cut'

/** Writes until the service is gone. It says why it ended. */
async function writeUntilCut(agent: Agent, origin: string, writer: Writer, bulks: boolean, onAcknowledged: () => void): Promise<string> {
  for (;;) {
    const stock = ++writer.serial
    const write = nextWrite(writer, stock, bulks)
    const { method, path, sent } = write
    writer.underWay = write
    const answer = await ask(agent, origin, method, path, sent).catch(() => undefined)
    if (!answer) return CUT
    if (answer.status === BUSY) continue
    if (answer.status !== 200 && answer.status !== 201) return `${method} ${path}: ${answer.status} ${answer.text}`
    const told = JSON.parse(answer.text)
    const results: { id: number }[] = write.skus.length > 1 ? told.results : [told]
    for (const [index, sku] of write.skus.entries()) {
      writer.stocks.set(sku, stock)
      writer.ids.set(sku, Number(results[index]?.id))
    }
    writer.underWay = undefined
    writer.acknowledged++
    onAcknowledged()
  }
}

function nextWrite({ brand, ids }: Writer, stock: number, bulks: boolean): Write {
  const known = [...ids.keys()]
  const newProduct = (sku: string): Body => ({ sku, name: 'Survivor', price: '1.00', stock, brand })
  const write = (skus: string[], method: string, path: string, body: Body): Write => {
    const headers: Record<string, string> = method === 'POST' ? { 'idempotency-key': `"${randomUUID()}"` } : {}
    return { skus, stock, method, path, sent: { body, headers } }
  }
  const kind = below(bulks ? 8 : 6)
  if (kind < 3 && known.length > 0) {
    const sku = pick(known)
    return write([sku], 'PATCH', `/api/products/${ids.get(sku)}/`, { stock })
  }
  if (kind < 6 || (kind === 6 && known.length < BULK)) {
    const sku = `${brand}-${stock}`
    return write([sku], 'POST', '/api/products/', newProduct(sku))
  }
  const isNew = kind === 7
  const skus = isNew ? Array.from({ length: BULK }, (_, index) => `${brand}-${stock}-${index}`) : known.slice(-BULK)
  const operations = skus.map((sku) =>
    isNew ? { op: 'create', body: newProduct(sku) } : { op: 'update', id: ids.get(sku), body: { stock } },
  )
  return write(skus, 'POST', '/api/products/bulk/', { operations })
}

/** What a process that is gone had begun may still be going on in the server of the database. */
async function connectionsEnded(query: Query): Promise<void> {
  const others = 'select 1 from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()'
  while ((await query(others)).length > 0) await setTimeout(10)
}

/** Compares what is there with what was acknowledged, and says whether the write that was cut off is there. */
async function resolve(agent: Agent, origin: string, writer: Writer, faults: string[]): Promise<boolean> {
  const found = new Map<string, Body>()
  for (let path: string | null = `/api/products/?brand=${writer.brand}&page_size=${PAGE}`; path; ) {
    const { status, text } = await askPatiently(agent, origin, 'GET', path)
    if (status !== 200) throw new Error(`GET ${path}: ${status} ${text}`)
    const page = JSON.parse(text) as { next: string | null; results: Body[] }
    for (const row of page.results) found.set(keyOf(row), row)
    path = page.next
  }
  const { underWay, stocks, ids } = writer
  let kept = 0
  for (const [sku, row] of found) {
    if (underWay?.skus.includes(sku) && row.stock === underWay.stock) {
      kept++
      stocks.set(sku, underWay.stock)
      ids.set(sku, Number(row.id))
    } else if (stocks.get(sku) !== row.stock) faults.push(`${sku} has the stock ${row.stock}, and ${stocks.get(sku)} was acknowledged`)
  }
  for (const sku of stocks.keys()) if (!found.has(sku)) faults.push(`${sku} was acknowledged and is not there`)
  if (underWay && kept > 0 && kept < underWay.skus.length) faults.push(`of a bulk of ${underWay.skus.length} there are ${kept}`)
  if (underWay) await again(agent, origin, writer, underWay, kept > 0, faults)
  writer.underWay = undefined
  return kept > 0
}

/** The client tries again what was cut off. What is there already is not done a second time, and is answered all the same. */
async function again(agent: Agent, origin: string, { stocks, ids }: Writer, write: Write, kept: boolean, faults: string[]): Promise<void> {
  const { skus, stock, method, path, sent } = write
  const { status, headers, text } = await askPatiently(agent, origin, method, path, sent)
  const replayed = headers['idempotency-replayed'] === 'true'
  if ((status !== 200 && status !== 201) || (method === 'POST' && replayed !== kept))
    return void faults.push(
      `${method} ${path} again, ${kept ? 'which was done' : 'which was not done'}: ${status} ${replayed} ${text.slice(0, 200)}`,
    )
  const told = JSON.parse(text)
  const results: { id: number }[] = skus.length > 1 ? told.results : [told]
  for (const [index, sku] of skus.entries()) {
    stocks.set(sku, stock)
    ids.set(sku, Number(results[index]?.id))
  }
}
