// Runs the application until it is told to stop.
import closeWithGrace from 'close-with-grace'
import { buildApp } from './app.ts'
import type { Config } from './config.ts'

/** Milliseconds in which requests under way are to end after SIGTERM or SIGINT. A second signal does not wait. */
const GRACE = 10_000

/** Listens, and returns the URL. The process ends when a signal has been handled. */
export async function serve(config: Readonly<Config>): Promise<string> {
  const app = await buildApp({ config })
  try {
    const url = await app.listen({ host: config.HOST, port: config.PORT })
    closeWithGrace({ delay: GRACE, logger: app.log }, async ({ err }) => {
      if (err) app.log.error({ err }, 'stopping after an error that nothing caught')
      await app.close()
    })
    return url
  } catch (error) {
    await app.close()
    throw error
  }
}
