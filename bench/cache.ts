// Benchmarks of the cache: hits, 304, hooks, skewed reads beside writes, memory, cost of writes, lag of other instances.
import { setTimeout } from 'node:timers/promises'
import { brands } from './catalogue.ts'
import { Child, SERVER_CORE } from './child.ts'
import type { Catalogue, Copy, Engine } from './databases.ts'
import { withKey } from './key.ts'
import { filteredPages, LIST } from './kinds.ts'
import { type Comparison, compare, median, type Pace, type Side } from './measure.ts'
import { createRandom, type Random, repeatByWeight } from './random.ts'
import type { Usage } from './serve.ts'
import type { ServerInput } from './server.ts'
import { formatFigure, formatMegabytes, formatVerdict, type Table } from './table.ts'

/** Least ratio of a hit to a Buffer from a route with the same hooks. */
const HIT_TARGET = 0.65
/** Least ratio of a 304 to the same Buffer. */
const NOT_MODIFIED_TARGET = 0.8
/** Most microseconds that all hooks may add to a request of plain Fastify. */
const HOOKS_TARGET = 10
/** Highest cost of a write with counters, relative to one without. */
const WRITE_TARGET = 1.15
/** Longest lag of another instance, in milliseconds. */
const LAG_TARGET = 1_000

const MAX_BYTES = 64 * 2 ** 20

const CONNECTIONS = 8
const PG_CONNECTIONS = 16

/** The TTL outlasts the measurement. */
const CACHED = { CACHE_TTL: '3600' }
/** Default TTL of the service. */
const DEFAULT = { CACHE_TTL: '60' }
const UNCACHED = { CACHE_TTL: '0' }

interface CacheOptions {
  catalogues: { sqlite: Catalogue; pg?: Catalogue }
  rows: number
  /** Text that the name of a part must contain. */
  kind: string
  quick: boolean
  pace: Pace
}

type Part = (options: CacheOptions, log: (line: string) => void) => Promise<Table>

const parts: Record<string, Part> = {
  hits: measureHits,
  hooks: measureHooks,
  skewed: measureSkewed,
  memory: measureMemory,
  writes: measureWrites,
  lag: measureLag,
}

export async function* measureCache(options: CacheOptions, log: (line: string) => void): AsyncGenerator<Table> {
  for (const [name, part] of Object.entries(parts)) {
    if (!name.includes(options.kind)) continue
    log(`cache: ${name}`)
    yield await part(options, log)
  }
}

/** Measures hits and 304 responses, each beside a Buffer from a route of the same application. */
async function measureHits({ catalogues, pace }: CacheOptions, log: (line: string) => void): Promise<Table> {
  const { url } = catalogues.sqlite
  const rows: string[][] = []
  const kinds: { name: string; paths: readonly string[]; status: 200 | 304; target: number }[] = [
    { name: 'the first page', paths: [LIST], status: 200, target: HIT_TARGET },
    { name: `${filteredPages.length} filtered lists`, paths: filteredPages, status: 200, target: HIT_TARGET },
    { name: 'the first page, 304', paths: [LIST], status: 304, target: NOT_MODIFIED_TARGET },
  ]
  for (const { name, paths, status, target } of kinds) {
    const { a, b, ratio } = await withServers([{ url, limited: true, settings: CACHED }], async (cached) => {
      await readAll(cached.ready, paths)
      const responses = await readHits(cached.ready, paths)
      // The Buffer is as long as the median response.
      const { body = '' } = responses.toSorted((one, other) => one.body.length - other.body.length)[responses.length >> 1] ?? {}
      const headers = { ...withKey, ...(status === 304 && { 'if-none-match': responses[0]?.etag ?? '' }) }
      return withServers([{ url, limited: true, settings: CACHED, body }], async (buffer) => {
        const comparison = await compare(
          { server: cached, requests: { paths, headers }, connections: CONNECTIONS, status },
          { server: buffer, requests: { paths: ['/read'], headers: withKey }, connections: CONNECTIONS },
          pace,
        )
        await readHits(cached.ready, paths)
        return comparison
      })
    })
    log(`  ${name}: ${ratio.toFixed(2)}`)
    const figures = [a.cpu, b.cpu, a.perSecond, b.perSecond].map(formatFigure)
    rows.push([name, ratio.toFixed(2), `≥ ${target}`, formatVerdict(ratio >= target), ...figures])
  }
  return {
    title: 'SQLite: answers from the cache, and a Buffer from a route with the same hooks',
    head: ['request', 'ratio', 'target', '', 'µs cached', 'µs Buffer', 'req/s', 'Buffer'],
    rows,
  }
}

