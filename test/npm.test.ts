// The npm scripts that run the service, run through npm.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import packageJson from '../package.json' with { type: 'json' }

const ROOT = new URL('..', import.meta.url).pathname

/** Starts a script in a process group of its own, which ends with the test: npm, its shell and the server. */
function startScript(t: Test, script: string, env: Record<string, string>): ChildProcess {
  const settings = Object.entries({ PATH: process.env.PATH, HOME: t.testdirName, PORT: '0', ...env }).map((pair) => pair.join('='))
  const npm = spawn('env', ['-i', ...settings, 'npm', 'run', '--silent', script, '--', '--drain', '0'], {
    cwd: ROOT,
    stdio: 'pipe',
    detached: true,
  })
  t.teardown(() => {
    // The group is gone where the test went well.
    if (npm.pid && isAlive(-npm.pid)) process.kill(-npm.pid, 'SIGKILL')
  })
  return npm
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

for (const script of ['start', 'demo'] as const) {
  t.test(`SIGTERM to "npm run ${script}" stops the server`, async (t) => {
    const npm = startScript(t, script, { DATABASE_URL: `file:${join(t.testdir(), 'test.db')}` })
    let said = ''
    npm.stdout?.on('data', (chunk) => {
      said += chunk
    })
    let failed = ''
    npm.stderr?.on('data', (chunk) => {
      failed += chunk
    })
    // The pipes close when the last process that writes to them has ended.
    const closed = once(npm, 'close')
    while (!/^curl .*\n/m.test(said)) {
      const [chunk] = await Promise.race([once(npm.stdout ?? npm, 'data'), closed])
      if (!Buffer.isBuffer(chunk)) throw new Error(`npm ended: ${failed}`)
    }
    const [, url] = /listens on (\S+)/.exec(said) ?? []
    t.equal((await fetch(`${url}/api/products/`)).status, 200)
    if (script === 'demo') t.match(said.trim().split('\n').at(-1), /^curl .*stk_1_/, 'the admin key is what stays on the screen')
    npm.kill('SIGTERM')
    await closed
    t.notOk(npm.pid && isAlive(-npm.pid), 'no process of it is left')
    await t.rejects(fetch(`${url}/livez`), 'its port is free')
  })
}

t.test('a script that runs the command line replaces its shell', async (t) => {
  const last = (line: string) => line.split('&& ').at(-1)
  const scripts = Object.entries(packageJson.scripts).filter(([, line]) => line.includes('node src/cli.ts'))
  t.strictSame(Object.fromEntries(scripts.filter(([, line]) => !last(line)?.startsWith('exec '))), {})
  t.ok(scripts.length >= 4)
})
