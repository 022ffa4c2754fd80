// What a cache keeps, and where: in this process, and in Redis for all of them.

export type Coding = 'br' | 'gzip'

/** An answer as it is sent, or a value as JSON, with what it was read from. */
export interface Kept {
  kind: 'answer' | 'value'
  /** Of the tables that it was read from (`Database.state`). It holds as long as they have that state. */
  state: string
  /** Of the answer. A value has none. */
  headers: Readonly<Record<string, string>>
  body: Buffer
  /** The same, compressed, where that was asked for. */
  encoded?: Partial<Record<Coding, Buffer>>
  /** When it was made, and how long it is kept, in milliseconds. */
  stored: number
  ttl: number
}

/** What is not there, is too old or belongs to another state is undefined. Nothing throws. */
export interface Store {
  get(key: string, state: string): Kept | undefined | Promise<Kept | undefined>
  /** Whether it can be kept here. */
  set(key: string, kept: Kept): boolean
  /** The answer has come to take more bytes, unless it is no longer here. */
  resize(key: string, kept: Kept): void
}

/** Milliseconds for which it is still kept; none where that is over. */
export const leftOf = ({ stored, ttl }: Kept, now = Date.now()): number => Math.max(0, stored + ttl - now)

/** Looks into the near one first, and takes over what only the far one has. */
export function tiers(near: Store, far: Store): Store {
  return {
    get(key, state) {
      const found = near.get(key, state)
      if (found !== undefined) return found
      return Promise.resolve(far.get(key, state)).then((kept) => {
        if (kept) near.set(key, kept)
        return kept
      })
    },
    set(key, kept) {
      // Both, whatever the first says.
      return [near, far].map((store) => store.set(key, kept)).some(Boolean)
    },
    resize: (key, kept) => near.resize(key, kept),
  }
}
