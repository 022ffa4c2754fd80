// The optional connection to Redis, for data that may be lost. Its users work without it while Redis is unavailable.
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { openRedis } from '../src/limits/redis.ts'
import type { Connection } from '../src/redis.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Undefined without REDIS_URL. */
    redis: Connection | undefined
  }
}

export default fp(
  async function redis(app: FastifyInstance) {
    const { REDIS_URL } = app.config
    const onChange = (isAway: boolean, reason: string) => {
      if (isAway) app.log.warn({ reason }, 'Redis is unavailable: this process counts requests and caches responses on its own')
      else app.log.info('Redis is available again: processes share rate limits and cached responses')
    }
    const connection = REDIS_URL ? await openRedis(REDIS_URL, { onChange }) : undefined
    app.decorate('redis', connection)
    if (connection) app.addHook('onClose', () => connection.close())
  },
  { name: 'redis' },
)
