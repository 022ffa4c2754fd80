// Runs the application until a signal stops it.
import closeWithGrace from 'close-with-grace'
import { listCauses } from '../drizzle/database.ts'
import { buildApp } from './app.ts'
import { createFirstKey } from './auth/keys.ts'
import type { Config } from './config.ts'
import { CannotListen } from './errors.ts'
import type { App } from './http/routes.ts'

/** Milliseconds from SIGTERM until the listener closes. Load balancers notice the stop meanwhile. */
const DRAIN = 5_000

/** Milliseconds for open requests to end after the listener has closed. */
const GRACE = 10_000

/** Signals that stop the service. close-with-grace handles all others. */
const STOP_SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const

/**
 * Milliseconds after the first signal in which further signals are ignored. Ctrl-C and systemd signal the whole process group, and npm
 * passes the signal on: one stop then reaches this process twice, and the second must not cut requests.
 */
const ECHO = 1_000

/** A running server. */
interface Served {
  url: string
  /** The admin key that was created because the database had none. It cannot be read again. */
  firstKey?: string
}

interface ServeOptions {
  /** Milliseconds from SIGTERM until the listener closes. The default is DRAIN. */
  drain?: number
}

/** Runs jobs without serving. A signal ends the process. */
export async function work(config: Readonly<Config>): Promise<void> {
  const app = await buildApp({ config: { ...config, WORKER: true } })
  try {
    await app.ready()
    stopBySignal(app, 0)
  } catch (error) {
    await app.close()
    throw error
  }
}

/**
 * Stops the service at the first signal, and exits at a second one that comes more than ECHO later. Only SIGTERM drains: SIGINT comes from a
 * terminal, where no load balancer is involved.
 */
function stopBySignal(app: App, drain: number): void {
  let stoppedAt: number | undefined
  let firstSignal: NodeJS.Signals | undefined
  const { close } = closeWithGrace({ delay: drain + GRACE, logger: app.log, skip: [...STOP_SIGNALS] }, async ({ err }) => {
    stoppedAt ??= performance.now()
    if (err) app.log.error({ err }, 'stopping after an uncaught error')
    if (firstSignal === 'SIGTERM') await app.drain(drain)
    await app.close()
  })
  for (const signal of STOP_SIGNALS)
    process.on(signal, () => {
      if (stoppedAt === undefined) {
        stoppedAt = performance.now()
        firstSignal = signal
        close()
      } else if (performance.now() - stoppedAt > ECHO) {
        app.log.error(`second signal, ${signal}: exiting at once`)
        process.exit(1)
      }
    })
}

/** Serves the API. A signal ends the process. Throws CannotListen. */
export async function serve(config: Readonly<Config>, { drain = DRAIN }: ServeOptions = {}): Promise<Served> {
  const app = await buildApp({ config })
  try {
    await app.ready()
    // Before listening: `/readyz` must not answer 200 while ADMIN_KEY is refused.
    if (config.ADMIN_KEY) await adoptKey(app, config.ADMIN_KEY)
    const url = await listen(app, config)
    stopBySignal(app, drain)
    await app.load.settled
    // After listening: if that fails, the new key would never be shown.
    const newKey = config.ADMIN_KEY ? undefined : await createFirstKey(app.db, '')
    return { url, ...(newKey && { firstKey: newKey }) }
  } catch (error) {
    await app.close()
    throw error
  }
}

/** Listens. Returns the URL. Throws CannotListen. */
async function listen(app: App, { HOST, PORT }: Readonly<Config>): Promise<string> {
  try {
    return await app.listen({ host: HOST, port: PORT })
  } catch (error) {
    throw explainListenFailure(error, { HOST, PORT })
  }
}

async function adoptKey(app: App, key: string): Promise<void> {
  if (await createFirstKey(app.db, key)) return
  if ('refused' in (await app.keyring.verify(key)))
    app.log.warn('ADMIN_KEY is not a key of this database, which already has other keys. Create one with "stockroom keys create".')
}

const LISTEN_FAILURES: Record<string, (host: string, port: number) => string> = {
  EADDRINUSE: (host, port) => `Port ${port} on ${host} is in use by another process. Set PORT to another one.`,
  EACCES: (host, port) => `Port ${port} on ${host} is reserved for privileged users. Set PORT to 1024 or more.`,
  EADDRNOTAVAIL: (host) => `Address ${host} does not belong to this machine. Set HOST to an address of this machine.`,
  ENOTFOUND: (host) => `Host name ${host} has no address. Set HOST to an address of this machine.`,
  EAI_AGAIN: (host) => `Host name ${host} cannot be looked up. Set HOST to an address of this machine.`,
}

/** Returns a CannotListen that explains a known failure to the operator, or else the error itself. */
function explainListenFailure(error: unknown, { HOST, PORT }: { HOST: string; PORT: number }): unknown {
  const reason = listCauses(error)
    .map(({ code }) => LISTEN_FAILURES[String(code)])
    .find((reason) => reason !== undefined)
  return reason ? new CannotListen(reason(HOST, PORT), { cause: error }) : error
}