/** Measures the hooks that run before a route, beside plain Fastify. */
async function measureHooks({ catalogues, pace }: CacheOptions): Promise<Table> {
  const { url } = catalogues.sqlite
  const body = JSON.stringify({ results: 'x'.repeat(6_000) })
  const rows: string[][] = []
  for (const [caller, headers] of Object.entries({ 'with a key': withKey, 'without a key': {} })) {
    const { a, b } = await withServers([{ url, limited: true, settings: CACHED, body }], (ours) =>
      withServers([{ file: 'floor-buffer.ts', body }], (bare) =>
        compare(
          { server: ours, requests: { paths: ['/read'], headers }, connections: CONNECTIONS },
          { server: bare, requests: { paths: [LIST], headers }, connections: CONNECTIONS },
          pace,
        ),
      ),
    )
    const added = a.cpu - b.cpu
    rows.push([
      `a Buffer, ${caller}`,
      formatFigure(a.cpu),
      formatFigure(b.cpu),
      formatFigure(added),
      `≤ ${HOOKS_TARGET} µs`,
      formatVerdict(added <= HOOKS_TARGET),
    ])
  }
  return {
    title: 'A Buffer from a route with all hooks, and from Fastify alone: µs of CPU time per request',
    head: ['request', 'µs', 'Fastify', 'added µs', 'target', ''],
    rows,
  }
}

/** Lists, most popular first. Every write to a product outdates all of them. */
const POPULAR = brands.flatMap((brand) =>
  ['price', '-created_at'].map((ordering) => `${LIST}?brand=${encodeURIComponent(brand)}&ordering=${ordering}`),
)
const REQUESTS = 5_000
/** Milliseconds between two requests of the client that counts hits. */
const SAMPLE = 5

async function measureSkewed({ catalogues, rows, pace }: CacheOptions, log: (line: string) => void): Promise<Table> {
  const popular = repeatByWeight(POPULAR, (rank) => 1 / (rank + 1))
  const random = createRandom(4)
  const paths = Array.from({ length: REQUESTS }, () => random.pick(popular))
  const copies = [await catalogues.sqlite.copy('cached'), await catalogues.sqlite.copy('uncached')] as const
  const table: string[][] = []
  try {
    for (const perSecond of [0, 1, 10]) {
      const inputs = [
        { url: copies[0].url, settings: DEFAULT },
        { url: copies[1].url, settings: UNCACHED },
      ]
      await withServers(inputs, async (cached, uncached) => {
        for (const { ready } of [cached, uncached]) await readAll(ready, POPULAR)
        const stopping = new AbortController()
        const meanwhile = Promise.all([
          writeUntil([cached.ready, uncached.ready], rows, perSecond, stopping.signal),
          sample(cached.ready, () => random.pick(popular), stopping.signal),
        ])
        const side = (server: Child<string>): Side => ({ server, requests: { paths }, connections: CONNECTIONS })
        // A failed write ends the comparison too.
        const comparison = await Promise.race([compare(side(cached), side(uncached), pace), meanwhile.then(() => undefined)])
        stopping.abort()
        const [written, sampled] = await meanwhile
        if (!comparison) throw new Error('Writes ended before the measurement.')
        const { a, b, ratio } = comparison
        const share = sampled.hits / sampled.all
        log(`  ${perSecond} writes/s: ${formatFigure(share * 100)} % hits of ${sampled.all}`)
        const figures = [a.cpu, b.cpu, a.perSecond, b.perSecond, a.p99, b.p99].map(formatFigure)
        table.push([`${perSecond} writes/s (${written} made)`, `${formatFigure(share * 100)} %`, ratio.toFixed(2), ...figures])
      })
    }
  } finally {
    for (const copy of copies) await copy.remove()
  }
  return {
    title: `SQLite: ${POPULAR.length.toLocaleString('en')} lists by popularity, meanwhile written to, with the cache and without`,
    head: ['', 'hits', 'ratio', 'µs', 'without', 'req/s', 'without', 'p99 ms', 'without'],
    rows: table,
  }
}

