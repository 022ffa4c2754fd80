// Whether the service can answer, and how it stops: load balancers learn of it before the listener closes.
import type { Server } from 'node:http'
import { setImmediate, setTimeout } from 'node:timers/promises'
import fp from 'fastify-plugin'
import { measureLag } from '../src/changelog/read.ts'
import { Problem } from '../src/errors.ts'
import { databaseProblems } from '../src/http/database-problems.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Throws `not-ready` where the service cannot answer or is about to stop. Returns by how many seconds the feed of changes is behind.
     */
    checkReady(): Promise<number>
    /**
     * Prepares for `close`, while everything is still answered: `/readyz` says 503 at once, answers carry `Connection: close` from the
     * middle of the time on. `wait` is another timer, for tests.
     */
    drain(milliseconds: number, wait?: (milliseconds: number) => Promise<unknown>): Promise<void>
  }
}

/** Milliseconds in which the database has to answer a check. */
const READY_LIMIT = 2_000

/** Turns of the event loop in a row without a new connection or request after which the listener closes, and turns after which it does anyway. */
const QUIET_TURNS = 3
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
    // A connection kept alive would hold up the exit until its client lets go of it.
    app.addHook('onSend', (_request, reply, payload, done) => {
      if (isClosingConnections) reply.header('connection', 'close')
      done(null, payload)
    })
    /** Why the last check failed, in the words of the log. */
    let lastReason: string | undefined
    app.decorate('checkReady', async () => {
      if (isStopping) throw new Problem('not-ready', 'The service is stopping.')
      if (!app.load.hasSettled) throw new Problem('not-ready', 'The service has just started.')
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
        throw new Problem('not-ready', failure ? databaseProblems[failure][1] : 'The schema of the database is not that of the code.', {
          cause,
        })
      }
    })
  },
  { name: 'health', dependencies: ['db', 'pressure', 'feed'] },
)

/** Throws `not-ready` where `work` takes longer than a number of milliseconds. */
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
 * Waits for turns of the event loop in which no connection and no request arrives. The kernel resets connections that wait for `accept`
 * when the listener closes, so `close` has to follow in the same turn.
 */
async function waitUntilQuiet(server: Server): Promise<void> {
  let quiet = 0
  const note = () => {
    quiet = 0
  }
  server.on('connection', note).on('request', note)
  for (let turn = 0; quiet < QUIET_TURNS && turn < MAX_TURNS; turn++) {
    quiet++
    await setImmediate()
  }
  server.off('connection', note).off('request', note)
}
