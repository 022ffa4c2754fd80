// Counts the requests of each client in Redis, exactly and for all instances together. Falls back to this process without Redis.
import type { Result } from 'ioredis'
import { Connection } from '../redis.ts'
import type { Quota, RequestLog, Usage } from './log.ts'

/** Prefix of every key. The policy and the client follow. */
const PREFIX = 'stockroom:limit:'

/** Milliseconds that a key outlives its last request. Expiry is decided by the times in the list, which are finer than the key's expiry. */
const KEY_OUTLIVES = 1_000

/**
 * A key holds the list of a client's requests, each as its time in microseconds. The start of the window is found by exponential and then
 * binary search, so that many expired requests cost few steps.
 */
const COUNT = `
local key, limit, window, counting = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now = tonumber(ARGV[4])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local count = redis.call('LLEN', key)
local function expired(index) return redis.call('LINDEX', key, index) + window <= now end
local low, high = 0, 0
while high < count and expired(high) do low, high = high + 1, 2 * high + 1 end
high = math.min(high, count)
while low < high do
  local middle = math.floor((low + high) / 2)
  if expired(middle) then low = middle + 1 else high = middle end
end
if low > 0 then
  redis.call('LTRIM', key, low, -1)
  count = count - low
end
local oldest = redis.call('LINDEX', key, 0)
if counting > 0 then
  local excess = count + counting - limit
  if excess > 0 then return { limit + 1, redis.call('LINDEX', key, excess - 1) + window - now } end
  for _ = 1, counting do count = redis.call('RPUSH', key, string.format('%.0f', now)) end
  redis.call('PEXPIRE', key, math.ceil(window / 1000) + ${KEY_OUTLIVES})
end
return { count, count > 0 and (oldest or now) + window - now or 0 }
`

declare module 'ioredis' {
  interface RedisCommander<Context> {
    stockroomCount(
      key: string,
      limit: number,
      window: number,
      counting: number,
      now: number | '',
    ): Result<[current: number, ttl: number], Context>
  }
}

interface SharedOptions {
  /** Called when Redis becomes unavailable, with the reason, and when it is available again. */
  onChange?: (isAway: boolean, reason: string) => void
  prefix?: string
}

/** Opens the Redis connection that all logs share. Resolves even if Redis is unavailable. */
export function openRedis(url: string, { onChange, prefix = PREFIX }: SharedOptions = {}): Promise<Connection> {
  return Connection.open(url, {
    scripts: { stockroomCount: { lua: COUNT, numberOfKeys: 1 } },
    // The probe writes, because a replica or a server with full memory would answer a PING.
    probe: (redis) => redis.stockroomCount(`${prefix}probe`, 1, 1, 1, ''),
    onChange,
  })
}

interface RedisLogOptions {
  /** Time in milliseconds, for tests. The default is the clock of Redis. */
  clock?: () => number
  prefix?: string
}

export class RedisLog implements RequestLog {
  readonly #connection: Connection
  readonly #limit: number
  readonly #window: number
  readonly #fallback: RequestLog
  readonly #clock: (() => number) | undefined
  readonly #prefix: string

  /** `fallback` counts while Redis is unavailable. */
  constructor(connection: Connection, { policy, limit, window }: Quota, fallback: RequestLog, options: RedisLogOptions = {}) {
    this.#connection = connection
    this.#limit = limit
    this.#window = toMicroseconds(window)
    this.#fallback = fallback
    this.#clock = options.clock
    this.#prefix = `${options.prefix ?? PREFIX}${policy}:`
  }

  take(client: string, requests = 1): Usage | Promise<Usage> {
    if (this.#connection.isAway) return this.#fallback.take(client, requests)
    return this.#count(client, requests).then((usage) => usage ?? this.#fallback.take(client, requests))
  }

  peek(client: string): Usage | Promise<Usage> {
    if (this.#connection.isAway) return this.#fallback.peek(client)
    return this.#count(client, 0).then((usage) => usage ?? this.#fallback.peek(client))
  }

  async #count(client: string, counting: number): Promise<Usage | undefined> {
    const now = this.#clock ? toMicroseconds(this.#clock()) : ''
    const answer = await this.#connection.run((redis) =>
      redis.stockroomCount(this.#prefix + client, this.#limit, this.#window, counting, now),
    )
    return answer && { current: answer[0], ttl: answer[1] / 1_000 }
  }
}

const toMicroseconds = (milliseconds: number) => Math.round(milliseconds * 1_000)
