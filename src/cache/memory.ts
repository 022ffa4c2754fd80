// Keeps answers in this process, as many as fit into so many bytes: those go first that were not asked for the longest.
import { LRUCache } from 'lru-cache'
import { type CacheEntry, getRemainingTtl, type Store } from './store.ts'

/** Bytes that an entry takes beside its key, its headers and its body. */
const OVERHEAD = 500

/** Part of the whole that one entry may take. */
const MAX_SHARE = 1 / 8

export class MemoryStore implements Store {
  readonly #entries: LRUCache<string, CacheEntry>

  constructor(maxBytes: number) {
    this.#entries = new LRUCache({
      maxSize: maxBytes,
      maxEntrySize: Math.max(1, Math.floor(maxBytes * MAX_SHARE)),
      sizeCalculation: (kept, key) => OVERHEAD + 2 * key.length + countBytes(kept),
    })
  }

  /** One entry a key: what belongs to another state would never be asked for again. */
  getLocal(key: string, state: string): CacheEntry | undefined {
    const kept = this.#entries.get(key)
    return kept !== undefined && kept.state === state && getRemainingTtl(kept) > 0 ? kept : undefined
  }

  getRemote(): undefined {}

  set(key: string, kept: CacheEntry): boolean {
    this.#entries.set(key, kept)
    return this.#entries.has(key)
  }

  resize(key: string, kept: CacheEntry): void {
    if (this.#entries.peek(key) !== kept) return
    // The same value again would leave the size as it is.
    this.#entries.delete(key)
    this.#entries.set(key, kept)
  }

  /** For tests and benchmarks. */
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
