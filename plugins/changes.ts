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
    const closing = new AbortController()
    let pruning: Promise<void> | undefined
    const prune = () => {
      // Not twice at once, should there be more to forget than an hour is enough for.
      pruning ??= pruneChanges(app.db, new Date(Date.now() - days * DAY), closing.signal)
        .then(
          (pruned) => {
            if (pruned > 0) app.log.info({ pruned }, 'old changes were forgotten')
          },
          (error) => app.log.error({ err: error }, 'old changes could not be forgotten'),
        )
        .finally(() => {
          pruning = undefined
        })
    }
    let timer: NodeJS.Timeout | undefined
    app.addHook('onReady', async () => {
      prune()
      timer = setInterval(prune, HOUR).unref()
    })
    // Before the database is closed, whose hook was added earlier. What is left is forgotten after the next start.
    app.addHook('onClose', async () => {
      clearInterval(timer)
      closing.abort()
      await pruning
    })
  },
  { name: 'changes', dependencies: ['db'] },
)
