// Counts the requests of each client in this process, exactly, in memory that is bounded.
import { grow, LinkedLists, NONE } from './linked-lists.ts'
import type { Quota, RequestLog, Usage } from './log.ts'

/** Clients and requests that a log remembers: at most 50 MB (measured: 32 MB of arrays, 16 MB of names). */
export const MAX_CLIENTS = 100_000
export const MAX_REQUESTS = 1_000_000

export interface MemoryOptions extends Pick<Quota, 'limit' | 'window'> {
  /** The time in milliseconds, which never goes back. */
  clock?: () => number
  maxClients?: number
  /** More than `limit`. */
  maxRequests?: number
  /** Called for each client that is forgotten whose requests still count: from then on the limit is not exact for it. */
  onForget?: () => void
}

/** Expired requests of others that one request clears away, of those that are left after a time without any: 1,000,000 at once take 40 ms. */
const EXPIRED_AT_ONCE = 500

/** The lists in which requests are: numbers that are no request's, and all there are in the order of time. */
const FREE = 0
const RECORDED = 1

/**
 * When it is full, and nothing has expired, a client is forgotten: of those with the fewest requests the one that has had as many for the
 * longest time, and never the one that asks. So a flood of addresses that ask once forgets addresses that have asked once, and does not free
 * a client that is near its limit.
 */
export class MemoryLog implements RequestLog {
  readonly #limit: number
  readonly #window: number
  readonly #clock: () => number
  readonly #maxClients: number
  readonly #maxRequests: number
  readonly #onForget: () => void

  /** Clients have numbers. */
  readonly #numbers = new Map<string, number>()
  readonly #names: string[] = ['']
  #counts = new Int32Array(1)
  /** Clients by how many requests they have; those of the list 0 are no client's numbers. */
  readonly #levels = new LinkedLists()

  /** Requests have numbers too. */
  #times = new Float64Array(1)
  #owners = new Int32Array(1)
  readonly #order = new LinkedLists()
  readonly #ofClient = new LinkedLists()
  #made = 0
  #kept = 0

  /** Throws a RangeError where the log could not hold all that a client may ask. */
  constructor({
    limit,
    window,
    clock = () => performance.now(),
    maxClients = MAX_CLIENTS,
    maxRequests = MAX_REQUESTS,
    onForget = () => {},
  }: MemoryOptions) {
    if (!Number.isInteger(limit) || limit < 1 || limit >= maxRequests)
      throw new RangeError(`a limit is a whole number from 1, below ${maxRequests}: ${limit}`)
    if (!(window > 0) || maxClients < 1) throw new RangeError('a log needs a window and a client')
    this.#limit = limit
    this.#window = window
    this.#clock = clock
    this.#maxClients = maxClients
    this.#maxRequests = maxRequests
    this.#onForget = onForget
  }

  /** What is remembered now, some of which may have expired. */
  get size(): { clients: number; requests: number } {
    return { clients: this.#numbers.size, requests: this.#kept }
  }

  take(client: string, requests = 1): Usage {
    const now = this.#clock()
    const known = this.#find(client, now)
    const count = this.#counts[known] ?? 0
    const excess = count + requests - this.#limit
    if (excess > 0) return { current: this.#limit + 1, ttl: this.#freeIn(known, now, excess) }
    let number = known
    for (let left = requests; left > 0; left--) {
      while (this.#kept >= this.#maxRequests || (number === NONE && this.#numbers.size >= this.#maxClients)) this.#makeRoom(number, now)
      if (number === NONE) number = this.#admit(client)
      this.#record(number, now)
    }
    return { current: count + requests, ttl: this.#freeIn(number, now) }
  }

  peek(client: string): Usage {
    const now = this.#clock()
    const known = this.#find(client, now)
    if (known === NONE) return { current: 0, ttl: 0 }
    return { current: this.#counts[known] ?? 0, ttl: this.#freeIn(known, now) }
  }

  /** Milliseconds until so many requests of a client have left the window. */
  #freeIn(client: number, now: number, requests = 1): number {
    let request = this.#ofClient.first(client)
    for (let left = requests; left > 1; left--) request = this.#ofClient.after(request)
    return (this.#times[request] ?? 0) + this.#window - now
  }

  /** The client's number, or NONE where it has asked nothing in the window. */
  #find(client: string, now: number): number {
    for (let left = EXPIRED_AT_ONCE; left > 0 && this.#dropExpired(this.#order.first(RECORDED), now); left--);
    const number = this.#numbers.get(client) ?? NONE
    while (this.#dropExpired(this.#ofClient.first(number), now));
    return this.#counts[number] ? number : NONE
  }

  #dropExpired(request: number, now: number): boolean {
    if (request === NONE || (this.#times[request] ?? 0) + this.#window > now) return false
    this.#drop(request)
    return true
  }

  #makeRoom(asking: number, now: number): void {
    if (this.#dropExpired(this.#order.first(RECORDED), now)) return
    // To look for the lowest level takes no longer than it took to record what the clients there have asked.
    let victim: number = NONE
    for (let level = 1; victim === NONE; level++) {
      victim = this.#levels.first(level)
      if (victim === asking) victim = this.#levels.after(victim)
    }
    for (let left = this.#counts[victim] ?? 0; left > 0; left--) this.#drop(this.#ofClient.first(victim))
    this.#onForget()
  }

  #admit(name: string): number {
    const vacant = this.#levels.first(0)
    const number = vacant === NONE ? this.#names.length : vacant
    const own = copyString(name)
    if (vacant !== NONE) this.#levels.remove(0, vacant)
    if (number >= this.#counts.length) this.#counts = grow(this.#counts, number)
    this.#names[number] = own
    this.#numbers.set(own, number)
    this.#levels.append(0, number)
    return number
  }

  #record(client: number, now: number): void {
    const vacant = this.#order.first(FREE)
    const request = vacant === NONE ? ++this.#made : vacant
    if (vacant !== NONE) this.#order.remove(FREE, vacant)
    if (request >= this.#times.length) {
      this.#times = grow(this.#times, request)
      this.#owners = grow(this.#owners, request)
    }
    this.#times[request] = now
    this.#owners[request] = client
    this.#order.append(RECORDED, request)
    this.#ofClient.append(client, request)
    this.#kept++
    this.#setCount(client, (this.#counts[client] ?? 0) + 1)
  }

  #drop(request: number): void {
    const client = this.#owners[request] ?? NONE
    this.#order.remove(RECORDED, request)
    this.#order.append(FREE, request)
    this.#ofClient.remove(client, request)
    this.#kept--
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

/** An address may be a slice of a long header, which would stay in memory with it: V8 copies what it has to put together. */
const copyString = (text: string): string => ` ${text}`.slice(1)
