// What a cache keeps, and where: in this process, and in Redis for all of them.

export type Coding = 'br' | 'gzip'

/** An answer as it is sent, or a value as JSON, with what it was read from. */
export interface CacheEntry {
  kind: 'answer' | 'value'
  /** Of the tables that it was read from (`Database.state`). It holds as long as they have that state. */
  state: string
  /** Of the answer. A value has none. */
  headers: Readonly<Record<string, string>>
  /** Its entity tag, without quotes. */
  tag: string
  body: Buffer
  /** The same, compressed, where that was asked for. */
  encoded?: Partial<Record<Coding, Buffer>>
  /** When it was made, and how long it is kept, in milliseconds. */
  stored: number
  ttl: number
}

/** What is not there, is too old or belongs to another state is undefined. Nothing throws. */
export interface Store {
  /** What is in this process, and need not be waited for. */
  getLocal(key: string, state: string): CacheEntry | undefined
  /** What is elsewhere. */
  getRemote(key: string, state: string): CacheEntry | undefined | Promise<CacheEntry | undefined>
  /** Whether it can be kept here. */
  set(key: string, kept: CacheEntry): boolean
  /** The answer has come to take more bytes, unless it is no longer here. */
  resize(key: string, kept: CacheEntry): void
}

/** Milliseconds for which it is still kept; none where that is over. */
export const getRemainingTtl = ({ stored, ttl }: CacheEntry, now = Date.now()): number => Math.max(0, stored + ttl - now)

/** A near store that takes over what a far one has. */
export function combineStores(near: Store, far: Store): Store {
  return {
    getLocal: (key, state) => near.getLocal(key, state),
    async getRemote(key, state) {
      const kept = await far.getRemote(key, state)
      if (kept) near.set(key, kept)
      return kept
    },
    set(key, kept) {
      // Both, whatever the first says.
      return [near, far].map((store) => store.set(key, kept)).some(Boolean)
    },
    resize: (key, kept) => near.resize(key, kept),
  }
}
