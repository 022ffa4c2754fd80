// node test/soak/consistency.ts: 30 seconds of load for each arrangement of instances, and 20 kills on each database.
import { surviveKills } from '../consistency/kills.ts'
import { serve, withScope } from '../consistency/process.ts'
import type { Report } from '../consistency/session.ts'
import { measureIdleLags, runWorkload } from '../consistency/workload.ts'
import { DIALECTS, type Dialect } from '../dialects.ts'
import type { Scope } from '../node-process.ts'
import { REDIS, skip } from '../redis.ts'

const SECONDS = Number(process.env.SECONDS || 30)
const KILLS = Number(process.env.KILLS || 20)
const QUIET_WRITES = 40
/** The lag in ms that an instance on PostgreSQL may have behind writes of another. */
const BOUND = 1_000

const say = (text: string) => void process.stdout.write(`${text}\n`)

async function show(title: string, dialect: Dialect, work: (scope: Scope, database: string) => Promise<Report>): Promise<void> {
  if (dialect.skip) return say(`${title} [${dialect.name}]: not run: ${dialect.skip}`)
  const { faults, figures } = await withScope(async (scope) => work(scope, await dialect.create(scope)))
  const entries = Object.entries(figures).map(([name, value]) => `${name} ${value.toLocaleString('en')}`)
  say(`${title} [${dialect.name}]: ${faults.length === 0 ? 'right' : 'WRONG'}; ${entries.join(', ')}`)
  for (const fault of faults) say(`  ${fault.slice(0, 2_000)}`)
  if (faults.length > 0) process.exitCode = 1
}

async function startInstances(
  scope: Scope,
  database: string,
  instances: number,
  env: Record<string, string> = {},
): Promise<{ origins: string[]; database: string }> {
  const origins: string[] = []
  while (origins.length < instances) origins.push((await serve(scope, database, env)).origin)
  return { origins, database }
}

const arrangements: [title: string, instances: number, env?: Record<string, string>][] = [
  ['one instance', 1],
  ['two instances', 2],
  ['two instances with little memory', 2, { CACHE_MAX_BYTES: '65536' }],
  ...(skip ? [] : [['two instances with Redis', 2, { REDIS_URL: REDIS }] as [string, number, Record<string, string>]]),
]

for (const dialect of DIALECTS) {
  const bound = dialect.name === 'pg' ? BOUND : 0
  for (const [title, instances, env] of arrangements) {
    await show(`${title}, ${SECONDS} s`, dialect, async (scope, database) =>
      runWorkload(scope, { ...(await startInstances(scope, database, instances, env)), bound, seconds: SECONDS }),
    )
  }
  await show('an idle instance', dialect, async (scope, database) => {
    const worst = Math.max(...(await measureIdleLags(scope, await startInstances(scope, database, 2), QUIET_WRITES)))
    return { faults: worst > bound ? [`the lag is ${worst} ms`] : [], figures: { writes: QUIET_WRITES, 'worst lag': Math.round(worst) } }
  })
  await show(`${KILLS} kills`, dialect, (scope, database) => surviveKills(scope, database, KILLS))
}
