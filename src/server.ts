// Runs the application until it is told to stop.
import closeWithGrace from 'close-with-grace'
import { listCauses } from '../drizzle/database.ts'
import { buildApp } from './app.ts'
import { createFirstKey } from './auth/keys.ts'
import type { Config } from './config.ts'
import { CannotListen } from './errors.ts'
import type { App } from './http/routes.ts'

/** Milliseconds from SIGTERM until the listener closes: load balancers learn meanwhile that this process is leaving. */
export const DRAIN = 5_000

/** Milliseconds in which requests under way end after the listener has closed. */
const GRACE = 10_000

/** Signals that stop the service. The rest is left to close-with-grace. */
const STOP_SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const

/**
 * Milliseconds after the first signal in which further signals are ignored. Ctrl-C and systemd signal the whole process group, and npm
 * passes the signal on: one stop then reaches this process twice, and the second must not cut requests.
 */
const ECHO = 1_000

export interface Served {
  url: string
  /** The admin key that was made because there was no key at all. Nothing else can tell it again. */
  firstKey?: string
}

export interface ServeOptions {
  /** Milliseconds from SIGTERM until the listener closes, other than DRAIN. */
  drain?: number
}

/** Works through jobs and serves nothing. The process ends when a signal has been handled. */
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
 * Stops the service at the first signal, and ends the process at one that comes more than ECHO later. Only SIGTERM drains: SIGINT comes
 * from a person at a terminal, who does not wait for load balancers.
 */
function stopBySignal(app: App, drain: number): void {
  let stoppedAt: number | undefined
  let firstSignal: NodeJS.Signals | undefined
  const { close } = closeWithGrace({ delay: drain + GRACE, logger: app.log, skip: [...STOP_SIGNALS] }, async ({ err }) => {
    stoppedAt ??= performance.now()
    if (err) app.log.error({ err }, 'stopping after an error that nothing caught')
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

/** Listens. The process ends when a signal has been handled. */
export async function serve(config: Readonly<Config>, { drain = DRAIN }: ServeOptions = {}): Promise<Served> {
  const app = await buildApp({ config })
  try {
    await app.ready()
    // `/readyz` must not say 200 while the key that the operator gave is refused.
    if (config.ADMIN_KEY) await adoptKey(app, config.ADMIN_KEY)
    const url = await listen(app, config)
    stopBySignal(app, drain)
    await app.load.settled
    // Not before: where it cannot listen, nobody would be told.
    const made = config.ADMIN_KEY ? undefined : await createFirstKey(app.db, '')
    return { url, ...(made && { firstKey: made }) }
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
    app.log.warn('ADMIN_KEY is no key of this database, which has others: "stockroom keys create" makes one')
}

const LISTEN_FAILURES: Record<string, (host: string, port: number) => string> = {
  EADDRINUSE: (host, port) => `Port ${port} on ${host} is in use by another process. Set PORT to another one.`,
  EACCES: (host, port) => `Port ${port} on ${host} is reserved for privileged users. Set PORT to 1024 or more.`,
  EADDRNOTAVAIL: (host) => `Address ${host} does not belong to this machine. Set HOST to an address of this machine.`,
  ENOTFOUND: (host) => `Host name ${host} has no address. Set HOST to an address of this machine.`,
  EAI_AGAIN: (host) => `Host name ${host} cannot be looked up. Set HOST to an address of this machine.`,
}

/** Returns the error as a sentence for the operator, or the error itself where no reason is known. */
function explainListenFailure(error: unknown, { HOST, PORT }: { HOST: string; PORT: number }): unknown {
  const reason = listCauses(error)
    .map(({ code }) => LISTEN_FAILURES[String(code)])
    .find((reason) => reason !== undefined)
  return reason ? new CannotListen(reason(HOST, PORT), { cause: error }) : error
}
