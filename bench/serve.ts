// What every measured server does in its process: listen, count its requests, and say what they have cost.
import type { Server } from 'node:http'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { answer } from './child.ts'

/** Since the process started. */
export interface Usage {
  requests: number
  /** Microseconds of CPU time, of all threads. */
  cpu: number
  /** Bytes. */
  memory: number
}

/** Milliseconds for which the event loop did nothing else than one thing. */
export interface LoopDelay {
  p99: number
  max: number
}

interface Servable {
  server: Server
  listen(options: { host: string; port: number }): Promise<string>
  close(): Promise<unknown>
}

/** Milliseconds. The timer that measures the delay is itself due only after so long, and its histogram counts that in. */
const RESOLUTION = 1

export async function serve(app: Servable): Promise<void> {
  let requests = 0
  app.server.on('request', () => {
    requests++
  })
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION })
  const milliseconds = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - RESOLUTION)
  const origin = await app.listen({ host: '127.0.0.1', port: 0 })
  answer(
    origin,
    {
      usage: (): Usage => {
        const { user, system } = process.cpuUsage()
        return { requests, cpu: user + system, memory: process.memoryUsage.rss() }
      },
      // Only where it is asked for: it costs CPU time.
      watchLoop: () => delay.enable(),
      loopDelay: (): LoopDelay => {
        delay.disable()
        return { p99: milliseconds(delay.percentile(99)), max: milliseconds(delay.max) }
      },
    },
    () => app.close(),
  )
}
