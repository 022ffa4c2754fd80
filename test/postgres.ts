// Starts a separate PostgreSQL server that a test may break.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { globSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

/** Bytes per write when filling a disk: less than PostgreSQL allocates at once. */
const PART = 8_192

export interface Server {
  url: string
  /** Fills the server's disk completely. */
  fillDisk(): void
  freeDisk(): void
}

/**
 * Starts a server on a separate disk, of a size such as `100m`. Returns undefined if the machine does not allow it. The server ends with
 * the test.
 */
export async function startServer(t: Test, { disk }: { disk: string }): Promise<Server | undefined> {
  const [bin] = globSync('/usr/lib/postgresql/*/bin')
  if (!bin) return undefined
  const folder = mkdtempSync(join(tmpdir(), 'stockroom-pg-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  if ((await run('mount', ['-t', 'tmpfs', '-o', `size=${disk},mode=0755`, 'tmpfs', folder])) !== 0) return undefined
  t.teardown(() => run('umount', ['--lazy', folder]))
  await run('chown', ['postgres', folder])

  const data = join(folder, 'data')
  const asPostgres = async (program: string, args: string[]) => {
    const status = await run('runuser', ['-u', 'postgres', '--', join(bin, program), ...args])
    if (status !== 0) throw new Error(`${program} ended with ${status}`)
  }
  await asPostgres('initdb', ['-D', data, '-A', 'trust', '--no-sync', '--encoding', 'UTF8', '--locale', 'C.UTF-8', '--wal-segsize', '1'])
  const port = await findPort()
  const settings = {
    listen_addresses: '127.0.0.1',
    port,
    unix_socket_directories: "''",
    fsync: 'off',
    max_wal_size: '4MB',
    shared_buffers: '8MB',
  }
  const options = Object.entries(settings).map(([name, value]) => `-c ${name}=${value}`)
  await asPostgres('pg_ctl', ['-D', data, '-w', '-l', join(folder, 'log'), '-o', options.join(' '), 'start'])
  t.teardown(() => asPostgres('pg_ctl', ['-D', data, '-m', 'immediate', 'stop']))

  const filler = join(folder, 'filler')
  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    fillDisk: () => fill(filler),
    freeDisk: () => rmSync(filler),
  }
}

/** Returns the exit code. It does not block, so that other tests of the process continue. */
async function run(program: string, args: string[]): Promise<number | null> {
  const [code] = (await once(spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] }), 'exit')) as [number | null]
  return code
}

function fill(file: string): void {
  const part = Buffer.alloc(PART)
  for (;;) {
    try {
      writeFileSync(file, part, { flag: 'a' })
    } catch {
      return
    }
  }
}

async function findPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}
