// Runs the application until it is told to stop.
import closeWithGrace from 'close-with-grace'
import { buildApp } from './app.ts'
import type { Config } from './config.ts'
import { firstKey } from './keys.ts'
import type { App } from './routes.ts'

/** Milliseconds in which requests under way are to end after SIGTERM or SIGINT. A second signal does not wait. */
const GRACE = 10_000

export interface Served {
  url: string
  /** The admin key that was made because there was no key at all. Nothing else can tell it again. */
  firstKey?: string
}

/** Works through jobs and serves nothing. The process ends when a signal has been handled. */
export async function work(config: Readonly<Config>): Promise<void> {
  const app = await buildApp({ config: { ...config, WORKER: true } })
  try {
    await app.ready()
    stopBySignal(app)
  } catch (error) {
    await app.close()
    throw error
  }
}

function stopBySignal(app: App): void {
  closeWithGrace({ delay: GRACE, logger: app.log }, async ({ err }) => {
    if (err) app.log.error({ err }, 'stopping after an error that nothing caught')
    await app.close()
  })
}

/** Listens. The process ends when a signal has been handled. */
export async function serve(config: Readonly<Config>): Promise<Served> {
  const app = await buildApp({ config })
  try {
    const url = await app.listen({ host: config.HOST, port: config.PORT })
    stopBySignal(app)
    // Not before: where it cannot listen, nobody would be told.
    const made = await firstKey(app.db, config.ADMIN_KEY)
    if (!made && config.ADMIN_KEY && 'refused' in (await app.keyring.verify(config.ADMIN_KEY)))
      app.log.warn('ADMIN_KEY is no key of this database, which has others: "stockroom keys create" makes one')
    return { url, ...(made && !config.ADMIN_KEY && { firstKey: made }) }
  } catch (error) {
    await app.close()
    throw error
  }
}
