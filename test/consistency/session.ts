// The state of one workload that its writes and reads share: records, clients, figures and the history.
import { hash, randomUUID } from 'node:crypto'
import { Agent } from 'node:http'
import type { Scope } from '../node-process.ts'
import { History, type List, type Observation } from './history.ts'
import { type Answer, ask, BUSY, type Payload } from './process.ts'
import { pick, randomBelow, randomPrice } from './random.ts'
import { type Body, DELETED, type Effect, json, Subject } from './subject.ts'

export interface Options {
  /** The origins of the instances, which share one database. */
  origins: string[]
  database: string
  /** The lag in ms that an instance may have behind writes of others. */
  bound: number
  /** The workload ends after this time or this number of requests. */
  seconds?: number
  requests?: number
  /** The shares of writes in successive periods. */
  writeShares?: readonly number[]
  /** Statements that open another program's transaction, which stays open to the end. */
  holding?: string[]
}

export interface Report {
  faults: string[]
  /** Counts of events, and the worst lag in ms. */
  figures: Record<string, number>
}

export interface Group {
  brand: string
  category: Subject
  /** Names that clients give the category in turn. */
  names: string[]
  products: Subject[]
  lists: List[]
}

export interface Client {
  agents: Agent[]
  /** The Accept-Encoding header. */
  coding: Record<string, string>
  /** The last answer that this client got for each URL. */
  cached: Map<string, { tag: string; body: Body | undefined }>
  /** The subject of the client's last write. */
  last?: Subject
}

/** Records per page: all records of a group fit on one. */
export const PAGE_SIZE = 100
/** Statuses of a URL without a route, the second if `/api/products/{id}/` matches it. */
export const NO_ROUTE = [404, 405]
/** The first records of a group, which are never deleted. */
export const PERMANENT = 2
/** In half of the periods all clients use only this number of records, so that reads are shared while a record changes. */
export const CROWD = 2

const CODINGS: Record<string, string>[] = [{}, { 'accept-encoding': 'gzip' }, { 'accept-encoding': 'br, gzip;q=0.5' }]
/** Many writes leave cache entries little time; few writes reveal entries that are kept too long. */
const WRITE_SHARES = [0.5, 0.02, 0.1, 0.02]
/** Milliseconds of each share. */
const PERIOD = 150
/** Milliseconds in which all clients write at one instance, then at the next, then at any. Longer than any bound, so that idle instances must see the writes. */
const ROUND = 1_500
/** Shares of reads with If-None-Match and of writes with If-Match. */
const CONDITIONAL_READS = 0.6
const CONDITIONAL_WRITES = 0.2

export const getRecordUrl = ({ id }: Pick<Subject, 'id'>) => `/api/products/${id}/`
export const getCategoryUrl = ({ id }: Pick<Subject, 'id'>) => `/api/categories/${id}/`
export const parseBody = ({ text }: Answer) => (text === '' ? undefined : (JSON.parse(text) as Body))
/** An effect that sets constant values. */
export const setting =
  (values: Body): Effect =>
  () =>
    values

export class Session {
  readonly history: History
  readonly origins: readonly string[]
  readonly figures = {
    reads: 0,
    writes: 0,
    bulks: 0,
    'by another program': 0,
    refused: 0,
    'precondition failed': 0,
    stored: 0,
    hits: 0,
    'not modified': 0,
  }
  /** Prefix of the keys of this workload. */
  readonly prefix = `k${randomUUID().slice(0, 8)}`
  readonly products: Subject[] = []
  readonly #scope: Scope
  readonly #writeShares: readonly number[]
  /** Digests of bodies by URL and tag. */
  readonly #bodies = new Map<string, string>()
  readonly #startedAt = performance.now()
  #serial = 0

  constructor(scope: Scope, { origins, bound, writeShares = WRITE_SHARES }: Options) {
    this.#scope = scope
    this.#writeShares = writeShares
    this.origins = origins
    this.history = new History(origins.length, bound)
  }

