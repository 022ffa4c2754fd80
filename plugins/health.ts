// Readiness and graceful shutdown: load balancers learn of a stop before the listener closes.
import type { Server } from 'node:http'
import { setImmediate, setTimeout } from 'node:timers/promises'
import fp from 'fastify-plugin'
import { measureLag } from '../src/changelog/read.ts'
import { Problem } from '../src/errors.ts'
import { databaseProblems } from '../src/http/database-problems.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Checks readiness. Throws `not-ready` if the service cannot answer or is stopping. Returns the lag of the feed in seconds.
     */
    checkReady(): Promise<number>
    /**
     * Prepares for `close` while requests are still answered: `/readyz` answers 503 at once, and responses carry `Connection: close` after
     * half of the time. `wait` replaces the timer in tests.
     */
    drain(milliseconds: number, wait?: (milliseconds: number) => Promise<unknown>): Promise<void>
  }
}

/** Milliseconds for the database to answer a check. */
const READY_LIMIT = 2_000

/** Turns of the event loop in a row without a connection or request before the listener closes. */
const QUIET_TURNS = 3
/** Turns after which the listener closes in any case. */
const MAX_TURNS = 1_000

export default fp(
  async function health(app) {
    let isStopping = false
    let isClosingConnections = false
    app.decorate('drain', async (milliseconds: number, wait = setTimeout as (milliseconds: number) => Promise<unknown>) => {
      isStopping = true
      await wait(milliseconds / 2)
      isClosingConnections = true
      await wait(milliseconds / 2)
    })
    app.addHook('preClose', async () => {
      isStopping = true
      isClosingConnections = true
      await waitUntilQuiet(app.server)
    })
    // A kept-alive connection would delay the exit until its client closes it.
    app.addHook('onSend', (_request, reply, payload, done) => {
      if (isClosingConnections) reply.header('connection', 'close')
      done(null, payload)
    })
    /** Reason of the last failed check, so that each reason is logged once. */
    let lastReason: string | undefined
    app.decorate('checkReady', async () => {
      if (isStopping) throw new Problem('not-ready', 'The service is stopping.')
      if (!app.load.hasSettled) throw new Problem('not-ready', 'The service is starting.')
      try {
        const [lag] = await withReadyLimit(READY_LIMIT, Promise.all([measureLag(app.db), app.db.checkReady()]))
        lastReason = undefined
        return lag
      } catch (cause) {
        const reason = cause instanceof Error ? cause.message : String(cause)
        if (reason !== lastReason) app.log.warn({ err: cause }, 'not ready')
        lastReason = reason
        if (cause instanceof Problem) throw cause
        const failure = app.db.classifyFailure(cause)
        throw new Problem(
          'not-ready',
          failure ? databaseProblems[failure][1] : 'The database schema does not match this version of the service.',
          {
            cause,
          },
        )
      }
    })
  },
  { name: 'health', dependencies: ['db', 'pressure', 'feed'] },
)

/** Throws `not-ready` if `work` takes longer than `milliseconds`. */
async function withReadyLimit<T>(milliseconds: number, work: Promise<T>): Promise<T> {
  const late = new AbortController()
  const limit = setTimeout(milliseconds, undefined, { signal: late.signal }).then(() => {
    throw new Problem('not-ready', `The database has not answered for ${milliseconds / 1_000} s.`)
  })
  try {
    return await Promise.race([work, limit])
  } finally {
    late.abort()
    limit.catch(() => {})
  }
}

/**
 * Waits for QUIET_TURNS turns of the event loop without a connection or request. The kernel resets connections that wait for `accept` when
 * the listener closes, so `close` must follow in the same turn.
 */
async function waitUntilQuiet(server: Server): Promise<void> {
  let quiet = 0
  const reset = () => {
    quiet = 0
  }
  server.on('connection', reset).on('request', reset)
  for (let turn = 0; quiet < QUIET_TURNS && turn < MAX_TURNS; turn++) {
    quiet++
    await setImmediate()
  }
  server.off('connection', reset).off('request', reset)
}
