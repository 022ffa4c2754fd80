// The part of autocannon that bench/load.ts uses. The package has no types.
declare module 'autocannon' {
  import type { EventEmitter } from 'node:events'

  export interface Request {
    method?: string
    path?: string
    headers?: Record<string, string>
    body?: string
    /** Called before each request is sent. */
    setupRequest?: (request: Request) => Request
  }

  export interface Client {
    setRequests(requests: Request[]): void
  }

  export interface Options {
    url: string
    connections: number
    /** Seconds. */
    duration: number
    /** Milliseconds between two checks whether `duration` is over. */
    sampleInt: number
    /** Seconds. */
    timeout: number
    requests: Request[]
    setupClient: (client: Client) => void
  }

  export interface Result {
    /** Failed connections, time-outs included. */
    errors: number
    timeouts: number
    duration: number
    statusCodeStats: Record<string, { count: number }>
  }

  export interface Run extends EventEmitter, PromiseLike<Result> {
    on(event: 'response', listener: (client: Client, status: number, bytes: number, milliseconds: number) => void): this
  }

  export default function autocannon(options: Options): Run
}
