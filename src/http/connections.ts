// Bounds what the connections of clients can hold: one answer at a time, which has to be taken, and so many connections of one address.
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { identifyAddress } from '../limits/address.ts'

/** Requests that a client may send ahead of an answer that it has not taken. They wait, unhandled. */
export const MAX_AHEAD = 10

/** Milliseconds. */
const WARN_EVERY = 10_000

export interface ConnectionLimits {
  /** Connections of one address; 0: any number. */
  perAddress: number
  /** Whether an address is that of a proxy, which has the connections of many clients. */
  isProxy(address: string | undefined): boolean
  /** Milliseconds for which an answer may wait for its client without a byte taken. */
  stalled: number
  /** Milliseconds between two checks of that. */
  check: number
  /** A connection of this client was refused. Called at most every WARN_EVERY. */
  onRefuse(client: string): void
}

declare module 'node:net' {
  interface Socket {
    /** Undocumented, and what Node's own idle time limit looks at: the bytes that the network has not taken yet. */
    readonly _handle?: { readonly writeQueueSize?: number } | null
  }
}

export function limitConnections(server: Server, limits: ConnectionLimits): void {
  handleInOrder(server)
  closeStalled(server, limits)
  if (limits.perAddress > 0) limitPerAddress(server, limits)
}

/**
 * Handles a request only after the answers to earlier ones of its connection have been written to the network, where Node would handle all
 * at once and keep the answers in memory. Reading pauses meanwhile. A connection that has sent more than MAX_AHEAD is ended.
 */
function handleInOrder(server: Server): void {
  const handlers = server.listeners('request')
  const handle = (request: IncomingMessage, response: ServerResponse) => {
    for (const handler of handlers) Reflect.apply(handler, server, [request, response])
  }
  const waiting = new WeakMap<Socket, number>()
  server.removeAllListeners('request')
  server.on('request', (request, response) => {
    // Node gives a response its socket when the one before it is finished.
    if (response.socket) return handle(request, response)
    const { socket } = request
    const count = (waiting.get(socket) ?? 0) + 1
    if (count > MAX_AHEAD) return void socket.destroy()
    waiting.set(socket, count)
    socket.pause()
    response.once('socket', () => {
      const left = (waiting.get(socket) ?? 1) - 1
      waiting.set(socket, left)
      if (left === 0) socket.resume()
      handle(request, response)
    })
  })
}

/** Ends connections whose client takes nothing of its answer. What the client sends meanwhile does not count, as it does for Node's own limits. */
function closeStalled(server: Server, { stalled, check }: ConnectionLimits): void {
  const sockets = new Map<Socket, { queued: number; checks: number }>()
  server.on('connection', (socket) => {
    sockets.set(socket, { queued: 0, checks: 0 })
    socket.once('close', () => sockets.delete(socket))
  })
  // Checks are counted, not time: a busy event loop makes no client late.
  const most = Math.ceil(stalled / check)
  const look = () => {
    for (const [socket, last] of sockets) {
      const queued = socket._handle?.writeQueueSize ?? 0
      last.checks = queued === 0 || queued !== last.queued ? 0 : last.checks + 1
      last.queued = queued
      if (last.checks >= most) socket.destroy()
    }
  }
  server.on('listening', () => {
    const timer = setInterval(look, check).unref()
    server.once('close', () => clearInterval(timer))
  })
}

function limitPerAddress(server: Server, { perAddress, isProxy, onRefuse }: ConnectionLimits): void {
  const counts = new Map<string, number>()
  let warned = Number.NEGATIVE_INFINITY
  server.on('connection', (socket) => {
    const { remoteAddress } = socket
    if (isProxy(remoteAddress)) return
    const client = identifyAddress(remoteAddress ?? '', undefined)
    const count = counts.get(client) ?? 0
    if (count >= perAddress) {
      if (performance.now() - warned > WARN_EVERY) {
        warned = performance.now()
        onRefuse(client)
      }
      return void socket.resetAndDestroy()
    }
    counts.set(client, count + 1)
    socket.once('close', () => {
      const left = (counts.get(client) ?? 1) - 1
      if (left === 0) counts.delete(client)
      else counts.set(client, left)
    })
  })
}
