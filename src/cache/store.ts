// Cache entries and their stores: in this process, and in Redis for all processes.

export type Coding = 'br' | 'gzip'

/** A response as it is sent, or a value as JSON. */
export interface CacheEntry {
  kind: 'answer' | 'value'
  /** State of the tables that the entry was read from (`Database.readState`). The entry is valid while they have that state. */
  state: string
  /** Headers of a response. A value has none. */
  headers: Readonly<Record<string, string>>
  /** Entity tag of a response, without quotes. */
  tag: string
  body: Buffer
  /** The body in the codings that clients have requested so far. */
  encoded?: Partial<Record<Coding, Buffer>>
  /** Time of creation, in milliseconds since 1970. */
  stored: number
  /** Milliseconds for which the entry is valid. */
  ttl: number
}

/** A place for cache entries. Reads return undefined for an entry that is missing, expired or of another state. No method throws. */
export interface Store {
  /** Returns an entry of this process. */
  getLocal(key: string, state: string): CacheEntry | undefined
  /** Returns an entry from outside this process. */
  getRemote(key: string, state: string): CacheEntry | undefined | Promise<CacheEntry | undefined>
  /** Stores an entry. Returns false if it cannot be stored. */
  set(key: string, entry: CacheEntry): boolean
  /** Updates the size of an entry that has grown. */
  resize(key: string, entry: CacheEntry): void
}

/** Returns the milliseconds until an entry expires; 0 if it has expired. */
export const getRemainingTtl = ({ stored, ttl }: CacheEntry, now = Date.now()): number => Math.max(0, stored + ttl - now)

/** Combines two stores: entries found in `remote` are copied to `local`. */
export function combineStores(local: Store, remote: Store): Store {
  return {
    getLocal: (key, state) => local.getLocal(key, state),
    async getRemote(key, state) {
      const entry = await remote.getRemote(key, state)
      if (entry) local.set(key, entry)
      return entry
    },
    set(key, entry) {
      // Both stores, even if the first succeeds.
      return [local, remote].map((store) => store.set(key, entry)).some(Boolean)
    },
    resize: (key, entry) => local.resize(key, entry),
  }
}
