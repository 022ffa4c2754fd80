// Cache entries in Redis, shared by all instances. While Redis is slow or unavailable, every look-up is a miss.
import { hash } from 'node:crypto'
import type { Connection } from '../redis.ts'
import { type CacheEntry, getRemainingTtl, type Store } from './store.ts'

/** Prefix of every key. A hash of the cache key and the state follow. */
const PREFIX = 'stockroom:cache:'

/** Milliseconds to wait for Redis. A query of the database is faster than a slower answer. */
const MAX_WAIT = 20

/** Maximum bytes of an entry in Redis. */
const MAX_ENTRY = 1_048_576

const LINE_FEED = 10

export class RedisStore implements Store {
  readonly #connection: Connection
  readonly #prefix: string

  constructor(connection: Connection, prefix = PREFIX) {
    this.#connection = connection
    this.#prefix = prefix
  }

  getLocal(): undefined {}

  async getRemote(key: string, state: string): Promise<CacheEntry | undefined> {
    if (this.#connection.isAway) return undefined
    const bytes = await withinMaxWait(this.#connection.run((redis) => redis.getBuffer(this.#buildKey(key, state))))
    const entry = bytes ? parseEntry(bytes) : undefined
    return entry?.state === state && getRemainingTtl(entry) > 0 ? entry : undefined
  }

  set(key: string, entry: CacheEntry): boolean {
    const { body, ...rest } = entry
    const remaining = getRemainingTtl(entry)
    if (this.#connection.isAway || remaining === 0 || body.length > MAX_ENTRY) return false
    const bytes = Buffer.concat([Buffer.from(`${JSON.stringify({ ...rest, encoded: undefined })}\n`), body])
    // Not awaited: requests in the meantime read the database.
    void this.#connection.run((redis) => redis.set(this.#buildKey(key, entry.state), bytes, 'PX', Math.ceil(remaining)))
    return true
  }

  /** Does nothing: entries in Redis are not compressed. */
  resize(): void {}

  /** The key contains the state, so that an instance that is behind cannot replace a newer entry by an older one. */
  #buildKey(key: string, state: string): string {
    return `${this.#prefix}${hash('sha256', key, 'base64url')}:${state}`
  }
}

/** Parses an entry: a line of JSON, then the body. Returns undefined for a value that another program wrote. */
function parseEntry(bytes: Buffer): CacheEntry | undefined {
  try {
    const end = bytes.indexOf(LINE_FEED)
    return { ...(JSON.parse(bytes.toString('utf8', 0, end)) as Omit<CacheEntry, 'body'>), body: bytes.subarray(end + 1) }
  } catch {
    return undefined
  }
}

/** Resolves to undefined if `answer` fails or takes longer than MAX_WAIT. */
function withinMaxWait<T>(answer: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, MAX_WAIT, undefined)
    answer.then(resolve, () => resolve(undefined)).finally(() => clearTimeout(timer))
  })
}
