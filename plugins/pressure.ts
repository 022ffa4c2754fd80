// Refuses requests while the process is overloaded, so that it answers some in time and does not run out of memory.
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Problem } from '../src/errors.ts'
import { Load } from '../src/http/load.ts'

declare module 'fastify' {
  interface FastifyInstance {
    load: Load
  }
}

/** Seconds after which a client may retry. Longer than a short overload lasts. */
const RETRY_AFTER = '5'

/** A shared instance: an overloaded process must not spend time on stack traces. */
const overloaded = new Problem('overloaded', 'The service is overloaded. Retry later.', {
  headers: { 'retry-after': RETRY_AFTER },
})

/** Milliseconds between two warnings in the log. */
const WARN_EVERY = 10_000

/** Health checks are never refused: a supervisor must not stop a busy process. */
const HEALTH = /^\/(?:livez|readyz)\/?$/

export interface PressureOptions {
  /** `false` refuses no request and ends the start at once. With a Load, the caller takes the samples. */
  shedding?: boolean | Load | undefined
}

export default fp(
  async function pressure(app: FastifyInstance, { shedding = true }: PressureOptions) {
    const load = shedding instanceof Load ? shedding : new Load()
    app.decorate('load', load)
    if (shedding === false) return load.stop()
    if (shedding === true) {
      // Not earlier: the start itself blocks the event loop.
      app.addHook('onReady', async () => load.start())
      app.addHook('onClose', async () => load.stop())
    }
    let warnedAt = Number.NEGATIVE_INFINITY
    app.addHook('onRequest', (request, _reply, done) => {
      if (load.overload === undefined || HEALTH.test(request.routeOptions.url ?? '')) return done()
      if (performance.now() - warnedAt > WARN_EVERY) {
        warnedAt = performance.now()
        app.log.warn(load.overload, 'overloaded: requests are refused')
      }
      done(overloaded)
    })
  },
  { name: 'pressure', dependencies: ['errors', 'db'] },
)
