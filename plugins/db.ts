// Opens the database, brings its schema up to date, and closes it when the last request has been answered.
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Database } from '../drizzle/database.ts'
import type { OpenOptions } from '../drizzle/engine.ts'
import { open } from '../drizzle/open.ts'
import { checkResource } from '../src/query/checks.ts'

declare module 'fastify' {
  interface FastifyInstance {
    db: Database
  }
}

export default fp(
  async function db(app: FastifyInstance, { tables }: Pick<OpenOptions, 'tables'>) {
    const database = await open(app.config.DATABASE_URL, {
      served: app.resources.map(({ served }) => served),
      queryTimeout: app.config.QUERY_TIMEOUT * 1_000,
      ...(tables && { tables }),
    })
    try {
      for (const resource of app.resources) checkResource(resource, database)
      const applied = await database.migrate()
      if (applied.length > 0) app.log.info({ applied }, 'schema brought up to date')
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
