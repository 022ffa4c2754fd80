// The cache as a route uses it by itself, by the protocol of @fastify/caching: `app.cache.get` and `app.cache.set`.
import type { AbstractCacheCompliantObject } from '@fastify/caching'
import { getTableColumns } from 'drizzle-orm'
import type { Database } from '../../drizzle/database.ts'
import type { ServedName } from '../../drizzle/tables.ts'
import type { CacheEntry, Store } from './store.ts'

/** The segment names the tables that a value is read from: `products`, or `categories+products`. */
type ExplicitKey = string | { id: string; segment: string }
/** The segment in which @fastify/caching looks for what a client names. */
const PLUGIN = 'fastify-caching'

type CachedItem<T> = { item: T; stored: number; ttl: number } | null
type Callback<T> = (error: unknown, found: T) => void

/**
 * A value is gone as soon as one of its tables was written to. `get` comes first: what was read after it may be set under the same key
 * object, and holds for the state that the tables had then, not for what has been written since.
 */
export class ExplicitCache implements AbstractCacheCompliantObject {
  readonly #db: Database
  readonly #store: Store | undefined
  readonly #states = new WeakMap<object, string>()

  constructor(db: Database, store: Store | undefined) {
    this.#db = db
    this.#store = store
  }

  get<T>(key: ExplicitKey, done: Callback<CachedItem<T>>): void
  get<T>(key: ExplicitKey): Promise<CachedItem<T>>
  get<T>(key: ExplicitKey, done?: Callback<CachedItem<T>>): Promise<CachedItem<T>> | undefined {
    // @fastify/caching looks every If-None-Match up before anybody has been asked for a key. In its segment nothing is ever found.
    const tables = this.#tablesOf(key)
    if (!tables && done) {
      done(null, null)
      return undefined
    }
    const found = this.#find<T>(key, tables)
    if (!done) return found
    found.then(
      (value) => done(null, value),
      (error) => done(error, null),
    )
    return undefined
  }

  /**
   * Keeps a value as JSON, and an answer (`Answers.keep`) as it is. `ttl` is in milliseconds. Throws a TypeError for a key that was not
   * asked for before.
   */
  set(key: ExplicitKey, value: unknown, ttl: number, done?: Callback<unknown>): void {
    const state = typeof key === 'object' ? this.#states.get(key) : undefined
    if (!this.#tablesOf(key) || state === undefined || typeof key === 'string')
      throw new TypeError('get comes before set, with the same key object, whose segment names the tables that the value is read from')
    const asValue = (): CacheEntry => ({
      kind: 'value',
      state,
      tag: '',
      headers: {},
      body: Buffer.from(JSON.stringify(value)),
      stored: Date.now(),
      ttl,
    })
    this.#store?.set(buildStoreKey(key), isAnswer(value) ? { ...value, ttl } : asValue())
    done?.(null, undefined)
  }

  async #find<T>(key: ExplicitKey, tables: ServedName[] | undefined): Promise<CachedItem<T>> {
    if (!tables || typeof key === 'string') return null
    const state = await this.#db.readState(tables)
    this.#states.set(key, state)
    const kept = this.#store?.getLocal(buildStoreKey(key), state) ?? (await this.#store?.getRemote(buildStoreKey(key), state))
    if (!kept) return null
    return { item: (kept.kind === 'answer' ? kept : JSON.parse(kept.body.toString())) as T, stored: kept.stored, ttl: kept.ttl }
  }

  #tablesOf(key: ExplicitKey): ServedName[] | undefined {
    // That of the plugin, which asks at every request with an If-None-Match.
    if (typeof key === 'string' || key.segment === PLUGIN) return undefined
    const names = key.segment.split('+')
    return names.every((name) => isServed(this.#db, name)) ? (names as ServedName[]) : undefined
  }
}

const isAnswer = (value: unknown): value is CacheEntry =>
  typeof value === 'object' && value !== null && (value as CacheEntry).kind === 'answer'

/** Only what is served has a state. */
const isServed = ({ tables }: Database, name: string) =>
  Object.hasOwn(tables, name) &&
  'version' in getTableColumns(tables[name as ServedName]) &&
  'updated_at' in getTableColumns(tables[name as ServedName])

/** What the store calls it. No URL begins like this. */
export const buildStoreKey = ({ segment, id }: Exclude<ExplicitKey, string>) => `explicit ${segment} ${id}`
