// Memory that outlives a request because clients ask for it: queries as they were read, statements, counts, cursors. All of it together is
// bounded in bytes, so that no choice of requests fills the memory. Threads that read lists load it too.
import { LRUCache } from 'lru-cache'

/** Bytes for all of it in one thread, ready answers excepted (CACHE_MAX_BYTES). An estimate that is rather too high. */
export const MEMORY_BYTES = 33_554_432

/** Characters of a key, which is what a client asked for. A longer one is not remembered. */
export const MAX_KEY_LENGTH = 2_000

/** Part of the whole that one entry may take. */
const MAX_SHARE = 1 / 16

/** Bytes of an entry beside its texts. */
const OVERHEAD = 400
export const BYTES_PER_CHARACTER = 2

interface Evictable {
  readonly bytes: number
  /** Forgets the entry that was not asked for the longest. */
  evict(): void
}

/** Weakly, since each belongs to a database or a route that may be closed. */
const memories = new Set<WeakRef<Evictable>>()

function* listLive(): Generator<Evictable> {
  for (const reference of memories) {
    const memory = reference.deref()
    if (memory) yield memory
    else memories.delete(reference)
  }
}

/** Bytes that all memories of this thread take together. */
export function countMemoryBytes(): number {
  let bytes = 0
  for (const memory of listLive()) bytes += memory.bytes
  return bytes
}

/** The largest memory gives way: a flood of one kind does not push out the others. */
function makeRoom(): void {
  while (countMemoryBytes() > MEMORY_BYTES) {
    let largest: Evictable | undefined
    for (const memory of listLive()) if (!largest || memory.bytes > largest.bytes) largest = memory
    largest?.evict()
  }
}

export class Memory<V extends {}> implements Evictable {
  readonly #entries: LRUCache<string, V>

  /** `maxBytes` is a bound of its own, below that of all together. */
  constructor(maxBytes = MEMORY_BYTES) {
    this.#entries = new LRUCache({ maxSize: maxBytes, maxEntrySize: Math.floor(maxBytes * MAX_SHARE) })
    memories.add(new WeakRef(this))
  }

  get(key: string): V | undefined {
    return this.#entries.get(key)
  }

  /** Remembers a value of so many bytes, unless that is too much or the key too long. */
  set(key: string, value: V, bytes = 0): void {
    if (key.length > MAX_KEY_LENGTH) return
    this.#entries.set(key, value, { size: OVERHEAD + BYTES_PER_CHARACTER * key.length + bytes })
    makeRoom()
  }

  get size(): number {
    return this.#entries.size
  }

  get bytes(): number {
    return this.#entries.calculatedSize
  }

  evict(): void {
    this.#entries.pop()
  }
}
