// The npm scripts that run the service, started through npm.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import packageJson from '../package.json' with { type: 'json' }

const ROOT = new URL('..', import.meta.url).pathname

/** Starts a script in a separate process group (npm, its shell and the server). The group ends with the test. */
function startScript(t: Test, script: string, env: Record<string, string>): ChildProcess {
  const settings = Object.entries({ PATH: process.env.PATH, HOME: t.testdirName, PORT: '0', ...env }).map((pair) => pair.join('='))
  const npm = spawn('env', ['-i', ...settings, 'npm', 'run', '--silent', script, '--', '--drain', '0'], {
    cwd: ROOT,
    stdio: 'pipe',
    detached: true,
  })
  t.teardown(() => {
    // After a successful test the group is gone.
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

const isListening = (url: string): Promise<boolean> =>
  fetch(`${url}/livez`).then(
    () => true,
    () => false,
  )

/** Waits until a script serves. Returns its output, its URL, and a promise that resolves when its last process ends. */
async function waitUntilServed(npm: ChildProcess): Promise<{ output: string; url: string; closed: Promise<unknown[]> }> {
  let [output, errors] = ['', '']
  npm.stdout?.on('data', (chunk) => {
    output += chunk
  })
  npm.stderr?.on('data', (chunk) => {
    errors += chunk
  })
  // The pipes close when the last process that writes to them ends.
  const closed = once(npm, 'close')
  while (!/^curl .*\n/m.test(output)) {
    const [chunk] = await Promise.race([once(npm.stdout ?? npm, 'data'), closed])
    if (!Buffer.isBuffer(chunk)) throw new Error(`npm ended: ${errors}`)
  }
  return { output, url: /listens on (\S+)/.exec(output)?.[1] ?? '', closed }
}

for (const script of ['start', 'demo'] as const) {
  t.test(`SIGTERM to "npm run ${script}" stops the server`, async (t) => {
    const npm = startScript(t, script, { DATABASE_URL: `file:${join(t.testdir(), 'test.db')}` })
    const { output, url, closed } = await waitUntilServed(npm)
    t.equal((await fetch(`${url}/api/products/`)).status, 200)
    if (script === 'demo') t.match(output.trim().split('\n').at(-1), /^curl .*stk_1_/, 'the admin key is in the last line of output')
    npm.kill('SIGTERM')
    await closed
    t.notOk(npm.pid && isAlive(-npm.pid), 'no process of the group is left')
    await t.rejects(fetch(`${url}/livez`), 'its port is free')
  })
}

// systemd signals the whole group, and npm passes the signal on: the server may get it twice.
t.test('SIGTERM to the process group of "npm start" lets requests under way finish', async (t) => {
  const npm = startScript(t, 'start', { DATABASE_URL: `file:${join(t.testdir(), 'test.db')}` })
  const { output, url, closed } = await waitUntilServed(npm)
  const [key] = /stk_1_\w+/.exec(output) ?? []
  const body = '{"name": "Half a body", "price": "1.00"}'
  const headers = `Host: x\r\nAuthorization: Bearer ${key}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}`
  const client = connect(Number(new URL(url).port), '127.0.0.1').on('error', () => {})
  t.teardown(() => client.destroy())
  const answer = text(client).catch(String)
  client.write(`POST /api/products/ HTTP/1.1\r\n${headers}\r\n\r\n${body.slice(0, 20)}`)
  t.equal((await fetch(`${url}/livez`)).status, 200)
  process.kill(-(npm.pid ?? 0), 'SIGTERM')
  // The listener closes at the first signal. If the server did not ignore the second, it would end before the body is complete.
  while (await isListening(url)) await setTimeout(5)
  await setTimeout(300)
  client.write(body.slice(20))
  t.match(await answer, /^HTTP\/1\.1 201 /)
  t.strictSame(await closed, [0, null], 'the exit code is 0')
})

t.test('a script that runs the command line replaces its shell', async (t) => {
  const last = (line: string) => line.split('&& ').at(-1)
  const scripts = Object.entries(packageJson.scripts).filter(([, line]) => line.includes('node src/cli.ts'))
  t.strictSame(Object.fromEntries(scripts.filter(([, line]) => !last(line)?.startsWith('exec '))), {})
  t.ok(scripts.length >= 4)
})
