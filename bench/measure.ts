// The rule of measuring. Two servers run at the same time on the same core, so that whatever else the machine does meets both;
// CPU time per request is compared, in rounds, and the median of the rounds' ratios counts.
import { setTimeout } from 'node:timers/promises'
import { Child, LOAD_CORE } from './child.ts'
import type { Job, Load } from './load.ts'
import type { Usage } from './serve.ts'

export interface Pace {
  rounds: number
  /** Of a round. */
  seconds: number
  warmUp: number
}

export const PACE: Pace = { rounds: 6, seconds: 4, warmUp: 2 }
export const QUICK: Pace = { rounds: 3, seconds: 1, warmUp: 0.5 }

/** Seconds for which the load goes on after the last round is over, so that it does not end within it. */
const MARGIN = 1

/** A server, and what it is asked for. */
export interface Side {
  server: Child<string>
  requests: Job['requests']
  connections: number
  /** What every answer's status has to be; without it, any that begins with 2. */
  status?: number
}

export interface Measured {
  /** Microseconds of CPU time per request, the median of the rounds. */
  cpu: number
  perSecond: number
  /** Milliseconds. */
  p50: number
  p99: number
  /** Bytes, at the end. */
  memory: number
}

export interface Comparison {
  a: Measured
  b: Measured
  /** What a request costs `b`, by what it costs `a`: above 1, `a` is the faster. */
  ratio: number
  /** How many requests `a` answered for one of `b`: what counts where most of the work is another process's. */
  throughput: number
}

export async function compare(a: Side, b: Side, pace: Pace): Promise<Comparison> {
  const sides = [a, b]
  const loads = await Promise.all(sides.map(() => Child.start('load.ts', null, LOAD_CORE)))
  try {
    const send = (seconds: number) => sides.map((side, index) => run(loads[index], side, seconds))
    await Promise.all(send(pace.warmUp))
    const sent = Promise.all(send(pace.rounds * pace.seconds + MARGIN))
    // If a load fails before the rounds are over, that is what went wrong.
    const [usages, [ofA, ofB]] = await Promise.all([rounds(sides, pace), sent])
    const costs = [0, 1].map((side) => usages.slice(1).map((after, round) => perRequest(usages[round]?.[side], after[side])))
    const answered = [0, 1].map((side) => usages.slice(1).map((after, round) => requestsIn(usages[round]?.[side], after[side])))
    const ratios = usages.slice(1).map((_, round) => (costs[1]?.[round] ?? 0) / (costs[0]?.[round] ?? 0))
    const throughputs = usages.slice(1).map((_, round) => (answered[0]?.[round] ?? 0) / (answered[1]?.[round] ?? 0))
    return { a: measured(0, ofA), b: measured(1, ofB), ratio: median(ratios), throughput: median(throughputs) }

    function measured(side: number, load: Load | undefined): Measured {
      if (!load) throw new Error('nothing was sent')
      const { answers, seconds, p50, p99 } = load
      return { cpu: median(costs[side] ?? []), perSecond: answers / seconds, p50, p99, memory: usages.at(-1)?.[side]?.memory ?? 0 }
    }
  } finally {
    await Promise.all(loads.map((load) => load.stop()))
  }
}

async function run(
  load: Child | undefined,
  { server, requests, connections, status: due }: Side,
  seconds: number,
): Promise<Load | undefined> {
  const job: Job = { origin: server.ready, connections, seconds, requests }
  const done = await load?.ask<Load>('run', job)
  const bad = Object.keys(done?.statuses ?? {}).filter((status) => (due ? status !== String(due) : !status.startsWith('2')))
  if (bad.length > 0 || done?.errors) throw new Error(`the load met ${bad.join(' and ') || 'broken connections'}: ${JSON.stringify(done)}`)
  return done
}

/** What each side has used at the beginning, and after each round. One in which a server answered nothing is joined to the next. */
async function rounds(sides: Side[], pace: Pace): Promise<Usage[][]> {
  const look = () => Promise.all(sides.map(({ server }) => server.ask<Usage>('usage')))
  const usages = [await look()]
  for (let round = 0; round < pace.rounds; round++) {
    await setTimeout(pace.seconds * 1_000)
    const usage = await look()
    if (usage.every(({ requests }, side) => requests > (usages.at(-1)?.[side]?.requests ?? 0))) usages.push(usage)
  }
  if (usages.length === 1) throw new Error('a server is so slow that it answered nothing in all of the rounds')
  return usages
}

const requestsIn = (before: Usage | undefined, after: Usage | undefined) => (after?.requests ?? 0) - (before?.requests ?? 0)

const perRequest = (before: Usage | undefined, after: Usage | undefined) =>
  ((after?.cpu ?? 0) - (before?.cpu ?? 0)) / requestsIn(before, after)

export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  return ((sorted[Math.ceil(middle) - 1] ?? 0) + (sorted[Math.floor(middle)] ?? 0)) / 2
}
