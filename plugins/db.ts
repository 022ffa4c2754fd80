// Opens and migrates the database, and closes it after the last response.
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Database } from '../drizzle/database.ts'
import { open } from '../drizzle/open.ts'
import type { OpenOptions } from '../drizzle/open-options.ts'
import { checkResource } from '../src/query/checks.ts'

declare module 'fastify' {
  interface FastifyInstance {
    db: Database
  }
}

/** Milliseconds to answer the requests whose commits failed. */
const RESPONSE_GRACE = 200

/** Ends the process at once: closing the database would write to a disk that has failed. The next start recovers what is there. */
function endProcess({ log }: FastifyInstance, err: Error): void {
  log.fatal({ err }, 'Commits cannot be written to disk: the process ends. Check the disk.')
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), RESPONSE_GRACE)
}

export default fp(
  async function db(app: FastifyInstance, { tables }: Pick<OpenOptions, 'tables'>) {
    const database = await open(app.config.DATABASE_URL, {
      served: app.resources.map(({ served }) => served),
      queryTimeout: app.config.QUERY_TIMEOUT * 1_000,
      ...(tables && { tables }),
      onFatal: (err) => endProcess(app, err),
    })
    try {
      for (const resource of app.resources) checkResource(resource, database)
      const applied = await database.migrate()
      if (applied.length > 0) app.log.info({ applied }, 'database migrated')
    } catch (error) {
      await database.close()
      throw error
    }
    app.addHook('preClose', async () => database.interrupt())
    app.addHook('onClose', () => database.close())
    app.decorate('db', database)
  },
  { name: 'db' },
)
