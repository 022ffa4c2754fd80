// A server as seen through a cable that can be cut, held up and plugged in again.
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Test } from 'tap'

export interface Cable {
  /** Where clients find the server: the same URL by another port. */
  url: string
  /** Ends every connection, and takes no new one. */
  cut(): Promise<void>
  plug(): Promise<void>
  /** Connections stay, and nothing that clients say gets through. */
  hold(on: boolean): void
  /** Connections that are there stay, and nothing gets through any more, as after a fail-over. New ones work. */
  abandon(): void
}

/** `defaultPort` is that of a URL without one. */
export async function cable(t: Pick<Test, 'teardown'>, url: string, defaultPort: number): Promise<Cable> {
  const target = new URL(url)
  const [host, hostPort] = [target.hostname, Number(target.port || defaultPort)]
  const sockets = new Set<Socket>()
  const abandoned = new WeakSet<Socket>()
  let held = false
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
    near.on('data', (chunk) => held || abandoned.has(near) || far.write(chunk))
    far.on('data', (chunk) => abandoned.has(far) || near.write(chunk))
  })
  const plug = async (port: number) => void (await once(server.listen(port, '127.0.0.1'), 'listening'))
  const cut = async () => {
    const closed = once(server, 'close')
    server.close()
    for (const socket of sockets) socket.destroy()
    sockets.clear()
    await closed
  }
  await plug(0)
  const { port } = server.address() as AddressInfo
  t.teardown(() => server.listening && cut())
  target.hostname = '127.0.0.1'
  target.port = String(port)
  return {
    url: target.href,
    cut,
    plug: () => plug(port),
    hold: (on) => {
      held = on
    },
    abandon: () => {
      for (const socket of sockets) abandoned.add(socket)
    },
  }
}
