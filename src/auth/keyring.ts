// Tells whose key a request carries. What was looked up is remembered for a moment, so that a busy client costs no query each time.
import { timingSafeEqual } from 'node:crypto'
import { and, eq, isNull, lt, or, type SQL, sql } from 'drizzle-orm'
import { LRUCache } from 'lru-cache'
import type { Column, Database } from '../../drizzle/database.ts'
import { placeholder } from '../../drizzle/statement.ts'
import type { Role } from '../roles.ts'
import { parseToken, sha256 } from './token.ts'

/** Who a request comes from. */
export interface ApiKey {
  id: number
  role: Role
}

/** What a token turned out to be. `guessed` where it is not, and never was, a key. */
export type Verdict = { key: ApiKey } | { refused: 'unknown' | 'revoked' | 'expired'; guessed: boolean }

/** Milliseconds in which what another instance or the command line did to a key may not be known here. */
export const KEY_CACHE_TTL = 1_000
/** Milliseconds for which a key that was valid is looked up without waiting for other look-ups of its address. */
const RECENTLY_VALID = 10 * 60_000
/** Keys that are remembered. */
const MAX_CACHED = 10_000
/** Milliseconds between two writes of a key's `last_used_at`. */
const LAST_USED_EVERY = 5 * 60_000

const UNKNOWN: Verdict = { refused: 'unknown', guessed: true }

/** As long as a SHA-256 in hexadecimal, and equal to none. */
const NO_HASH = '-'.repeat(64)

interface CachedKey extends ApiKey {
  /** By the monotonic clock. */
  verifiedAt: number
  /** By the wall clock; infinite for a key that does not expire. */
  expiresAt: number
}

export class Keyring {
  readonly #db: Database
  readonly #byId: SQL
  readonly #onError: (error: unknown) => void
  /** By the SHA-256 of the token: how long a comparison takes then tells nothing of the token. */
  readonly #remembered = new LRUCache<string, CachedKey>({ max: MAX_CACHED })
  /** Of tokens that were good: to hash one takes as long as all else that is done with a key. A guess is never in it, however near it comes. */
  readonly #digests = new LRUCache<string, string>({ max: MAX_CACHED })
  readonly #noting = new Map<number, Promise<void>>()
  /** What was read before a key was changed must not be remembered after. */
  #changes = 0

  /** `onError` is told when the use of a key could not be noted: no request fails for that. */
  constructor(db: Database, onError: (error: unknown) => void) {
    const { keys, key_secrets: secrets } = db.tables
    this.#db = db
    this.#byId = sql`select ${secrets.sha256}, ${keys.role}, ${keys.expires_at}, ${keys.revoked_at}, ${keys.last_used_at}
      from ${keys} join ${secrets} on ${secrets.key} = ${keys.id} where ${keys.id} = ${placeholder(0)}`
    this.#onError = onError
  }

  /** The key of a token that was looked up within KEY_MEMORY. */
  getCached(token: string): ApiKey | undefined {
    const known = this.#remembered.get(this.#digests.get(token) ?? sha256(token))
    if (!known || performance.now() - known.verifiedAt > KEY_CACHE_TTL || known.expiresAt <= Date.now()) return undefined
    return known
  }

  /** Whether the token was that of a key lately, and so is no guess. */
  wasRecentlyValid(token: string): boolean {
    const known = this.#remembered.get(sha256(token))
    return known !== undefined && performance.now() - known.verifiedAt < RECENTLY_VALID
  }

  /** Looks a token up. One that is right but holds no longer is no guess. */
  async verify(token: string): Promise<Verdict> {
    const verdict = await this.#lookUp(token)
    if ('refused' in verdict) {
      this.#remembered.delete(sha256(token))
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
    // An unknown id is compared as well: timing must not tell which ids exist.
    const isRight = isSameHash(String(row?.[0] ?? NO_HASH), sha256(parsed.secret))
    if (!row || !isRight) return UNKNOWN
    const { keys } = this.#db.tables
    const [, role, expires, revoked, used] = row
    const expiresAt = parseTime(keys.expires_at, expires) ?? Number.POSITIVE_INFINITY
    const key: ApiKey = { id: parsed.id, role: role as Role }
    if (revoked !== null || expiresAt <= Date.now()) return { refused: revoked === null ? 'expired' : 'revoked', guessed: false }
    if (changes === this.#changes) {
      const digest = sha256(token)
      this.#digests.set(token, digest)
      this.#remembered.set(digest, { ...key, verifiedAt, expiresAt })
    }
    if (Date.now() - (parseTime(keys.last_used_at, used) ?? 0) > LAST_USED_EVERY) this.#note(key.id)
    return { key }
  }

  /** A key was changed, rotated or revoked: from now on it is looked up anew. */
  forget(id: number): void {
    this.#changes++
    this.#digests.clear()
    for (const [token, known] of [...this.#remembered.entries()]) if (known.id === id) this.#remembered.delete(token)
  }

  /** Waits until nothing is being written. */
  async close(): Promise<void> {
    await Promise.all(this.#noting.values())
  }

  /** Beside the request, which does not wait for it. */
  #note(id: number): void {
    if (this.#noting.has(id)) return
    const { keys } = this.#db.tables
    const now = Date.now()
    const stale = lt(keys.last_used_at, new Date(now - LAST_USED_EVERY).toISOString())
    const noted = this.#db
      .write((tx) =>
        tx
          .update(keys)
          .set({ last_used_at: new Date(now).toISOString() })
          .where(and(eq(keys.id, id), or(isNull(keys.last_used_at), stale))),
      )
      .then(() => {}, this.#onError)
      .finally(() => this.#noting.delete(id))
    this.#noting.set(id, noted)
  }
}

const parseTime = (column: Column, stored: unknown): number | undefined =>
  stored === null ? undefined : Date.parse(String(column.mapFromDriverValue(stored)))

/** In a time that does not tell how much of it is. Both are SHA-256 in hexadecimal. */
const isSameHash = (a: string, b: string): boolean => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b))
