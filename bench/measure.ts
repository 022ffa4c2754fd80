// The method of measurement. Two servers run at the same time on the same core, so that other load affects both alike. Each round
// compares the CPU time per request, and the median ratio of all rounds counts.
import { setTimeout } from 'node:timers/promises'
import { Child, LOAD_CORE } from './child.ts'
import type { LoadJob, LoadResult } from './load.ts'
import type { Usage } from './serve.ts'

export interface Pace {
  rounds: number
  /** Seconds per round. */
  seconds: number
  /** Seconds. */
  warmUp: number
}

export const PACE: Pace = { rounds: 6, seconds: 4, warmUp: 2 }
export const QUICK: Pace = { rounds: 3, seconds: 1, warmUp: 0.5 }

/** Seconds that the load outlasts the last round. */
const MARGIN = 1

/** A server and its load. */
export interface Side {
  server: Child<string>
  requests: LoadJob['requests']
  connections: number
  /** Expected status of every response; any 2xx by default. */
  status?: number
}

interface Measurement {
  /** Microseconds of CPU time per request, median of the rounds. */
  cpu: number
  perSecond: number
  /** Response times in milliseconds. */
  p50: number
  p99: number
  /** Resident bytes at the end. */
  memory: number
}

export interface Comparison {
  a: Measurement
  b: Measurement
  /** CPU time of `b` relative to `a`; above 1, `a` is faster. */
  ratio: number
  /** Requests of `a` per request of `b`. Use it if another process does most of the work. */
  throughput: number
}

export async function compare(a: Side, b: Side, pace: Pace): Promise<Comparison> {
  const sides = [a, b]
  const loads = await Promise.all(sides.map(() => Child.start('load.ts', null, LOAD_CORE)))
  try {
    const send = (seconds: number) => sides.map((side, index) => runLoad(loads[index], side, seconds))
    await Promise.all(send(pace.warmUp))
    const loading = Promise.all(send(pace.rounds * pace.seconds + MARGIN))
    // A load that fails before the rounds are over rejects here too.
    const [usages, [ofA, ofB]] = await Promise.all([measureRounds(sides, pace), loading])
    const costs = [0, 1].map((side) => usages.slice(1).map((after, round) => computeCost(usages[round]?.[side], after[side])))
    const requests = [0, 1].map((side) => usages.slice(1).map((after, round) => countRequests(usages[round]?.[side], after[side])))
    const ratios = usages.slice(1).map((_, round) => (costs[1]?.[round] ?? 0) / (costs[0]?.[round] ?? 0))
    const throughputs = usages.slice(1).map((_, round) => (requests[0]?.[round] ?? 0) / (requests[1]?.[round] ?? 0))
    return { a: buildMeasurement(0, ofA), b: buildMeasurement(1, ofB), ratio: median(ratios), throughput: median(throughputs) }

    function buildMeasurement(side: number, load: LoadResult | undefined): Measurement {
      if (!load) throw new Error('The load sent no requests.')
      const { responses, seconds, p50, p99 } = load
      return { cpu: median(costs[side] ?? []), perSecond: responses / seconds, p50, p99, memory: usages.at(-1)?.[side]?.memory ?? 0 }
    }
  } finally {
    await Promise.all(loads.map((load) => load.stop()))
  }
}

async function runLoad(
  load: Child | undefined,
  { server, requests, connections, status: expected }: Side,
  seconds: number,
): Promise<LoadResult | undefined> {
  const job: LoadJob = { origin: server.ready, connections, seconds, requests }
  const result = await load?.call<LoadResult>('run', job)
  const bad = Object.keys(result?.statuses ?? {}).filter((status) => (expected ? status !== String(expected) : !status.startsWith('2')))
  if (bad.length > 0 || result?.errors)
    throw new Error(`The load got ${bad.join(' and ') || 'broken connections'}: ${JSON.stringify(result)}`)
  return result
}

/** Reads the usage of both sides at the start and after each round. A round without a response from a server is merged with the next. */
async function measureRounds(sides: Side[], pace: Pace): Promise<Usage[][]> {
  const readUsages = () => Promise.all(sides.map(({ server }) => server.call<Usage>('usage')))
  const usages = [await readUsages()]
  for (let round = 0; round < pace.rounds; round++) {
    await setTimeout(pace.seconds * 1_000)
    const usage = await readUsages()
    if (usage.every(({ requests }, side) => requests > (usages.at(-1)?.[side]?.requests ?? 0))) usages.push(usage)
  }
  if (usages.length === 1) throw new Error('A server sent no response in any round.')
  return usages
}

const countRequests = (before: Usage | undefined, after: Usage | undefined) => (after?.requests ?? 0) - (before?.requests ?? 0)

const computeCost = (before: Usage | undefined, after: Usage | undefined) =>
  ((after?.cpu ?? 0) - (before?.cpu ?? 0)) / countRequests(before, after)

export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  return ((sorted[Math.ceil(middle) - 1] ?? 0) + (sorted[Math.floor(middle)] ?? 0)) / 2
}
