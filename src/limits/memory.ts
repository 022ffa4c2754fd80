// The log of requests in memory, bounded: when it is full, those who have asked the least are forgotten.
import type { Quota, RequestLog, Usage } from './log.ts'
import { Timestamps } from './timestamps.ts'

/** Clients and requests that are remembered: at most about 60 MB. */
const MAX_CLIENTS = 100_000
const MAX_REQUESTS = 1_000_000

export interface MemoryOptions extends Pick<Quota, 'limit' | 'window'> {
  /** Milliseconds, never going back. */
  clock?: () => number
  maxClients?: number
  /** More than `limit`. */
  maxRequests?: number
  /** Called when a client is forgotten whose requests still count: from then on the limit is not exact for it. */
  onForget?: () => void
}

interface Client {
  name: string
  /** Requests in the window, and where the oldest and the latest of them are. */
  count: number
  oldest: number
  latest: number
  /** Its neighbours among the clients with as many. */
  before: Client | undefined
  after: Client | undefined
}

/** The clients with equally many requests, in the order in which they came to have so many. */
interface Level {
  first: Client | undefined
  last: Client | undefined
}

/** Every step takes the same time, however much is remembered: what leaves the window was put into it once. */
export class MemoryLog implements RequestLog {
  readonly #limit: number
  readonly #window: number
  readonly #clock: () => number
  readonly #maxClients: number
  readonly #onForget: () => void
  readonly #clients = new Map<string, Client>()
  readonly #requests: Timestamps<Client>
  /** By count. */
  readonly #levels: Level[] = []
  /** No client has fewer requests. */
  #lowest = 1

  constructor({
    limit,
    window,
    clock = () => performance.now(),
    maxClients = MAX_CLIENTS,
    maxRequests = MAX_REQUESTS,
    onForget = () => {},
  }: MemoryOptions) {
    if (limit >= maxRequests) throw new RangeError(`a limit of ${limit} needs more than ${maxRequests} requests to be remembered`)
    this.#limit = limit
    this.#window = window
    this.#clock = clock
    this.#maxClients = maxClients
    this.#onForget = onForget
    this.#requests = new Timestamps(maxRequests)
  }

  /** Clients and requests that are remembered now. */
  get size(): { clients: number; requests: number } {
    return { clients: this.#clients.size, requests: this.#requests.size }
  }

  take(name: string): Usage {
    const now = this.#expire()
    let client = this.#clients.get(name)
    if (client && client.count >= this.#limit) return this.#usage(client, this.#limit + 1, now)
    if (!client && this.#clients.size >= this.#maxClients) this.#forget(undefined)
    if (this.#requests.isFull) this.#forget(client)
    if (!client) {
      client = { name, count: 0, oldest: -1, latest: -1, before: undefined, after: undefined }
      this.#clients.set(name, client)
    }
    client.latest = this.#requests.add(now, client, client.latest)
    if (client.count === 0) client.oldest = client.latest
    this.#move(client, client.count + 1)
    return this.#usage(client, client.count, now)
  }

  peek(name: string): Usage {
    const now = this.#expire()
    const client = this.#clients.get(name)
    return client ? this.#usage(client, client.count, now) : { current: 0, ttl: 0 }
  }

  #usage(client: Client, current: number, now: number): Usage {
    return { current, ttl: this.#requests.timeOf(client.oldest) + this.#window - now }
  }

  /** Drops what has left the window, whoever's it is. Returns the time. */
  #expire(): number {
    const now = this.#clock()
    const requests = this.#requests
    while (requests.size > 0 && requests.timeOf(requests.oldest) <= now - this.#window) {
      const client = requests.ownerOf(requests.oldest)
      client.oldest = requests.remove(client.oldest)
      this.#move(client, client.count - 1)
    }
    return now
  }

  /** Forgets one of those with the fewest requests, the one that has had so many for the longest. Never the one that asks. */
  #forget(asking: Client | undefined): void {
    const victim = this.#least(asking)
    if (!victim) return
    while (victim.oldest !== -1) victim.oldest = this.#requests.remove(victim.oldest)
    this.#move(victim, 0)
    this.#onForget()
  }

  #least(asking: Client | undefined): Client | undefined {
    while (this.#lowest < this.#levels.length && !this.#levels[this.#lowest]?.first) this.#lowest++
    for (let count = this.#lowest; count < this.#levels.length; count++) {
      const first = this.#levels[count]?.first
      const other = first === asking ? first?.after : first
      if (other) return other
    }
    return undefined
  }

  #move(client: Client, count: number): void {
    this.#leave(client)
    client.count = count
    if (count === 0) {
      this.#clients.delete(client.name)
      return
    }
    const level = this.#levels[count] ?? { first: undefined, last: undefined }
    this.#levels[count] = level
    client.before = level.last
    client.after = undefined
    if (level.last) level.last.after = client
    else level.first = client
    level.last = client
    if (count < this.#lowest) this.#lowest = count
  }

  #leave({ before, after, count }: Client): void {
    const level = this.#levels[count]
    if (count === 0 || !level) return
    if (before) before.after = after
    else level.first = after
    if (after) after.before = before
    else level.last = before
  }
}
