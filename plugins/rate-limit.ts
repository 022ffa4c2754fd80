// Rate limits: an exact sliding window, by @fastify/rate-limit with the stores of `src/limits/`.
import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Problem } from '../src/errors.ts'
import { identifyAddress } from '../src/limits/address.ts'
import { createStoreClass, type Quota, type RequestLog } from '../src/limits/log.ts'
import { MemoryLog } from '../src/limits/memory.ts'
import { RedisLog } from '../src/limits/redis.ts'

/** Names of the limits. Each counts separately. */
type Policy = 'anonymous' | 'authenticated' | 'failed-authentication'

declare module 'fastify' {
  interface FastifyInstance {
    limits: Record<Policy, Limit>
  }
}

/** A rate limit. Responses carry the remaining quota (draft-ietf-httpapi-ratelimit-headers). */
interface Limit {
  /** Counts a request. Throws `quota-exceeded`, and does not count it, if it exceeds the limit. */
  take(request: FastifyRequest, reply: FastifyReply): Promise<void>
  /** Counts a bulk request as several: all of them or none. Caps the number at the limit. */
  takeFurther(request: FastifyRequest, reply: FastifyReply, requests: number): Promise<void>
}

/** Invalid keys that an address may send per FAILURES_WINDOW. Each gets 401, further ones 429. */
const MAX_FAILURES = 10
/** Seconds. */
const FAILURES_WINDOW = 60

const keyByAddress = (request: FastifyRequest) => identifyAddress(request.ip, request.socket.remoteAddress)
const keyById = (request: FastifyRequest) => String(request.key?.id)

const UNLIMITED: Limit = { take: async () => {}, takeFurther: async () => {} }

/** Details of refusals. */
const REFUSALS: Record<Policy, (max: number, seconds: number) => string> = {
  anonymous: (max, seconds) => `Without a key, an address may send ${max} requests in ${seconds} seconds.`,
  authenticated: (max, seconds) => `A key may send ${max} requests in ${seconds} seconds.`,
  'failed-authentication': (max, seconds) =>
    `This address sent ${max} invalid keys in ${seconds} seconds, so further invalid keys are refused. A valid key still works.`,
}

/** Milliseconds between two warnings in the log. */
const WARN_EVERY = 60_000

interface LimitsOptions {
  /** Monotonic time in milliseconds. The default is the clock of the process or of Redis. */
  clock?: (() => number) | undefined
}

export default fp(
  async function limits(app: FastifyInstance, { clock }: LimitsOptions) {
    const { RATE_LIMIT_ANONYMOUS, RATE_LIMIT_AUTHENTICATED, RATE_LIMIT_WINDOW } = app.config
    const { redis } = app
    let warnedAt = Number.NEGATIVE_INFINITY
    const onEvict = () => {
      if (performance.now() - warnedAt < WARN_EVERY) return
      warnedAt = performance.now()
      app.log.warn('Rate limits: the log of clients is full. Clients with the fewest requests are evicted.')
    }
    const createMemoryLog = ({ limit, window }: Quota) => new MemoryLog({ limit, window, onEvict, ...(clock && { clock }) })
    const logs = new Map<string, RequestLog>()
    const createLog = (quota: Quota): RequestLog =>
      redis ? new RedisLog(redis, quota, createMemoryLog(quota), { ...(clock && { clock }) }) : createMemoryLog(quota)
    const getLog = (quota: Quota): RequestLog => {
      const log = logs.get(quota.policy) ?? createLog(quota)
      logs.set(quota.policy, log)
      return log
    }
    await app.register(rateLimit, { global: false, store: createStoreClass(getLog) })

    const createLimit = (policy: Policy, max: number, seconds: number, keyGenerator: (request: FastifyRequest) => string): Limit => {
      if (max === 0) return UNLIMITED
      const options = { max, timeWindow: seconds * 1_000, keyGenerator, policy }
      const count = app.createRateLimit(options)
      const policyHeader = `"${policy}";q=${max};w=${seconds}`
      const take = async (request: FastifyRequest, reply: FastifyReply) => {
        const usage = await count(request)
        if (!usage.isAllowed) reportUsage(reply, usage.remaining, usage.ttlInSeconds, usage.isExceeded)
      }
      const takeFurther = async (request: FastifyRequest, reply: FastifyReply, requests: number) => {
        // The request itself is already counted.
        const further = Math.min(requests, max - 1)
        if (further < 1) return
        const { current, ttl } = await getLog({ policy, limit: max, window: seconds * 1_000 }).take(keyGenerator(request), further)
        reportUsage(reply, Math.max(0, max - current), Math.ceil(ttl / 1_000), current > max)
      }
      const reportUsage = (reply: FastifyReply, remaining: number, wait: number, isExceeded: boolean) => {
        reply.header('ratelimit-policy', policyHeader)
        reply.header('ratelimit', `"${policy}";r=${remaining};t=${wait}`)
        if (isExceeded)
          throw new Problem('quota-exceeded', `${REFUSALS[policy](max, seconds)} Try again in ${wait} second${wait === 1 ? '' : 's'}.`, {
            headers: { 'retry-after': String(wait) },
            members: { 'violated-policies': [policy] },
          })
      }
      return { take, takeFurther }
    }
    app.decorate('limits', {
      anonymous: createLimit('anonymous', RATE_LIMIT_ANONYMOUS, RATE_LIMIT_WINDOW, keyByAddress),
      authenticated: createLimit('authenticated', RATE_LIMIT_AUTHENTICATED, RATE_LIMIT_WINDOW, keyById),
      'failed-authentication': createLimit('failed-authentication', MAX_FAILURES, FAILURES_WINDOW, keyByAddress),
    })
  },
  { name: 'rate-limit', dependencies: ['redis'] },
)
