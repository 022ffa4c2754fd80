// The Redis server of the tests. Tests use random key prefixes and remove their keys.
import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import type { Test } from 'tap'

export const REDIS = process.env.TEST_REDIS_URL || 'redis://127.0.0.1:6379'

async function unreachable(): Promise<string | false> {
  if (process.env.CI === 'true') return false
  const redis = new Redis(REDIS, { lazyConnect: true, retryStrategy: null, maxRetriesPerRequest: 0 })
  redis.on('error', () => {})
  try {
    await redis.connect()
    return false
  } catch (error) {
    return `no Redis answers (${(error as Error).message}): set TEST_REDIS_URL`
  } finally {
    redis.disconnect()
  }
}

/** Why tests on Redis cannot run here; false if they can. With CI=true an unreachable server is a failure. */
export const skip = await unreachable()

/** Returns a random key prefix. Its keys are removed when `t` ends. */
export function prefixFor(t: Pick<Test, 'teardown'>): string {
  const prefix = `stockroom:test:${randomUUID()}:`
  t.teardown(async () => {
    const redis = new Redis(REDIS)
    const keys = await redis.keys(`${prefix}*`)
    if (keys.length > 0) await redis.del(keys)
    redis.disconnect()
  })
  return prefix
}
