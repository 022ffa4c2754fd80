// Answers that are kept as they are sent, for as long as what they were read from stays as it is.
import { promisify } from 'node:util'
import { brotliCompress, constants, gzip } from 'node:zlib'
import type { Database } from '../../drizzle/database.ts'
import type { ServedName } from '../../drizzle/tables.ts'
import type { CacheEntry, Coding, Store } from './store.ts'

/** What was read, and the state of the tables at that moment. */
export interface Rendered {
  state: string
  /** The entity tag, without quotes. */
  tag: string
  headers: Record<string, string>
  body: string
}

/** Where an answer came from (RFC 9211). */
export type Source = 'hit' | 'stored' | 'collapsed' | 'miss' | 'bypass'

export interface CacheResult {
  entry: CacheEntry
  source: Source
}

/** What is asked for: a key that stands for every spelling of it, and the tables that decide what the answer is. */
export interface CacheQuery {
  key: string
  tables: readonly ServedName[]
}

/** Of the best codings, what does not hold up the next request for long: at 11, brotli takes twenty times as long for a tenth less. */
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
  /** By key: who asks for what is being read already waits for that. */
  readonly #reading = new Map<string, { readState: string; answered: Promise<CacheResult> }>()
  readonly #compressing = new WeakMap<CacheEntry, Map<Coding, Promise<Buffer>>>()

  /** Without a store nothing is kept. `ttl` is in milliseconds. */
  constructor(db: Database, store: Store | undefined, ttl: number) {
    this.#db = db
    this.#store = store
    this.#ttl = ttl
  }

  /** The state of the tables now, which no answer may be older than. */
  state(tables: readonly ServedName[]): string | Promise<string> {
    return this.#db.readState(tables)
  }

  /** What is ready in this process for `state`. */
  getFresh({ key }: CacheQuery, state: string): CacheEntry | undefined {
    return this.#store?.getLocal(key, state)
  }

  /** The answer where none is ready: another process' that holds at `state`, or as `read` reads it. What is read later than `state` is kept under its own. */
  async getOrRender({ key }: CacheQuery, state: string, read: () => Promise<Rendered>): Promise<CacheResult> {
    const store = this.#store
    if (!store) return { entry: this.createEntry(await read()), source: 'bypass' }
    const reading = this.#reading.get(key)
    // It was begun since the tables have this state, so it is as new as a reading that would begin now.
    if (reading?.readState === state) return { entry: (await reading.answered).entry, source: 'collapsed' }
    const answered = this.#fill(store, key, state, read).finally(() => {
      if (this.#reading.get(key)?.answered === answered) this.#reading.delete(key)
    })
    this.#reading.set(key, { readState: state, answered })
    return answered
  }

  async #fill(store: Store, key: string, state: string, read: () => Promise<Rendered>): Promise<CacheResult> {
    const far = await store.getRemote(key, state)
    if (far) return { entry: far, source: 'hit' }
    const kept = this.createEntry(await read())
    return { entry: kept, source: store.set(key, kept) ? 'stored' : 'miss' }
  }

  /** The body in a coding. It is compressed once, and kept with the answer. */
  async encodeBody(key: string, kept: CacheEntry, coding: Coding): Promise<Buffer> {
    const known = kept.encoded?.[coding]
    if (known) return known
    const running = this.#compressing.get(kept) ?? new Map<Coding, Promise<Buffer>>()
    this.#compressing.set(kept, running)
    let compressing = running.get(coding)
    if (!compressing) {
      compressing = COMPRESSORS[coding](kept.body).then((bytes) => {
        kept.encoded = { ...kept.encoded, [coding]: bytes }
        this.#store?.resize(key, kept)
        return bytes
      })
      running.set(coding, compressing)
    }
    return compressing
  }

  /** Makes of what was read what can be kept. */
  createEntry({ body, ...made }: Rendered): CacheEntry {
    // Not from Node's pool, of which a small part would hold on to the whole.
    const bytes = Buffer.allocUnsafeSlow(Buffer.byteLength(body))
    bytes.write(body)
    return { ...made, kind: 'answer', body: bytes, stored: Date.now(), ttl: this.#ttl }
  }
}
