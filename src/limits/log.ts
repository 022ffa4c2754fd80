// The log of requests behind a rate limit, in memory or in Redis, and how @fastify/rate-limit is given it.
import type fastifyRateLimit from '@fastify/rate-limit'

/** How much of a limit a client has used. */
export interface Usage {
  /** Requests in the window that ends now, this one among them; one more than the limit for one that is refused. */
  current: number
  /** Milliseconds until the oldest of them leaves the window, and one more is free, or those that were refused are; 0 where there is none. */
  ttl: number
}

/** What a limit is: so many requests in any window of so many milliseconds. */
export interface Quota {
  policy: string
  limit: number
  window: number
}

/** A sliding log: a request at `t` is weighed against those in `(t - window, t]`. One that is refused is not in it. */
export interface RequestLog {
  /** Counts so many requests of a client, by default one and at most the limit: all of them, or none where they are too many. */
  take(client: string, requests?: number): Usage | Promise<Usage>
  /** As `take`, but nothing is counted. */
  peek(client: string): Usage | Promise<Usage>
}

type StoreCallback = Parameters<fastifyRateLimit.FastifyRateLimitStore['incr']>[1]

/** The class that the plugin makes its stores of: a log for each limit, which `createRateLimit` describes by `policy`, `max` and `timeWindow`. */
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
  if (usage === undefined) done(new Error('requests are counted by the limits that createRateLimit makes'))
  else if (usage instanceof Promise) usage.then((usage) => done(null, usage), done)
  else done(null, usage)
}