/** Reprices products on all servers until `signal` aborts. Returns the number of writes to each. */
async function writeUntil(origins: string[], rows: number, perSecond: number, signal: AbortSignal): Promise<number> {
  const random = createRandom(5)
  let written = 0
  const started = performance.now()
  while (!signal.aborted) {
    await sleep(perSecond === 0 ? SAMPLE : started + ((written + 1) * 1_000) / perSecond - performance.now(), signal)
    if (perSecond === 0 || signal.aborted) continue
    const [path, price] = [pickPath(random, rows), pickPrice(random)]
    await Promise.all(origins.map((origin) => reprice(`${origin}${path}`, price)))
    written++
  }
  return written
}

/** Reads lists until `signal` aborts, and counts hits. */
async function sample(origin: string, pick: () => string, signal: AbortSignal): Promise<{ hits: number; all: number }> {
  let [hits, all] = [0, 0]
  while (!signal.aborted) {
    const { cached } = await read(`${origin}${pick()}`)
    all++
    if (cached) hits++
    await sleep(SAMPLE, signal)
  }
  return { hits, all }
}

const sleep = (milliseconds: number, signal: AbortSignal) => setTimeout(Math.max(1, milliseconds), undefined, { signal }).catch(() => {})

/** Lists to read: more than fit in the cache. */
const FILL_LISTS = 20_000
const IDS = 20

async function measureMemory({ catalogues, rows, quick }: CacheOptions): Promise<Table> {
  const { url } = catalogues.sqlite
  const random = createRandom(6)
  const buildPath = () => `${LIST}?id__in=${Array.from({ length: IDS }, () => 1 + random.whole(rows)).join()}`
  const paths = Array.from({ length: quick ? FILL_LISTS * 0.75 : FILL_LISTS }, buildPath)
  const memory: Record<'on' | 'off', number> = { on: 0, off: 0 }
  let bytes = 0
  for (const [name, settings] of Object.entries({ on: { ...CACHED, CACHE_MAX_BYTES: String(MAX_BYTES) }, off: UNCACHED }))
    await withServers([{ url, settings }], async (server) => {
      bytes = await readAll(server.ready, paths)
      if (name === 'on') await checkFull(server.ready, paths)
      memory[name as 'on' | 'off'] = (await server.call<Usage>('usage')).memory
    })
  const added = memory.on - memory.off
  return {
    title: `${paths.length.toLocaleString('en')} lists of ${formatMegabytes(bytes)} in all, of which ${formatMegabytes(MAX_BYTES)} are kept`,
    head: ['', 'RSS', 'without the cache', 'added'],
    rows: [['the server', formatMegabytes(memory.on), formatMegabytes(memory.off), formatMegabytes(added)]],
  }
}

/** Reads every path once. Returns the bytes of all bodies. */
async function readAll(origin: string, paths: readonly string[]): Promise<number> {
  const waiting = paths.values()
  let bytes = 0
  const client = async () => {
    for (const path of waiting) {
      const { body } = await read(`${origin}${path}`)
      bytes += body.length
    }
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, client))
  return bytes
}

/** Throws unless the cache holds the last list and has evicted the first. */
async function checkFull(origin: string, paths: string[]): Promise<void> {
  const [last, first] = [await read(`${origin}${paths.at(-1)}`), await read(`${origin}${paths[0]}`)]
  if (!last.cached || first.cached) throw new Error('The cache is not full.')
}

const COUNTERS = ['inserted', 'updated', 'deleted'] as const

const dropCounter: Record<Engine, (name: string) => string> = {
  sqlite: (name) => `drop trigger products_${name}`,
  pg: (name) => `drop trigger products_${name} on products`,
}
const labels: Record<Engine, string> = { sqlite: 'SQLite', pg: 'PostgreSQL' }
const connections: Record<Engine, number> = { sqlite: CONNECTIONS, pg: PG_CONNECTIONS }

