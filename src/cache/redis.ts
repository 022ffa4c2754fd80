// Keeps answers in Redis, for all instances. One that is away, or slow, has nothing: the database is then asked instead.
import { hash } from 'node:crypto'
import type { Connection } from '../redis.ts'
import { type CacheEntry, getRemainingTtl, type Store } from './store.ts'

/** Every key begins with it. A hash of what is asked for follows, and the state. */
export const PREFIX = 'stockroom:cache:'

/** Milliseconds after which it is quicker to ask the database. */
const WORTHWHILE = 20

/** Bytes that are sent to Redis for one answer. */
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
    const bytes = await soon(this.#connection.run((redis) => redis.getBuffer(this.#keyOf(key, state))))
    const kept = bytes ? parse(bytes) : undefined
    return kept?.state === state && getRemainingTtl(kept) > 0 ? kept : undefined
  }

  set(key: string, kept: CacheEntry): boolean {
    const { body, ...rest } = kept
    const left = getRemainingTtl(kept)
    if (this.#connection.isAway || left === 0 || body.length > MAX_ENTRY) return false
    const bytes = Buffer.concat([Buffer.from(`${JSON.stringify({ ...rest, encoded: undefined })}\n`), body])
    // Whoever asks meanwhile asks the database.
    void this.#connection.run((redis) => redis.set(this.#keyOf(key, kept.state), bytes, 'PX', Math.ceil(left)))
    return true
  }

  /** What is sent to Redis is not compressed. */
  resize(): void {}

  /** The state is part of it, so that an instance that is behind does not put an older answer in the place of a newer one. */
  #keyOf(key: string, state: string): string {
    return `${this.#prefix}${hash('sha256', key, 'base64url')}:${state}`
  }
}

/** The first line is what is known of the answer, the rest is the answer. Undefined for what another program wrote. */
function parse(bytes: Buffer): CacheEntry | undefined {
  try {
    const end = bytes.indexOf(LINE_FEED)
    return { ...(JSON.parse(bytes.toString('utf8', 0, end)) as Omit<CacheEntry, 'body'>), body: bytes.subarray(end + 1) }
  } catch {
    return undefined
  }
}

function soon<T>(answer: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, WORTHWHILE, undefined)
    answer.then(resolve, () => resolve(undefined)).finally(() => clearTimeout(timer))
  })
}
