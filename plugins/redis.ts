// The connection to Redis, where there is one: for what may be lost. Whoever uses it does without while it is away.
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
    const onChange = (away: boolean, reason: string) => {
      if (away) app.log.warn({ reason }, 'Redis is away: requests are counted, and answers kept, by this process alone')
      else app.log.info('Redis is back: requests are counted together')
    }
    const connection = REDIS_URL ? await openRedis(REDIS_URL, { onChange }) : undefined
    app.decorate('redis', connection)
    if (connection) app.addHook('onClose', () => connection.close())
  },
  { name: 'redis' },
)