/** Measures writes to a database with change counters, beside one without. */
async function measureWrites({ catalogues, rows, pace }: CacheOptions, log: (line: string) => void): Promise<Table> {
  const table: string[][] = []
  const kinds: Record<string, Side['requests']> = { create: { create: LIST }, update: { update: LIST, rows } }
  for (const engine of ['sqlite', 'pg'] as const) {
    const catalogue = catalogues[engine]
    if (!catalogue) continue
    for (const [name, requests] of Object.entries(kinds)) {
      const comparison = await compareWrites(engine, catalogue, requests, pace)
      const slowdown = computeSlowdown[engine](comparison)
      log(`  ${labels[engine]}, ${name}: ${slowdown.toFixed(2)}`)
      const { a, b } = comparison
      const figures = [a.cpu, b.cpu, a.perSecond, b.perSecond, a.p50, b.p50].map(formatFigure)
      table.push([
        `${labels[engine]}, ${name}`,
        slowdown.toFixed(2),
        `≤ ${WRITE_TARGET}`,
        formatVerdict(slowdown <= WRITE_TARGET),
        ...figures,
      ])
    }
  }
  return {
    title:
      'Writes with the counters and without: by CPU time on SQLite, on PostgreSQL, whose CPU time is its own, by writes in the same time',
    head: ['request', 'ratio', 'target', '', 'µs', 'without', 'req/s', 'without', 'p50 ms', 'without'],
    rows: table,
  }
}

/** Computes the cost of counters. PostgreSQL's work is no CPU time of our process, so there the throughput counts. */
const computeSlowdown: Record<Engine, (compared: Comparison) => number> = {
  sqlite: ({ ratio }) => 1 / ratio,
  pg: ({ throughput }) => 1 / throughput,
}

async function compareWrites(engine: Engine, catalogue: Catalogue, requests: Side['requests'], pace: Pace): Promise<Comparison> {
  const copies: Copy[] = []
  try {
    for (const name of ['counted', 'uncounted']) copies.push(await catalogue.copy(name))
    const [counted, uncounted] = copies as [Copy, Copy]
    await uncounted.run(...COUNTERS.map(dropCounter[engine]))
    return await withServers(
      [counted, uncounted].map(({ url }) => ({ url, settings: DEFAULT })),
      async (a, b) => {
        const side = (server: Child<string>): Side => ({ server, requests, connections: connections[engine] })
        const before = [await readState(a.ready), await readState(b.ready)]
        const comparison = await compare(side(a), side(b), pace)
        if ((await readState(a.ready)) === before[0]) throw new Error('The database with counters has counted nothing.')
        if ((await readState(b.ready)) !== before[1]) throw new Error('The database without counters has counted.')
        return comparison
      },
    )
  } finally {
    for (const copy of copies) await copy.remove()
  }
}

/** Reads a text that changes with every counted write: the ETag of an empty list. */
const readState = async (origin: string) => (await read(`${origin}${LIST}?id=${Number.MAX_SAFE_INTEGER}`)).etag

/** Writes by another instance: their number, and the longest pause between two in milliseconds, which spreads them over the reader's polls. */
const INSTANCE_WRITES = { amount: 500, pause: 50 }
/** Writes by another program, which sends no notifications. */
const PROGRAM_WRITES = { amount: 50, pause: 500 }

/** Measures how long another instance serves outdated responses. */
async function measureLag({ catalogues, rows, quick }: CacheOptions): Promise<Table> {
  const table: string[][] = []
  const copy = await catalogues.pg?.copy('lag')
  try {
    if (copy)
      await withServers(
        [copy, copy].map(({ url }) => ({ url, settings: DEFAULT })),
        async (writer, reader) => {
          const kinds: { name: string; amount: number; pause: number; write: Write }[] = [
            { name: 'another instance', ...INSTANCE_WRITES, write: (path, price) => reprice(`${writer.ready}${path}`, price) },
            { name: 'another program', ...PROGRAM_WRITES, write: (path, price) => copy.run(updateStatement(path, price)) },
          ]
          for (const { name, amount, pause, write } of kinds) {
            const lags = await measureLags(reader.ready, rows, { amount: quick ? amount / 10 : amount, pause }, write)
            const max = Math.max(...lags)
            const figures = [median(lags), percentile(lags, 0.99), max].map(formatFigure)
            table.push([name, String(lags.length), ...figures, `≤ ${LAG_TARGET} ms`, formatVerdict(max <= LAG_TARGET)])
          }
        },
      )
  } finally {
    await copy?.remove()
  }
  return {
    title: 'PostgreSQL: from the answer to a write to the first answer of another instance that has it',
    head: ['written by', 'writes', 'median ms', 'p99 ms', 'max ms', 'target', ''],
    rows: table,
  }
}

