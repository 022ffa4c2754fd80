// Forgets what was recorded of changes when it has become old: at the start, and every hour.
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { pruneChanges } from '../src/changes.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR

export default fp(
  async function changes(app: FastifyInstance) {
    const days = app.config.CHANGES_KEEP_DAYS
    if (days === 0) return
    let pruning: Promise<void> = Promise.resolve()
    const prune = () => {
      pruning = pruneChanges(app.db, new Date(Date.now() - days * DAY)).then(
        (pruned) => {
          if (pruned > 0) app.log.info({ pruned }, 'old changes were forgotten')
        },
        (error) => app.log.error({ err: error }, 'old changes could not be forgotten'),
      )
    }
    let timer: NodeJS.Timeout | undefined
    app.addHook('onReady', async () => {
      prune()
      timer = setInterval(prune, HOUR).unref()
    })
    // Before the database is closed, whose hook was added earlier.
    app.addHook('onClose', async () => {
      clearInterval(timer)
      await pruning
    })
  },
  { name: 'changes', dependencies: ['db'] },
)
