// The log of requests behind a rate limit, and its adapter for @fastify/rate-limit.
import type fastifyRateLimit from '@fastify/rate-limit'

/** The part of a limit that a client has used. */
export interface Usage {
  /** Requests in the window that ends now, including this one; limit + 1 if this one is refused. */
  current: number
  /** Milliseconds until the next request is free, or until the refused requests would be accepted; 0 without requests. */
  ttl: number
}

/** A limit: `limit` requests in any window of `window` milliseconds. */
export interface Quota {
  policy: string
  limit: number
  window: number
}

/** A sliding log: a request at `t` counts together with those in `(t - window, t]`. Refused requests are not recorded. */
export interface RequestLog {
  /** Records requests of a client, by default one, at most `limit`. Records all of them, or none if they exceed the limit. */
  take(client: string, requests?: number): Usage | Promise<Usage>
  /** Returns the usage without recording a request. */
  peek(client: string): Usage | Promise<Usage>
}

type StoreCallback = Parameters<fastifyRateLimit.FastifyRateLimitStore['incr']>[1]

/** Creates the store class for @fastify/rate-limit. Each limit that `createRateLimit` creates (`policy`, `max`, `timeWindow`) gets a log. */
export function createStoreClass(getLog: (options: Quota) => RequestLog): fastifyRateLimit.FastifyRateLimitStoreCtor {
  return class Store implements fastifyRateLimit.FastifyRateLimitStore {
    #log: RequestLog | undefined

    child(options: object): Store {
      const { policy, max, timeWindow } = options as { policy: string; max: number; timeWindow: number }
      const store = new Store()
      store.#log = getLog({ policy, limit: max, window: timeWindow })
      return store
    }

    incr(client: string, done: StoreCallback): void {
      reportUsage(this.#log?.take(client), done)
    }

    read(client: string, done: StoreCallback): void {
      reportUsage(this.#log?.peek(client), done)
    }
  }
}

function reportUsage(usage: Usage | Promise<Usage> | undefined, done: StoreCallback): void {
  if (usage === undefined) done(new Error('Only limits created by createRateLimit can count requests.'))
  else if (usage instanceof Promise) usage.then((usage) => done(null, usage), done)
  else done(null, usage)
}
