// Refuses requests while the process cannot keep up, so that it answers at least some in time, and does not run out of memory.
import { getHeapStatistics } from 'node:v8'
import underPressure from '@fastify/under-pressure'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Problem } from '../src/errors.ts'

/** Milliseconds between two looks. What is found holds until the next. */
const SAMPLE = 1_000

/** Milliseconds by which the event loop is late, on the average of a sample: about so long does each request wait before it is read. */
const MAX_DELAY = 1_000

/** Of V8's limit, which counts up to 192 MB for young objects that never fill: with 512 MB for old ones it is nine tenths of these. */
const MAX_HEAP_SHARE = 0.65

/** Seconds after which to try again: more than a sample, so that those who come back do not meet the same one. */
const RETRY_AFTER = '5'

/** One for all: where there is no time, none is spent on stack traces. */
const overloaded = new Problem('overloaded', 'There are more requests than can be answered. Try again later.', {
  headers: { 'retry-after': RETRY_AFTER },
})

/** Milliseconds between two lines in the log that tell of it. */
const QUIET = 10_000

/** Whoever watches the process is to see that it runs, and not to stop it because it has much to do. */
const HEALTH = /^\/(?:livez|readyz)\/?$/

export default fp(
  async function pressure(app: FastifyInstance, { shedding = true }: { shedding?: boolean }) {
    if (!shedding) return
    let told = Number.NEGATIVE_INFINITY
    await app.register(underPressure, {
      sampleInterval: SAMPLE,
      maxEventLoopDelay: MAX_DELAY,
      maxHeapUsedBytes: getHeapStatistics().heap_size_limit * MAX_HEAP_SHARE,
      // No bound on utilisation: a process that is busy all the time may still answer everybody in time.
      pressureHandler: ({ routeOptions: { url = '' } }: FastifyRequest, _reply: FastifyReply, measure: string, value = 0) => {
        if (HEALTH.test(url)) return
        if (performance.now() - told > QUIET) {
          told = performance.now()
          app.log.warn({ measure, value }, 'overloaded: requests are refused')
        }
        throw overloaded
      },
    })
  },
  // After `db`: the first sample is not to be that of a long migration.
  { name: 'pressure', dependencies: ['errors', 'db'] },
)
