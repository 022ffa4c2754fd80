// A cache of rendered responses. An entry is valid while the tables that it was read from keep their state.
import { promisify } from 'node:util'
import { brotliCompress, constants, gzip } from 'node:zlib'
import type { Database } from '../../drizzle/database.ts'
import type { ServedName } from '../../drizzle/tables.ts'
import type { CacheEntry, Coding, Store } from './store.ts'

/** A rendered response, and the state of its tables when it was read. */
export interface Rendered {
  state: string
  /** The entity tag, without quotes. */
  tag: string
  headers: Record<string, string>
  body: string
}

/** Source of a response (RFC 9211). */
export type Source = 'hit' | 'stored' | 'collapsed' | 'miss' | 'bypass'

export interface CacheResult {
  entry: CacheEntry
  source: Source
}

/** A look-up in the cache: the canonical key of a request, and the tables that its response is read from. */
export interface CacheQuery {
  key: string
  tables: readonly ServedName[]
}

/** Brotli at quality 11 takes twenty times as long for a tenth fewer bytes, and would delay the next requests. */
const BROTLI_QUALITY = 5

const COMPRESSORS: Record<Coding, (body: Buffer) => Promise<Buffer>> = {
  br: (body) =>
    brotli(body, { params: { [constants.BROTLI_PARAM_QUALITY]: BROTLI_QUALITY, [constants.BROTLI_PARAM_SIZE_HINT]: body.length } }),
  gzip: promisify(gzip) as (body: Buffer) => Promise<Buffer>,
}

const brotli = promisify(brotliCompress) as (body: Buffer, options: object) => Promise<Buffer>

export class ResponseCache {
  readonly #db: Database
  readonly #store: Store | undefined
  readonly #ttl: number
  /** Reads under way, by key. Concurrent requests with the same key share one read. */
  readonly #reading = new Map<string, { state: string; result: Promise<CacheResult> }>()
  readonly #compressing = new WeakMap<CacheEntry, Map<Coding, Promise<Buffer>>>()

  /** Without a store nothing is cached. `ttl` is in milliseconds. */
  constructor(db: Database, store: Store | undefined, ttl: number) {
    this.#db = db
    this.#store = store
    this.#ttl = ttl
  }

  /** Reads the current state of the tables. No response may be older. */
  readState(tables: readonly ServedName[]): string | Promise<string> {
    return this.#db.readState(tables)
  }

  /** Returns the entry for `state` in this process, or undefined. */
  getFresh({ key }: CacheQuery, state: string): CacheEntry | undefined {
    return this.#store?.getLocal(key, state)
  }

  /**
   * Returns the entry for `state` from the shared store, or renders it. A response that `read` reads at a later state is stored under that
   * state.
   */
  async getOrRender({ key }: CacheQuery, state: string, render: () => Promise<Rendered>): Promise<CacheResult> {
    const store = this.#store
    if (!store) return { entry: this.createEntry(await render()), source: 'bypass' }
    const reading = this.#reading.get(key)
    // A read that began at this state is as new as one that would begin now.
    if (reading?.state === state) return { entry: (await reading.result).entry, source: 'collapsed' }
    const result = this.#fill(store, key, state, render).finally(() => {
      if (this.#reading.get(key)?.result === result) this.#reading.delete(key)
    })
    this.#reading.set(key, { state, result })
    return result
  }

  async #fill(store: Store, key: string, state: string, render: () => Promise<Rendered>): Promise<CacheResult> {
    const remote = await store.getRemote(key, state)
    if (remote) return { entry: remote, source: 'hit' }
    const entry = this.createEntry(await render())
    return { entry, source: store.set(key, entry) ? 'stored' : 'miss' }
  }

  /** Returns the body in a coding. It is compressed once and stored with the entry. */
  async encodeBody(key: string, entry: CacheEntry, coding: Coding): Promise<Buffer> {
    const encoded = entry.encoded?.[coding]
    if (encoded) return encoded
    const running = this.#compressing.get(entry) ?? new Map<Coding, Promise<Buffer>>()
    this.#compressing.set(entry, running)
    let compressing = running.get(coding)
    if (!compressing) {
      compressing = COMPRESSORS[coding](entry.body).then((bytes) => {
        entry.encoded = { ...entry.encoded, [coding]: bytes }
        this.#store?.resize(key, entry)
        return bytes
      })
      running.set(coding, compressing)
    }
    return compressing
  }

  /** Builds the cache entry of a rendered response. */
  createEntry({ body, ...rest }: Rendered): CacheEntry {
    // Not from Node's buffer pool: a small slice would keep the whole pool in memory.
    const bytes = Buffer.allocUnsafeSlow(Buffer.byteLength(body))
    bytes.write(body)
    return { ...rest, kind: 'answer', body: bytes, stored: Date.now(), ttl: this.#ttl }
  }
}
