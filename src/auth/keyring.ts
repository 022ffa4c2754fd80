// Verifies the API keys of requests. A verified key is cached briefly, so that a busy client does not cost a query per request.
import { timingSafeEqual } from 'node:crypto'
import { and, eq, isNull, lt, or, type SQL, sql } from 'drizzle-orm'
import { LRUCache } from 'lru-cache'
import type { Column, Database } from '../../drizzle/database.ts'
import { placeholder } from '../../drizzle/statement.ts'
import type { Role } from '../roles.ts'
import { parseToken, sha256 } from './token.ts'

/** The API key of a request. */
export interface ApiKey {
  id: number
  role: Role
}

/** The result of a verification. `guessed` is true for a token that never was a key. */
export type Verdict = { key: ApiKey } | { refused: 'unknown' | 'revoked' | 'expired'; guessed: boolean }

/** Milliseconds for which a verified key is cached. Changes by other processes take effect after this time. */
export const KEY_CACHE_TTL = 1_000
/** Milliseconds for which a key that was valid is looked up without waiting for other look-ups of its address. */
const RECENTLY_VALID = 10 * 60_000
/** Maximum number of cached keys. */
const MAX_CACHED = 10_000
/** Milliseconds between two updates of a key's `last_used_at`. */
const LAST_USED_EVERY = 5 * 60_000

const UNKNOWN: Verdict = { refused: 'unknown', guessed: true }

/** A text as long as a SHA-256 in hexadecimal that equals no hash. */
const NO_HASH = '-'.repeat(64)

interface CachedKey extends ApiKey {
  /** Monotonic time in milliseconds. */
  verifiedAt: number
  /** Milliseconds since 1970; infinite for a key that does not expire. */
  expiresAt: number
}

export class Keyring {
  readonly #db: Database
  readonly #byId: SQL
  readonly #onError: (error: unknown) => void
  /** Cached keys by the SHA-256 of their token, so that the timing of a look-up reveals nothing about a token. */
  readonly #cached = new LRUCache<string, CachedKey>({ max: MAX_CACHED })
  /** SHA-256 of valid tokens. Hashing takes as long as all other work for a key. Guessed tokens are never added. */
  readonly #digests = new LRUCache<string, string>({ max: MAX_CACHED })
  readonly #updating = new Map<number, Promise<void>>()
  /** Number of changed keys. A row read before a change must not be cached after it. */
  #changes = 0

  /** `onError` is called if `last_used_at` cannot be updated. No request fails for that. */
  constructor(db: Database, onError: (error: unknown) => void) {
    const { keys, key_secrets: secrets } = db.tables
    this.#db = db
    this.#byId = sql`select ${secrets.sha256}, ${keys.role}, ${keys.expires_at}, ${keys.revoked_at}, ${keys.last_used_at}
      from ${keys} join ${secrets} on ${secrets.key} = ${keys.id} where ${keys.id} = ${placeholder(0)}`
    this.#onError = onError
  }

  /** Returns the key of a token that was verified within KEY_CACHE_TTL. */
  getCached(token: string): ApiKey | undefined {
    const cached = this.#cached.get(this.#digests.get(token) ?? sha256(token))
    if (!cached || performance.now() - cached.verifiedAt > KEY_CACHE_TTL || cached.expiresAt <= Date.now()) return undefined
    return cached
  }

  /** Whether a token was valid recently, and so is no guess. */
  wasRecentlyValid(token: string): boolean {
    const cached = this.#cached.get(sha256(token))
    return cached !== undefined && performance.now() - cached.verifiedAt < RECENTLY_VALID
  }

  /** Verifies a token. The token of a revoked or expired key is no guess. */
  async verify(token: string): Promise<Verdict> {
    const verdict = await this.#lookUp(token)
    if ('refused' in verdict) {
      this.#cached.delete(sha256(token))
      this.#digests.delete(token)
    }
    return verdict
  }

  async #lookUp(token: string): Promise<Verdict> {
    const parsed = parseToken(token)
    if (!parsed) return UNKNOWN
    const verifiedAt = performance.now()
    const changes = this.#changes
    const [row] = await this.#db.readRows(this.#byId, [parsed.id])
    // Compares for an unknown id too: timing must not reveal which ids exist.
    const isRight = isSameHash(String(row?.[0] ?? NO_HASH), sha256(parsed.secret))
    if (!row || !isRight) return UNKNOWN
    const { keys } = this.#db.tables
    const [, role, storedExpiry, revoked, lastUsed] = row
    const expiresAt = parseTime(keys.expires_at, storedExpiry) ?? Number.POSITIVE_INFINITY
    const key: ApiKey = { id: parsed.id, role: role as Role }
    if (revoked !== null || expiresAt <= Date.now()) return { refused: revoked === null ? 'expired' : 'revoked', guessed: false }
    if (changes === this.#changes) {
      const digest = sha256(token)
      this.#digests.set(token, digest)
      this.#cached.set(digest, { ...key, verifiedAt, expiresAt })
    }
    if (Date.now() - (parseTime(keys.last_used_at, lastUsed) ?? 0) > LAST_USED_EVERY) this.#updateLastUsed(key.id)
    return { key }
  }

  /** Drops a key from the cache after a change, rotation or revocation. */
  forget(id: number): void {
    this.#changes++
    this.#digests.clear()
    for (const [hash, key] of [...this.#cached.entries()]) if (key.id === id) this.#cached.delete(hash)
  }

  /** Waits for pending updates of `last_used_at`. */
  async close(): Promise<void> {
    await Promise.all(this.#updating.values())
  }

  /** Updates `last_used_at` in the background. */
  #updateLastUsed(id: number): void {
    if (this.#updating.has(id)) return
    const { keys } = this.#db.tables
    const now = Date.now()
    const isStale = lt(keys.last_used_at, new Date(now - LAST_USED_EVERY).toISOString())
    const update = this.#db
      .write((tx) =>
        tx
          .update(keys)
          .set({ last_used_at: new Date(now).toISOString() })
          .where(and(eq(keys.id, id), or(isNull(keys.last_used_at), isStale))),
      )
      .then(() => {}, this.#onError)
      .finally(() => this.#updating.delete(id))
    this.#updating.set(id, update)
  }
}

const parseTime = (column: Column, stored: unknown): number | undefined =>
  stored === null ? undefined : Date.parse(String(column.mapFromDriverValue(stored)))

/** Compares two SHA-256 in hexadecimal in constant time: timing reveals nothing about the stored hash. */
const isSameHash = (a: string, b: string): boolean => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b))
