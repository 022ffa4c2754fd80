// Limits what client connections can occupy: one response at a time, a time limit for reading it, and connections per address.
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { identifyAddress } from '../limits/address.ts'

/** Requests that a client may pipeline behind one whose response is not yet written. They wait unhandled. */
export const MAX_AHEAD = 10

/** Milliseconds between two warnings about refused connections. */
const WARN_EVERY = 10_000

export interface ConnectionLimits {
  /** Connections per address; 0 for no limit. */
  perAddress: number
  /** Whether an address is a trusted proxy, whose connections carry requests of many clients. */
  isProxy(address: string | undefined): boolean
  /** Milliseconds after which a connection is closed if its client reads nothing of a response. */
  stalled: number
  /** Milliseconds between two checks for stalled connections. */
  check: number
  /** Called when a connection of a client is refused, at most once per WARN_EVERY. */
  onRefuse(client: string): void
}

declare module 'node:net' {
  interface Socket {
    /** Undocumented: bytes that are not yet written to the network. Node's own idle timeout uses it too. */
    readonly _handle?: { readonly writeQueueSize?: number } | null
  }
}

/** Applies the limits to a server. Call it before the server listens. */
export function limitConnections(server: Server, limits: ConnectionLimits): void {
  handleInOrder(server)
  closeStalled(server, limits)
  if (limits.perAddress > 0) limitPerAddress(server, limits)
}

/**
 * Handles a request only after all earlier responses of its connection are written to the network. Node itself would handle pipelined
 * requests at once and hold their responses in memory. Reading pauses meanwhile. More than MAX_AHEAD waiting requests close the connection.
 */
function handleInOrder(server: Server): void {
  const handlers = server.listeners('request')
  const handle = (request: IncomingMessage, response: ServerResponse) => {
    for (const handler of handlers) Reflect.apply(handler, server, [request, response])
  }
  const waiting = new WeakMap<Socket, number>()
  server.removeAllListeners('request')
  server.on('request', (request, response) => {
    // Node assigns the socket to a response when the previous response is finished.
    if (response.socket) return handle(request, response)
    const { socket } = request
    const count = (waiting.get(socket) ?? 0) + 1
    if (count > MAX_AHEAD) return void socket.destroy()
    waiting.set(socket, count)
    socket.pause()
    response.once('socket', () => {
      const remaining = (waiting.get(socket) ?? 1) - 1
      waiting.set(socket, remaining)
      if (remaining === 0) socket.resume()
      handle(request, response)
    })
  })
}

/** Closes connections whose client reads nothing of its response. Unlike in Node's own timeout, data that the client sends is no progress. */
function closeStalled(server: Server, { stalled, check }: ConnectionLimits): void {
  const sockets = new Map<Socket, { queued: number; checks: number }>()
  server.on('connection', (socket) => {
    sockets.set(socket, { queued: 0, checks: 0 })
    socket.once('close', () => sockets.delete(socket))
  })
  // Counts checks instead of time, so that a busy event loop does not make clients look stalled.
  const maxChecks = Math.ceil(stalled / check)
  const checkAll = () => {
    for (const [socket, last] of sockets) {
      const queued = socket._handle?.writeQueueSize ?? 0
      last.checks = queued === 0 || queued !== last.queued ? 0 : last.checks + 1
      last.queued = queued
      if (last.checks >= maxChecks) socket.destroy()
    }
  }
  server.on('listening', () => {
    const timer = setInterval(checkAll, check).unref()
    server.once('close', () => clearInterval(timer))
  })
}

function limitPerAddress(server: Server, { perAddress, isProxy, onRefuse }: ConnectionLimits): void {
  const counts = new Map<string, number>()
  let warnedAt = Number.NEGATIVE_INFINITY
  server.on('connection', (socket) => {
    const { remoteAddress } = socket
    if (isProxy(remoteAddress)) return
    const client = identifyAddress(remoteAddress ?? '', undefined)
    const count = counts.get(client) ?? 0
    if (count >= perAddress) {
      if (performance.now() - warnedAt > WARN_EVERY) {
        warnedAt = performance.now()
        onRefuse(client)
      }
      return void socket.resetAndDestroy()
    }
    counts.set(client, count + 1)
    socket.once('close', () => {
      const remaining = (counts.get(client) ?? 1) - 1
      if (remaining === 0) counts.delete(client)
      else counts.set(client, remaining)
    })
  })
}
