// A PostgreSQL server of a test's own, which it may break.
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, globSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

/** Bytes of a file that is in the way, and of its parts: smaller than what PostgreSQL asks for at once. */
const PART = 8_192

export interface Server {
  url: string
  /** Leaves no space on its disk. */
  fillDisk(): void
  freeDisk(): void
}

/** Starts a server on a disk of its own of a size such as `100m`; undefined where that cannot be done here. It ends with the test. */
export async function startServer(t: Test, { disk }: { disk: string }): Promise<Server | undefined> {
  const [bin] = globSync('/usr/lib/postgresql/*/bin')
  if (!bin) return undefined
  const folder = mkdtempSync(join(tmpdir(), 'stockroom-pg-'))
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${disk},mode=0755`, 'tmpfs', folder])
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  if (mounted.status !== 0) return undefined
  t.teardown(() => spawnSync('umount', ['--lazy', folder]))
  const { stdout: uid } = spawnSync('id', ['-u', 'postgres'], { encoding: 'utf8' })
  chownSync(folder, Number(uid), statSync(folder).gid)

  const data = join(folder, 'data')
  const asPostgres = (program: string, args: string[]) => {
    const { status, stderr } = spawnSync('runuser', ['-u', 'postgres', '--', join(bin, program), ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    if (status !== 0) throw new Error(`${program}: ${stderr}`)
  }
  asPostgres('initdb', ['-D', data, '-A', 'trust', '--no-sync', '--encoding', 'UTF8', '--locale', 'C.UTF-8', '--wal-segsize', '1'])
  const port = await findPort()
  const settings = {
    listen_addresses: '127.0.0.1',
    port,
    unix_socket_directories: '',
    fsync: 'off',
    max_wal_size: '4MB',
    shared_buffers: '8MB',
  }
  const options = Object.entries(settings).map(([name, value]) => `-c ${name}=${value === '' ? "''" : value}`)
  asPostgres('pg_ctl', ['-D', data, '-w', '-l', join(folder, 'log'), '-o', options.join(' '), 'start'])
  t.teardown(() => asPostgres('pg_ctl', ['-D', data, '-m', 'immediate', 'stop']))

  const filler = join(folder, 'filler')
  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    fillDisk: () => fill(filler),
    freeDisk: () => rmSync(filler),
  }
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
