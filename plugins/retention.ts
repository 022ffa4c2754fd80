// Forgets what has become old: at the start, and every hour.
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { pruneChanges } from '../src/feed/prune.ts'
import { KEPT_FOR, pruneAnswers } from '../src/idempotency.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR

interface Pruned {
  /** In the log. */
  name: string
  /** Milliseconds; 0: for ever. */
  keep: number
  prune: typeof pruneChanges
}

export default fp(
  async function retention(app: FastifyInstance) {
    const kinds: readonly Pruned[] = [
      { name: 'changes', keep: app.config.CHANGES_KEEP_DAYS * DAY, prune: pruneChanges },
      { name: 'answers to requests with an Idempotency-Key', keep: KEPT_FOR, prune: pruneAnswers },
    ]
    const closing = new AbortController()
    let pruning: Promise<void> | undefined
    const pruneAll = async () => {
      for (const { name, keep, prune } of kinds.filter(({ keep }) => keep > 0)) {
        try {
          const pruned = await prune(app.db, new Date(Date.now() - keep), closing.signal)
          if (pruned > 0) app.log.info({ pruned }, `old ${name} were forgotten`)
        } catch (error) {
          app.log.error({ err: error }, `old ${name} could not be forgotten`)
        }
      }
    }
    const prune = () => {
      // Not twice at once, should there be more to forget than an hour is enough for.
      pruning ??= pruneAll().finally(() => {
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
  { name: 'retention', dependencies: ['db'] },
)
