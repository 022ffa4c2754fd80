// Refuses requests while the process cannot keep up, so that it answers at least some in time, and does not run out of memory.
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Problem } from '../src/errors.ts'
import { Load } from '../src/http/load.ts'

declare module 'fastify' {
  interface FastifyInstance {
    load: Load
  }
}

/** Seconds after which a client tries again: longer than an overload lasts that passes by itself. */
const RETRY_AFTER = '5'

/** One for all: an overloaded process spends no time on stack traces. */
const overloaded = new Problem('overloaded', 'There are more requests than can be answered. Try again later.', {
  headers: { 'retry-after': RETRY_AFTER },
})

/** Milliseconds between two lines in the log that tell of it. */
const QUIET = 10_000

/** A supervisor has to see that the process runs, and must not stop it because it has much to do. */
const HEALTH = /^\/(?:livez|readyz)\/?$/

export interface PressureOptions {
  /** False: nothing is refused, and the start is over at once. A Load: the caller looks. */
  shedding?: boolean | Load | undefined
}

export default fp(
  async function pressure(app: FastifyInstance, { shedding = true }: PressureOptions) {
    const load = shedding instanceof Load ? shedding : new Load()
    app.decorate('load', load)
    if (shedding === false) return load.stop()
    if (shedding === true) {
      // Not before: the start blocks the event loop.
      app.addHook('onReady', async () => load.start())
      app.addHook('onClose', async () => load.stop())
    }
    let told = Number.NEGATIVE_INFINITY
    app.addHook('onRequest', (request, _reply, done) => {
      if (load.overload === undefined || HEALTH.test(request.routeOptions.url ?? '')) return done()
      if (performance.now() - told > QUIET) {
        told = performance.now()
        app.log.warn(load.overload, 'overloaded: requests are refused')
      }
      done(overloaded)
    })
  },
  { name: 'pressure', dependencies: ['errors', 'db'] },
)