  /** Returns the number of the current period of `length` ms, modulo `count`. */
  #getPeriod(length: number, count: number): number {
    return Math.floor((performance.now() - this.#startedAt) / length) % count
  }

  /** Picks an item, in half of the periods only among the first few. */
  pick<T>(items: readonly T[]): T {
    return pick(this.#getPeriod(CROWD * PERIOD, 2) === 0 ? items : items.slice(0, CROWD))
  }

  shouldWrite(): boolean {
    return Math.random() < (this.#writeShares[this.#getPeriod(PERIOD, this.#writeShares.length)] as number)
  }

  /** Picks the instance for a write. */
  pickWriter(): number {
    const only = this.#getPeriod(ROUND, this.origins.length + 1)
    return only < this.origins.length ? only : randomBelow(this.origins.length)
  }

  createClient(): Client {
    const agents = this.origins.map(() => new Agent({ keepAlive: true, maxSockets: 1 }))
    this.#scope.teardown(() => agents.map((agent) => agent.destroy()))
    return { agents, coding: pick(CODINGS), cached: new Map() }
  }

  createProduct(group: Group): [Subject, Body] {
    const subject = new Subject(`${group.brand}-${++this.#serial}`)
    group.products.push(subject)
    this.products.push(subject)
    return [subject, createBody(group, subject)]
  }

  /** Sends a request, and returns the answer, or undefined if the instance was too busy. */
  async #send(client: Client, instance: number, method: string, path: string, payload: Payload): Promise<Answer | undefined> {
    const answer = await ask(client.agents[instance] as Agent, this.origins[instance] as string, method, path, payload)
    const cacheStatus = String(answer.headers['cache-status'])
    if (cacheStatus.includes('hit')) this.figures.hits++
    if (cacheStatus.includes('stored')) this.figures.stored++
    if (answer.status !== BUSY) return answer
    this.figures.refused++
    return undefined
  }

  addUnexpected(request: string, { status, text }: Answer): void {
    this.history.addFault(`unexpected answer ${status}`, `${request}: ${text}`)
  }

  /** Adds a write whose answer has the record. */
  addWrite(client: Client, subject: Subject, url: string, write: Omit<Observation, 'request'>, answer: Answer, effect: Effect): void {
    const body = parseBody(answer) as Body
    const { etag } = answer.headers
    subject.id = Number(body.id)
    this.history.addWrite(subject, Number(body.version), write, { body, effects: [effect] })
    if (!etag) return
    this.history.addTag(subject, Number(body.version), etag)
    client.cached.set(url || getRecordUrl(subject), { tag: etag, body })
  }

  /** Sends any write, and returns the answer and the observation of it; undefined if the instance was too busy. */
  async sendWrite(client: Client, method: string, url: string, payload: Payload) {
    const instance = this.pickWriter()
    const answer = await this.#send(client, instance, method, url, payload)
    this.figures.writes++
    if (!answer) return undefined
    const { startedAt, endedAt } = answer
    const request = `${method} ${url} ${json(payload.body)}`
    return { answer, write: { request, instance, startedAt, endedAt } }
  }

  /** Writes one record and adds the outcome to the history. Returns the status. */
  async change(
    client: Client,
    subject: Subject,
    method: string,
    url: string,
    { body, effect = setting(body as Body), delta }: { body?: Body; effect?: Effect; delta?: number },
  ): Promise<number | undefined> {
    const { history, figures } = this
    const cached = url === getRecordUrl(subject) && Math.random() < CONDITIONAL_WRITES ? client.cached.get(url) : undefined
    const requiredVersion = cached?.body && Number(cached.body.version)
    const headers = cached?.body ? { headers: { 'if-match': cached.tag } } : {}
    const outcome = await this.sendWrite(client, method, url, { body, ...headers })
    client.last = subject
    if (!outcome) return undefined
    const { answer, write } = outcome
    const { status } = answer
    if (status === 200 || status === 201) {
      this.addWrite(client, subject, subject.id === undefined ? '' : url.replace(/stock\/$/, ''), write, answer, effect)
      const version = Number(parseBody(answer)?.version)
      if (requiredVersion !== undefined && version !== requiredVersion && version !== requiredVersion + 1)
        history.addFault('write despite another version', `${write.request}, with version ${requiredVersion}: ${version}`)
    } else if (status === 204) history.addWrite(subject, DELETED, write, { requiredVersion })
    else if (status === 404) history.addRefusal({ ...write, subject, status })
    else if (status === 412 && requiredVersion !== undefined) {
      figures['precondition failed']++
      history.addRefusal({ ...write, subject, status, requiredVersion })
    } else if (status === 409 && delta !== undefined)
      history.addRefusal({ ...write, subject, status, stock: parseBody(answer)?.stock, delta })
    else this.addUnexpected(write.request, answer)
    return status
  }

  /** Reads a URL at any instance, and passes what the client then knows to `observe`. */
  async read(
    client: Client,
    method: string,
    path: string,
    observe: (read: Observation, status: number, body: Body | undefined, tag?: string) => void,
  ): Promise<void> {
    const instance = randomBelow(this.origins.length)
    const cached = Math.random() < CONDITIONAL_READS ? client.cached.get(path) : undefined
    const headers = { ...client.coding, ...(cached && { 'if-none-match': cached.tag }) }
    const answer = await this.#send(client, instance, method, path, { headers })
    this.figures.reads++
    if (!answer) return
    const { status, startedAt, endedAt } = answer
    const request = `${method} ${path}${cached ? ` (If-None-Match: ${cached.tag})` : ''}`
    const { etag } = answer.headers
    const read = { request, instance, startedAt, endedAt }
    if (status === 304 && cached) {
      this.figures['not modified']++
      observe(read, 200, cached.body, cached.tag)
    } else if (status === 200 && method === 'HEAD') observe(read, 200, undefined, etag)
    else if (status === 200) {
      const body = parseBody(answer)
      if (etag) {
        client.cached.set(path, { tag: etag, body })
        this.#checkDigest(`${this.origins[instance]}${path} ${etag}`, `${request}: ${etag}`, answer.text)
      }
      observe(read, 200, body, etag)
    } else if (status === 404) observe(read, 404, undefined)
    else this.addUnexpected(request, answer)
  }

  /** Checks that a URL has the same body whenever it has the same tag. */
  #checkDigest(key: string, example: string, text: string): void {
    const digest = hash('sha1', text)
    if ((this.#bodies.get(key) ?? digest) !== digest) this.history.addFault('one tag of two bodies', example)
    this.#bodies.set(key, digest)
  }
}

export const createBody = ({ category }: Group, { key }: Subject): Body => ({
  sku: key,
  name: `${pick(['Red', 'Blue'])} thing`,
  price: randomPrice(),
  stock: randomBelow(100),
  brand: key.split('-', 1)[0],
  category: Math.random() < 0.8 ? category.id : null,
})

/** Returns the products of a group that exist and are not being deleted. */
export const listExisting = (group: Group) => group.products.filter(({ id, isBeingDeleted }) => id !== undefined && !isBeingDeleted)
