// A worker in a separate process, which writes each job that it runs into a table.
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
        // Long enough for every process to get some of the jobs.
        await setTimeout(25)
        await db.write((tx) => tx.run(sql`insert into ran (n, process) values (${n}, ${process.pid})`))
      },
    },
  },
})
await app.ready()
// The process ends with its parent.
process.stdin.on('end', () => app.close()).resume()
process.stdout.write('ready\n')
