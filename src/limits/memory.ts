// Counts the requests of each client in this process, exactly and in bounded memory.
import { grow, LinkedLists, NONE } from './linked-lists.ts'
import type { Quota, RequestLog, Usage } from './log.ts'

/** Maximum clients and requests of a log: at most 50 MB (measured: 32 MB of arrays, 16 MB of names). */
const MAX_CLIENTS = 100_000
const MAX_REQUESTS = 1_000_000

interface MemoryOptions extends Pick<Quota, 'limit' | 'window'> {
  /** Monotonic time in milliseconds. */
  clock?: () => number
  maxClients?: number
  /** Must be more than `limit`. */
  maxRequests?: number
  /** Called when a client with unexpired requests is evicted. The limit is then no longer exact for that client. */
  onEvict?: () => void
}

/** Maximum expired requests that one call removes. Removing 1,000,000 at once would take 40 ms. */
const MAX_EXPIRED = 500

/** List of unused request numbers. */
const FREE = 0
/** List of recorded requests, in the order of time. */
const RECORDED = 1

/**
 * If the log is full and no request has expired, it evicts the client with the fewest requests. Of several it evicts the one whose count
 * changed longest ago, but never the current client. So a flood of addresses with one request each evicts such addresses only, and does not
 * reset a client near its limit.
 */
export class MemoryLog implements RequestLog {
  readonly #limit: number
  readonly #window: number
  readonly #clock: () => number
  readonly #maxClients: number
  readonly #maxRequests: number
  readonly #onEvict: () => void

  /** Numbers of clients. */
  readonly #numbers = new Map<string, number>()
  readonly #names: string[] = ['']
  #counts = new Int32Array(1)
  /** Clients by their number of requests. List 0 has unused numbers. */
  readonly #levels = new LinkedLists()

  /** Times and clients of requests, by the number of the request. */
  #times = new Float64Array(1)
  #owners = new Int32Array(1)
  readonly #order = new LinkedLists()
  readonly #byClient = new LinkedLists()
  #created = 0
  #recorded = 0

  /** Throws a RangeError if the log could not hold all requests of one client. */
  constructor({
    limit,
    window,
    clock = () => performance.now(),
    maxClients = MAX_CLIENTS,
    maxRequests = MAX_REQUESTS,
    onEvict = () => {},
  }: MemoryOptions) {
    if (!Number.isInteger(limit) || limit < 1 || limit >= maxRequests)
      throw new RangeError(`Limit ${limit} is invalid: expected a whole number from 1, below ${maxRequests}.`)
    if (!(window > 0) || maxClients < 1) throw new RangeError('Window and maxClients must be positive.')
    this.#limit = limit
    this.#window = window
    this.#clock = clock
    this.#maxClients = maxClients
    this.#maxRequests = maxRequests
    this.#onEvict = onEvict
  }

  /** Number of clients and requests in memory, including expired ones. */
  get size(): { clients: number; requests: number } {
    return { clients: this.#numbers.size, requests: this.#recorded }
  }

  take(client: string, requests = 1): Usage {
    const now = this.#clock()
    const existing = this.#find(client, now)
    const count = this.#counts[existing] ?? 0
    const excess = count + requests - this.#limit
    if (excess > 0) return { current: this.#limit + 1, ttl: this.#computeWait(existing, now, excess) }
    let number = existing
    for (let left = requests; left > 0; left--) {
      while (this.#recorded >= this.#maxRequests || (number === NONE && this.#numbers.size >= this.#maxClients)) this.#evict(number, now)
      if (number === NONE) number = this.#addClient(client)
      this.#record(number, now)
    }
    return { current: count + requests, ttl: this.#computeWait(number, now) }
  }

  peek(client: string): Usage {
    const now = this.#clock()
    const existing = this.#find(client, now)
    if (existing === NONE) return { current: 0, ttl: 0 }
    return { current: this.#counts[existing] ?? 0, ttl: this.#computeWait(existing, now) }
  }

  /** Computes the milliseconds until a number of requests of a client have left the window. */
  #computeWait(client: number, now: number, requests = 1): number {
    let request = this.#byClient.first(client)
    for (let left = requests; left > 1; left--) request = this.#byClient.after(request)
    return (this.#times[request] ?? 0) + this.#window - now
  }

  /** Finds the number of a client; NONE without requests in the window. */
  #find(client: string, now: number): number {
    for (let left = MAX_EXPIRED; left > 0 && this.#dropExpired(this.#order.first(RECORDED), now); left--);
    const number = this.#numbers.get(client) ?? NONE
    while (this.#dropExpired(this.#byClient.first(number), now));
    return this.#counts[number] ? number : NONE
  }

  #dropExpired(request: number, now: number): boolean {
    if (request === NONE || (this.#times[request] ?? 0) + this.#window > now) return false
    this.#drop(request)
    return true
  }

  #evict(current: number, now: number): void {
    if (this.#dropExpired(this.#order.first(RECORDED), now)) return
    // Finding the lowest level takes no longer than recording the requests of its clients took.
    let victim: number = NONE
    for (let level = 1; victim === NONE; level++) {
      victim = this.#levels.first(level)
      if (victim === current) victim = this.#levels.after(victim)
    }
    for (let left = this.#counts[victim] ?? 0; left > 0; left--) this.#drop(this.#byClient.first(victim))
    this.#onEvict()
  }

  #addClient(name: string): number {
    const vacant = this.#levels.first(0)
    const number = vacant === NONE ? this.#names.length : vacant
    const ownName = copyString(name)
    if (vacant !== NONE) this.#levels.remove(0, vacant)
    if (number >= this.#counts.length) this.#counts = grow(this.#counts, number)
    this.#names[number] = ownName
    this.#numbers.set(ownName, number)
    this.#levels.append(0, number)
    return number
  }

  #record(client: number, now: number): void {
    const vacant = this.#order.first(FREE)
    const request = vacant === NONE ? ++this.#created : vacant
    if (vacant !== NONE) this.#order.remove(FREE, vacant)
    if (request >= this.#times.length) {
      this.#times = grow(this.#times, request)
      this.#owners = grow(this.#owners, request)
    }
    this.#times[request] = now
    this.#owners[request] = client
    this.#order.append(RECORDED, request)
    this.#byClient.append(client, request)
    this.#recorded++
    this.#setCount(client, (this.#counts[client] ?? 0) + 1)
  }

  #drop(request: number): void {
    const client = this.#owners[request] ?? NONE
    this.#order.remove(RECORDED, request)
    this.#order.append(FREE, request)
    this.#byClient.remove(client, request)
    this.#recorded--
    this.#setCount(client, (this.#counts[client] ?? 0) - 1)
  }

  #setCount(client: number, count: number): void {
    this.#levels.remove(this.#counts[client] ?? 0, client)
    this.#levels.append(count, client)
    this.#counts[client] = count
    if (count > 0) return
    this.#numbers.delete(this.#names[client] ?? '')
    this.#names[client] = ''
  }
}

/** Copies a text. An address may be a slice of a long header that V8 would keep in memory; concatenation forces a copy. */
const copyString = (text: string): string => ` ${text}`.slice(1)
