// Whether the service can answer. From SIGTERM until the exit it says no, so that a load balancer sends requests elsewhere.
import fp from 'fastify-plugin'
import { Problem } from '../src/errors.ts'
import { logLag } from '../src/log.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Throws `not-ready` where the service cannot answer or is about to stop. Returns by how many seconds the feed of changes is behind.
     */
    checkReady(): Promise<number>
  }
}

export default fp(
  async function health(app) {
    let stopping = false
    app.addHook('preClose', async () => {
      stopping = true
    })
    // A connection kept alive would hold up the exit until its client lets go of it.
    app.addHook('onSend', (_request, reply, payload, done) => {
      if (stopping) reply.header('connection', 'close')
      done(null, payload)
    })
    app.decorate('checkReady', async () => {
      if (stopping) throw new Problem('not-ready', 'The service is stopping.')
      const checked = Promise.all([logLag(app.db), app.db.ready()])
      const [lag] = await checked.catch((cause) => {
        throw new Problem('not-ready', 'The database does not answer, or its schema is behind the code.', { cause })
      })
      return lag
    })
  },
  { name: 'health', dependencies: ['db'] },
)
