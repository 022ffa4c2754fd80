// Cache entries in this process, up to a number of bytes. The least recently used entry is evicted first.
import { LRUCache } from 'lru-cache'
import { type CacheEntry, getRemainingTtl, type Store } from './store.ts'

/** Bytes of an entry besides its key, headers and body. */
const OVERHEAD = 500

/** Share of the memory that one entry may take. */
const MAX_SHARE = 1 / 8

export class MemoryStore implements Store {
  readonly #entries: LRUCache<string, CacheEntry>

  constructor(maxBytes: number) {
    this.#entries = new LRUCache({
      maxSize: maxBytes,
      maxEntrySize: Math.max(1, Math.floor(maxBytes * MAX_SHARE)),
      sizeCalculation: (entry, key) => OVERHEAD + 2 * key.length + countBytes(entry),
    })
  }

  /** Each key has one entry: states only move forward, so an older entry is never used again. */
  getLocal(key: string, state: string): CacheEntry | undefined {
    const entry = this.#entries.get(key)
    return entry !== undefined && entry.state === state && getRemainingTtl(entry) > 0 ? entry : undefined
  }

  getRemote(): undefined {}

  set(key: string, entry: CacheEntry): boolean {
    this.#entries.set(key, entry)
    return this.#entries.has(key)
  }

  resize(key: string, entry: CacheEntry): void {
    if (this.#entries.peek(key) !== entry) return
    // LRUCache computes the size anew only for a new entry.
    this.#entries.delete(key)
    this.#entries.set(key, entry)
  }

  /** Bytes in use. For tests and benchmarks. */
  get bytes(): number {
    return this.#entries.calculatedSize
  }

  get size(): number {
    return this.#entries.size
  }
}

function countBytes({ body, headers, encoded = {} }: CacheEntry): number {
  let bytes = body.length
  for (const name in headers) bytes += 2 * (name.length + (headers[name]?.length ?? 0))
  for (const compressed of Object.values(encoded)) bytes += compressed.length
  return bytes
}
