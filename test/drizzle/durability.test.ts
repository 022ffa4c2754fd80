// Commits on SQLite are synced to disk before their answers, several commits by one sync.
import { once } from 'node:events'
import { open as openFile } from 'node:fs/promises'
import { Agent } from 'node:http'
import { join } from 'node:path'
import { setImmediate, setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { WalSync } from '../../drizzle/sqlite/wal-sync.ts'
import { AUTHORIZATION, ask as askOrigin, serve } from '../consistency/process.ts'
import { DIALECTS, type Dialect } from '../dialects.ts'
import { ask, build, get } from '../helper.ts'

const [embedded] = DIALECTS as [Dialect]
const LIST = '/api/products/'

interface Sync {
  finish(): void
  fail(): void
}

/** Replaces `FileHandle.datasync` by a function that waits until the test finishes or fails it. */
async function holdSyncs(t: Test): Promise<{ syncs: Sync[]; waitFor(count: number): Promise<void> }> {
  const syncs: Sync[] = []
  const handle = await openFile(import.meta.filename)
  const prototype = Object.getPrototypeOf(handle)
  await handle.close()
  const { datasync } = prototype
  t.teardown(() => {
    prototype.datasync = datasync
    for (const sync of syncs) sync.finish()
  })
  prototype.datasync = () =>
    new Promise<void>((resolve, reject) => void syncs.push({ finish: resolve, fail: () => reject(new Error('EIO: i/o error, fdatasync')) }))
  return {
    syncs,
    async waitFor(count) {
      while (syncs.length < count) await setImmediate()
    },
  }
}

/** Waits for enough turns of the event loop to answer a request without a sync. */
async function passTurns(): Promise<void> {
  for (let turn = 0; turn < 100; turn++) await setImmediate()
}

t.test('a write is answered after a shared sync that began after its commit', async (t) => {
  const app = await build(t, embedded)
  // The first use of a key is a separate commit.
  await ask(app, 'POST', LIST, { sku: 'Z', name: 'Z', price: 1 })
  const pending = await holdSyncs(t)
  const answered: string[] = []
  const create = async (sku: string) => {
    const { status } = await ask(app, 'POST', LIST, { sku, name: sku, price: 1 })
    answered.push(`${sku} ${status}`)
  }
  const first = create('A')
  await pending.waitFor(1)
  const others = [create('B'), create('C'), create('D')]
  while ((await get(app, LIST)).body.count < 5) await setImmediate()
  await passTurns()
  t.strictSame(answered, [], 'readers see the commits, but no writer has an answer')
  pending.syncs[0]?.finish()
  await first
  await pending.waitFor(2)
  await passTurns()
  t.strictSame(answered, ['A 201'], 'commits during the first sync wait for the next one')
  pending.syncs[1]?.finish()
  await Promise.all(others)
  t.strictSame(answered.sort(), ['A 201', 'B 201', 'C 201', 'D 201'])
  t.equal(pending.syncs.length, 2)
})

t.test('the change feed has durable changes only', async (t) => {
  const app = await build(t, embedded)
  const pending = await holdSyncs(t)
  const creating = ask(app, 'POST', LIST, { sku: 'A', name: 'A', price: 1 })
  await pending.waitFor(1)
  let isAnswered = false
  const reading = get(app, '/api/changes/').then(({ body }) => {
    isAnswered = true
    return body.results.length
  })
  await passTurns()
  t.notOk(isAnswered)
  for (let ended = 0; !isAnswered; await setImmediate()) if (ended < pending.syncs.length) pending.syncs[ended++]?.finish()
  t.ok((await reading) > 0)
  await creating
})

t.test('a write without changes waits for no sync', async (t) => {
  const app = await build(t, embedded)
  const { body } = await ask(app, 'POST', LIST, { sku: 'A', name: 'A', price: 1 })
  const pending = await holdSyncs(t)
  t.equal((await ask(app, 'PATCH', `${LIST}${body.id}/`, { name: 'A' })).status, 200)
  t.equal((await ask(app, 'POST', LIST, { sku: 'A', name: 'B', price: 1 })).status, 409)
  t.equal(pending.syncs.length, 0)
})

t.test('the write-ahead log is closed after the sync of its last commit', async (t) => {
  const failures: Error[] = []
  const walSync = new WalSync(join(t.testdir({ 'test.db-wal': '' }), 'test.db'), (error) => void failures.push(error))
  const held = await holdSyncs(t)
  const first = walSync.commit()
  await held.waitFor(1)
  const second = walSync.commit()
  let isClosed = false
  const closing = walSync.close().then(() => {
    isClosed = true
  })
  held.syncs[0]?.finish()
  await held.waitFor(2)
  // Nothing announces that the file stays open, so this waits a moment.
  await setTimeout(50)
  t.notOk(isClosed)
  held.syncs[1]?.finish()
  await Promise.all([first, second, closing])
  t.strictSame(failures, [])
})

t.test('a failed sync refuses the write and ends the process', async (t) => {
  const folder = t.testdir({
    // The sync fails once the file `fail` exists.
    'preload.mjs': `
      import { existsSync } from 'node:fs'
      import { open } from 'node:fs/promises'
      const handle = await open(import.meta.filename)
      const prototype = Object.getPrototypeOf(handle)
      await handle.close()
      const { datasync } = prototype
      prototype.datasync = function () {
        return existsSync(new URL('fail', import.meta.url)) ? Promise.reject(new Error('EIO: i/o error, fdatasync')) : datasync.call(this)
      }`,
  })
  const database = `file:${join(folder, 'test.db')}`
  const { origin, child } = await serve(t, database, { NODE_OPTIONS: `--import=${join(folder, 'preload.mjs')}` })
  const send = (sku: string) => askOrigin(new Agent(), origin, 'POST', LIST, { body: { sku, name: sku, price: 1 }, headers: AUTHORIZATION })
  t.equal((await send('A')).status, 201)
  await (await openFile(join(folder, 'fail'), 'w')).close()
  const exit = once(child, 'exit')
  const refused = await send('B')
  t.match([refused.status, JSON.parse(refused.text).code], [503, 'database-unavailable'])
  t.strictSame(await exit, [null, 'SIGKILL'])
  const again = await serve(t, database)
  const list = await askOrigin(new Agent(), again.origin, 'GET', `${LIST}?sku=A`)
  t.equal(JSON.parse(list.text).count, 1, 'the acknowledged write is there')
})
