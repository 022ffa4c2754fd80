// A worker in a process of its own: what it runs it writes into a table.
import { setTimeout } from 'node:timers/promises'
import { Type } from '@sinclair/typebox'
import { sql } from 'drizzle-orm'
import { buildApp } from '../../src/app.ts'
import { loadConfig } from '../../src/config.ts'

const app = await buildApp({
  config: loadConfig({ ...process.env, LOG_LEVEL: 'silent', WORKER: 'true' }),
  handlers: {
    'test.share': {
      payload: Type.Object({ n: Type.Integer() }),
      policy: { attempts: 3, delay: 1, maxDelay: 10, concurrency: 4, hasHistory: true },
      run: async ({ db }, payload) => {
        const { n } = payload as { n: number }
        // Long enough for every process to come to some of them.
        await setTimeout(25)
        await db.write((tx) => tx.run(sql`insert into ran (n, process) values (${n}, ${process.pid})`))
      },
    },
  },
})
await app.ready()
// A process without a parent that listens has nothing to do.
process.stdin.on('end', () => app.close()).resume()
process.stdout.write('ready\n')