const updateStatement = (path: string, price: string) =>
  `update products set price = ${Math.round(Number(price) * 100)} where id = ${path.split('/').at(-2)}`

/** Milliseconds after which a write counts as lost. */
const LAG_LIMIT = 30_000

type Write = (path: string, price: string) => Promise<void>

async function measureLags(reader: string, rows: number, { amount, pause }: typeof INSTANCE_WRITES, write: Write): Promise<number[]> {
  const random = createRandom(7)
  const lags: number[] = []
  while (lags.length < amount) {
    const [path, price] = [pickPath(random, rows), pickPrice(random)]
    const readPrice = async () => (JSON.parse((await read(`${reader}${path}`)).body) as { price: string }).price
    // Two reads put the record into the cache.
    if ((await readPrice()) === price || (await readPrice()) === price) continue
    await write(path, price)
    const written = performance.now()
    while ((await readPrice()) !== price)
      if (performance.now() > written + LAG_LIMIT) throw new Error(`${path} still shows its old price after ${LAG_LIMIT} ms.`)
    lags.push(performance.now() - written)
    await setTimeout(random.whole(pause))
  }
  return lags
}

const percentile = (values: number[], share: number) => values.toSorted((a, b) => a - b)[Math.ceil(values.length * share) - 1] ?? 0

const pickPath = (random: Random, rows: number) => `${LIST}${1 + random.whole(rows)}/`
const pickPrice = (random: Random) => (random.whole(5_000_000) / 100).toFixed(2)

async function reprice(url: string, price: string): Promise<void> {
  const headers = { 'content-type': 'application/json', ...withKey }
  const response = await fetchWithRetry(url, { method: 'PATCH', headers, body: JSON.stringify({ price }) })
  const body = await response.text()
  if (!response.ok) throw new Error(`PATCH ${url} failed with ${response.status}: ${body}`)
}

/** Pause in milliseconds and number of retries after 503, which the load of the benchmark itself causes. */
const RETRY = { pause: 500, times: 20 }

async function fetchWithRetry(url: string, init: RequestInit): Promise<Response> {
  for (let left = RETRY.times; ; left--) {
    const response = await fetch(url, init)
    if (response.status !== 503 || left === 0) return response
    await response.body?.cancel()
    await setTimeout(RETRY.pause)
  }
}

interface CachedResponse {
  body: string
  etag: string
  cached: boolean
}

async function read(url: string): Promise<CachedResponse> {
  const response = await fetchWithRetry(url, { headers: { ...withKey, 'accept-encoding': 'identity' } })
  const body = await response.text()
  if (!response.ok) throw new Error(`GET ${url} failed with ${response.status}: ${body}`)
  const { headers } = response
  return { body, etag: headers.get('etag') ?? '', cached: /; hit\b/.test(headers.get('cache-status') ?? '') }
}

/** Reads paths from the cache. Throws if a response is no hit. */
async function readHits(origin: string, paths: readonly string[]): Promise<CachedResponse[]> {
  const responses: CachedResponse[] = []
  for (const path of paths) {
    const response = await read(`${origin}${path}`)
    if (!response.cached || !response.etag) throw new Error(`GET ${path} is no cache hit, or has no ETag.`)
    responses.push(response)
  }
  return responses
}

type Input = ServerInput | { file: string; body: string }

/** Starts servers on one core, and stops them after `work`. */
async function withServers<T, S extends Child<string>[]>(inputs: Input[], work: (...servers: S) => Promise<T>): Promise<T> {
  const servers: Child<string>[] = []
  try {
    for (const input of inputs) {
      const file = 'file' in input ? input.file : 'server.ts'
      servers.push(await Child.start<string>(file, input, SERVER_CORE))
    }
    return await work(...(servers as S))
  } finally {
    await Promise.all(servers.map((server) => server.stop()))
  }
}
