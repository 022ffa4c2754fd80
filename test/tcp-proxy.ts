// A TCP proxy in front of a server, to simulate lost and stalled connections.
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Test } from 'tap'

export interface TcpProxy {
  /** The server's URL with the port of the proxy. */
  url: string
  /** Closes every connection and refuses new ones. */
  disconnect(): Promise<void>
  reconnect(): Promise<void>
  /** Keeps connections open but drops what clients send. */
  setStalled(on: boolean): void
  /** Keeps existing connections open but drops all their data, as after a fail-over. New connections work. */
  stallExisting(): void
}

/** Starts a proxy. `defaultPort` is the port of a URL without one. */
export async function startProxy(t: Pick<Test, 'teardown'>, url: string, defaultPort: number): Promise<TcpProxy> {
  const target = new URL(url)
  const [host, hostPort] = [target.hostname, Number(target.port || defaultPort)]
  const sockets = new Set<Socket>()
  const stalledSockets = new WeakSet<Socket>()
  let stalled = false
  const server = createServer((near) => {
    const far = connect(hostPort, host)
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one)
      one.on('error', () => {})
      one.on('close', () => other.destroy())
    }
    near.on('data', (chunk) => stalled || stalledSockets.has(near) || far.write(chunk))
    far.on('data', (chunk) => stalledSockets.has(far) || near.write(chunk))
  })
  const listen = async (port: number) => void (await once(server.listen(port, '127.0.0.1'), 'listening'))
  const disconnect = async () => {
    const closed = once(server, 'close')
    server.close()
    for (const socket of sockets) socket.destroy()
    sockets.clear()
    await closed
  }
  await listen(0)
  const { port } = server.address() as AddressInfo
  t.teardown(() => server.listening && disconnect())
  target.hostname = '127.0.0.1'
  target.port = String(port)
  return {
    url: target.href,
    disconnect,
    reconnect: () => listen(port),
    setStalled: (on) => {
      stalled = on
    },
    stallExisting: () => {
      for (const socket of sockets) stalledSockets.add(socket)
    },
  }
}
