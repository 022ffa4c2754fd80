// Memory that outlives a request: parsed queries, statements, counts, cursors. All of it together is bounded in bytes, so that no choice of
// requests fills the memory. Threads that read lists load this file too.
import { LRUCache } from 'lru-cache'

/** Bytes of all memories of a thread, without cached answers (CACHE_MAX_BYTES). Sizes are estimates, rather too high than too low. */
export const MEMORY_BYTES = 33_554_432

/** Maximum characters of a key. Clients choose keys, and longer ones are not remembered. */
export const MAX_KEY_LENGTH = 2_000

/** Largest share of a memory that one entry may take. */
const MAX_SHARE = 1 / 16

/** Bytes of an entry without its texts. */
const OVERHEAD = 400
export const BYTES_PER_CHARACTER = 2

interface Evictable {
  readonly bytes: number
  /** Evicts the least recently used entry. */
  evict(): void
}

/** All memories of the thread. References are weak, because the database or route of a memory may be closed. */
const memories = new Set<WeakRef<Evictable>>()

function* listLive(): Generator<Evictable> {
  for (const reference of memories) {
    const memory = reference.deref()
    if (memory) yield memory
    else memories.delete(reference)
  }
}

/** Adds up the bytes of all memories of this thread. */
export function countMemoryBytes(): number {
  let bytes = 0
  for (const memory of listLive()) bytes += memory.bytes
  return bytes
}

/** Evicts from the largest memory, so that a flood of one kind does not push out the others. */
function makeRoom(): void {
  while (countMemoryBytes() > MEMORY_BYTES) {
    let largest: Evictable | undefined
    for (const memory of listLive()) if (!largest || memory.bytes > largest.bytes) largest = memory
    largest?.evict()
  }
}

/** A map from text that evicts its least recently used entries. */
export class Memory<V extends {}> implements Evictable {
  readonly #entries: LRUCache<string, V>

  /** `maxBytes` bounds this memory below the bound of all together. */
  constructor(maxBytes = MEMORY_BYTES) {
    this.#entries = new LRUCache({ maxSize: maxBytes, maxEntrySize: Math.floor(maxBytes * MAX_SHARE) })
    memories.add(new WeakRef(this))
  }

  get(key: string): V | undefined {
    return this.#entries.get(key)
  }

  /** Stores a value of `bytes` bytes. It ignores values that are too large and keys that are too long. */
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
