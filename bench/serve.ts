// Runs a measured server in a child process: listens, counts requests and reports their CPU time.
import type { Server } from 'node:http'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { serveParent } from './child.ts'

/** Usage since the start of the process. */
export interface Usage {
  requests: number
  /** Microseconds of CPU time, of all threads. */
  cpu: number
  /** Resident bytes. */
  memory: number
}

/** Delays of the event loop in milliseconds. */
export interface LoopDelay {
  p99: number
  max: number
}

interface Servable {
  server: Server
  listen(options: { host: string; port: number }): Promise<string>
  close(): Promise<unknown>
}

/** Interval of the timer that measures the delay, in milliseconds. Its histogram includes the interval. */
const RESOLUTION = 1

export async function serve(app: Servable): Promise<void> {
  let requests = 0
  app.server.on('request', () => {
    requests++
  })
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION })
  const milliseconds = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - RESOLUTION)
  const origin = await app.listen({ host: '127.0.0.1', port: 0 })
  serveParent(
    origin,
    {
      usage: (): Usage => {
        const { user, system } = process.cpuUsage()
        return { requests, cpu: user + system, memory: process.memoryUsage.rss() }
      },
      // On request only, since it costs CPU time.
      watchLoop: () => delay.enable(),
      loopDelay: (): LoopDelay => {
        delay.disable()
        return { p99: milliseconds(delay.percentile(99)), max: milliseconds(delay.max) }
      },
    },
    () => app.close(),
  )
}
