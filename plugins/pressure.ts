// Refuses requests while the process cannot keep up, so that it answers at least some in time, and does not run out of memory.
import { getHeapStatistics } from 'node:v8'
import underPressure from '@fastify/under-pressure'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Problem } from '../src/errors.ts'

/** Milliseconds between two looks. What is found holds until the next. */
const SAMPLE = 1_000

/** Milliseconds by which the event loop is late, on the average of a sample: about so long does each request wait before it is read. */
const MAX_DELAY = 500

/** Of what V8 lets the heap grow to. It collects hard long before. */
const MAX_HEAP_SHARE = 0.9

/** Seconds after which to try again: more than a sample, so that those who come back do not meet the same one. */
const RETRY_AFTER = '5'

/** Whoever watches the process is to see that it runs, and not to stop it because it has much to do. */
const HEALTH = /^\/(?:livez|readyz)\/?$/

export default fp(
  async function pressure(app: FastifyInstance) {
    await app.register(underPressure, {
      sampleInterval: SAMPLE,
      maxEventLoopDelay: MAX_DELAY,
      maxHeapUsedBytes: getHeapStatistics().heap_size_limit * MAX_HEAP_SHARE,
      // No bound on utilisation: a process that is busy all the time may still answer everybody in time.
      pressureHandler: (request: FastifyRequest) => {
        if (!HEALTH.test(request.routeOptions.url ?? ''))
          throw new Problem('overloaded', 'There are more requests than can be answered. Try again later.', {
            headers: { 'retry-after': RETRY_AFTER },
          })
      },
    })
  },
  // After `db`: the first sample is not to be that of a long migration.
  { name: 'pressure', dependencies: ['errors', 'db'] },
)
