// The cache for routes that choose their own keys, by the protocol of @fastify/caching: `app.cache.get` and `app.cache.set`.
import type { AbstractCacheCompliantObject } from '@fastify/caching'
import { getTableColumns } from 'drizzle-orm'
import type { Database } from '../../drizzle/database.ts'
import type { ServedName } from '../../drizzle/tables.ts'
import type { CacheEntry, Store } from './store.ts'

/** The segment names the tables that a value is read from, such as `products` or `categories+products`. */
type ExplicitKey = string | { id: string; segment: string }
/** The segment in which @fastify/caching looks up the tags in `If-None-Match`. */
const PLUGIN = 'fastify-caching'

type CachedItem<T> = { item: T; stored: number; ttl: number } | null
type Callback<T> = (error: unknown, item: T) => void

/**
 * A write to one of its tables invalidates a value. Call `get` before `set`, with the same key object: `get` remembers the state of the
 * tables, and the value is stored for that state. So a write between the two calls cannot be missed.
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
    // @fastify/caching looks up every If-None-Match before the API key is checked. Its segment is always empty.
    const tables = this.#listTables(key)
    if (!tables && done) {
      done(null, null)
      return undefined
    }
    const result = this.#find<T>(key, tables)
    if (!done) return result
    result.then(
      (value) => done(null, value),
      (error) => done(error, null),
    )
    return undefined
  }

  /**
   * Stores a value as JSON, and an entry of `ResponseCache.createEntry` as it is. `ttl` is in milliseconds. Throws a TypeError for a key
   * without an earlier `get`.
   */
  set(key: ExplicitKey, value: unknown, ttl: number, done?: Callback<unknown>): void {
    const state = typeof key === 'object' ? this.#states.get(key) : undefined
    if (!this.#listTables(key) || state === undefined || typeof key === 'string')
      throw new TypeError(
        'app.cache.set needs an earlier app.cache.get with the same key object. The segment of the key names the tables that the value is read from.',
      )
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
    const entry = this.#store?.getLocal(buildStoreKey(key), state) ?? (await this.#store?.getRemote(buildStoreKey(key), state))
    if (!entry) return null
    return { item: (entry.kind === 'answer' ? entry : JSON.parse(entry.body.toString())) as T, stored: entry.stored, ttl: entry.ttl }
  }

  #listTables(key: ExplicitKey): ServedName[] | undefined {
    if (typeof key === 'string' || key.segment === PLUGIN) return undefined
    const names = key.segment.split('+')
    return names.every((name) => isServed(this.#db, name)) ? (names as ServedName[]) : undefined
  }
}

const isAnswer = (value: unknown): value is CacheEntry =>
  typeof value === 'object' && value !== null && (value as CacheEntry).kind === 'answer'

/** Whether a table is served. Other tables have no state. */
const isServed = ({ tables }: Database, name: string) =>
  Object.hasOwn(tables, name) &&
  'version' in getTableColumns(tables[name as ServedName]) &&
  'updated_at' in getTableColumns(tables[name as ServedName])

/** Builds the key in the store. No key of a URL begins with it. */
export const buildStoreKey = ({ segment, id }: Exclude<ExplicitKey, string>) => `explicit ${segment} ${id}`
