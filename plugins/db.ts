// Opens the database, brings its schema up to date, and closes it when the last request has been answered.
import fp from 'fastify-plugin'
import type { Database } from '../drizzle/database.ts'
import { open } from '../drizzle/open.ts'

declare module 'fastify' {
  interface FastifyInstance {
    db: Database
  }
}

export default fp(
  async function db(app) {
    const database = await open(app.config.DATABASE_URL, { served: app.resources.map(({ served }) => served) })
    app.addHook('onClose', () => database.close())
    const applied = await database.migrate()
    if (applied.length > 0) app.log.info({ applied }, 'schema brought up to date')
    app.decorate('db', database)
  },
  { name: 'db' },
)
