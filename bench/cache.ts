// What the cache is worth, and what it costs: hits, 304, hooks, a cache that is written to, one that is full, writes, other instances.
import { setTimeout } from 'node:timers/promises'
import { brands } from './catalogue.ts'
import { Child, SERVER_CORE } from './child.ts'
import type { Catalogue, Copy, Engine } from './databases.ts'
import { withKey } from './key.ts'
import { filteredPages, LIST } from './kinds.ts'
import { type Comparison, compare, median, type Pace, type Side } from './measure.ts'
import { byWeight, type Random, seeded } from './random.ts'
import type { Usage } from './serve.ts'
import type { ServerInput } from './server.ts'
import { figure, megabytes, type Table, verdict } from './table.ts'

/** The least that a hit and a 304 may be, by what a Buffer from a route with the same hooks costs. */
const HIT_TARGET = 0.65
const NOT_MODIFIED_TARGET = 0.8
/** Microseconds that all hooks may add to what Fastify itself does. */
const HOOKS_TARGET = 10
/** How much dearer the counters may make a write. */
const WRITE_TARGET = 1.15
/** Milliseconds that another instance may be behind. */
const LAG_TARGET = 1_000

const MAX_BYTES = 64 * 2 ** 20

const CONNECTIONS = 8
const PG_CONNECTIONS = 16

/** Answers live so long that none goes while it is measured. */
const CACHED = { CACHE_TTL: '3600' }
/** As the service comes. */
const USUAL = { CACHE_TTL: '60' }
const UNCACHED = { CACHE_TTL: '0' }

export interface CacheOptions {
  catalogues: { sqlite: Catalogue; pg?: Catalogue }
  rows: number
  /** Only parts with this in their name. */
  kind: string
  quick: boolean
  pace: Pace
}

type Part = (options: CacheOptions, log: (line: string) => void) => Promise<Table>

const parts: Record<string, Part> = { hits, hooks, skewed, memory, writes, lag }

export async function* measureCache(options: CacheOptions, log: (line: string) => void): AsyncGenerator<Table> {
  for (const [name, part] of Object.entries(parts)) {
    if (!name.includes(options.kind)) continue
    log(`cache: ${name}`)
    yield await part(options, log)
  }
}

/** Hits and 304, each beside a Buffer that a route of the same application answers. */
async function hits({ catalogues, pace }: CacheOptions, log: (line: string) => void): Promise<Table> {
  const { url } = catalogues.sqlite
  const rows: string[][] = []
  const kinds: { name: string; paths: readonly string[]; status: 200 | 304; target: number }[] = [
    { name: 'the first page', paths: [LIST], status: 200, target: HIT_TARGET },
    { name: `${filteredPages.length} filtered lists`, paths: filteredPages, status: 200, target: HIT_TARGET },
    { name: 'the first page, 304', paths: [LIST], status: 304, target: NOT_MODIFIED_TARGET },
  ]
  for (const { name, paths, status, target } of kinds) {
    const { a, b, ratio } = await together([{ url, limited: true, settings: CACHED }], async (cached) => {
      await askAll(cached.ready, paths)
      const answers = await cachedAnswers(cached.ready, paths)
      // Of the middle length, where they differ.
      const { body = '' } = answers.toSorted((one, other) => one.body.length - other.body.length)[answers.length >> 1] ?? {}
      const headers = { ...withKey, ...(status === 304 && { 'if-none-match': answers[0]?.etag ?? '' }) }
      return together([{ url, limited: true, settings: CACHED, body }], async (buffer) => {
        const compared = await compare(
          { server: cached, requests: { paths, headers }, connections: CONNECTIONS, status },
          { server: buffer, requests: { paths: ['/read'], headers: withKey }, connections: CONNECTIONS },
          pace,
        )
        await cachedAnswers(cached.ready, paths)
        return compared
      })
    })
    log(`  ${name}: ${ratio.toFixed(2)}`)
    const figures = [a.cpu, b.cpu, a.perSecond, b.perSecond].map(figure)
    rows.push([name, ratio.toFixed(2), `≥ ${target}`, verdict(ratio >= target), ...figures])
  }
  return {
    title: 'SQLite: answers from the cache, and a Buffer from a route with the same hooks',
    head: ['request', 'ratio', 'target', '', 'µs cached', 'µs Buffer', 'req/s', 'Buffer'],
    rows,
  }
}

/** What every request is asked before a route answers it, beside Fastify alone. */
async function hooks({ catalogues, pace }: CacheOptions): Promise<Table> {
  const { url } = catalogues.sqlite
  const body = JSON.stringify({ results: 'x'.repeat(6_000) })
  const rows: string[][] = []
  for (const [caller, headers] of Object.entries({ 'with a key': withKey, 'without a key': {} })) {
    const { a, b } = await together([{ url, limited: true, settings: CACHED, body }], (ours) =>
      together([{ file: 'floor-buffer.ts', body }], (bare) =>
        compare(
          { server: ours, requests: { paths: ['/read'], headers }, connections: CONNECTIONS },
          { server: bare, requests: { paths: [LIST], headers }, connections: CONNECTIONS },
          pace,
        ),
      ),
    )
    const added = a.cpu - b.cpu
    rows.push([`a Buffer, ${caller}`, figure(a.cpu), figure(b.cpu), figure(added), `≤ ${HOOKS_TARGET} µs`, verdict(added <= HOOKS_TARGET)])
  }
  return {
    title: 'A Buffer from a route with all hooks, and from Fastify alone: µs of CPU time per request',
    head: ['request', 'µs', 'Fastify', 'added µs', 'target', ''],
    rows,
  }
}

/** Lists that are asked for by their popularity, of which writes let none grow old. */
const POPULAR = brands.flatMap((brand) =>
  ['price', '-created_at'].map((ordering) => `${LIST}?brand=${encodeURIComponent(brand)}&ordering=${ordering}`),
)
const ASKED = 5_000
/** Milliseconds between two requests of the client that looks at what the cache says. */
const SAMPLE = 5

async function skewed({ catalogues, rows, pace }: CacheOptions, log: (line: string) => void): Promise<Table> {
  const popular = byWeight(POPULAR, (rank) => 1 / (rank + 1))
  const random = seeded(4)
  const paths = Array.from({ length: ASKED }, () => random.pick(popular))
  const copies = [await catalogues.sqlite.copy('cached'), await catalogues.sqlite.copy('uncached')] as const
  const table: string[][] = []
  try {
    for (const perSecond of [0, 1, 10]) {
      const inputs = [
        { url: copies[0].url, settings: USUAL },
        { url: copies[1].url, settings: UNCACHED },
      ]
      await together(inputs, async (cached, uncached) => {
        for (const { ready } of [cached, uncached]) await askAll(ready, POPULAR)
        const ended = new AbortController()
        const meanwhile = Promise.all([
          writeOn([cached.ready, uncached.ready], rows, perSecond, ended.signal),
          sample(cached.ready, () => random.pick(popular), ended.signal),
        ])
        const side = (server: Child<string>): Side => ({ server, requests: { paths }, connections: CONNECTIONS })
        // What goes wrong with the writes ends it too.
        const compared = await Promise.race([compare(side(cached), side(uncached), pace), meanwhile.then(() => undefined)])
        ended.abort()
        const [written, seen] = await meanwhile
        if (!compared) throw new Error('the writes ended early')
        const { a, b, ratio } = compared
        const share = seen.hits / seen.all
        log(`  ${perSecond} writes/s: ${figure(share * 100)} % hits of ${seen.all}`)
        const figures = [a.cpu, b.cpu, a.perSecond, b.perSecond, a.p99, b.p99].map(figure)
        table.push([`${perSecond} writes/s (${written} made)`, `${figure(share * 100)} %`, ratio.toFixed(2), ...figures])
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

/** Gives products new prices until it is told to end. How many it gave to each. */
async function writeOn(origins: string[], rows: number, perSecond: number, ended: AbortSignal): Promise<number> {
  const random = seeded(5)
  let written = 0
  const started = performance.now()
  while (!ended.aborted) {
    await sleep(perSecond === 0 ? SAMPLE : started + ((written + 1) * 1_000) / perSecond - performance.now(), ended)
    if (perSecond === 0 || ended.aborted) continue
    const [path, price] = [recordOf(random, rows), priceOf(random)]
    await Promise.all(origins.map((origin) => reprice(`${origin}${path}`, price)))
    written++
  }
  return written
}

async function sample(origin: string, pick: () => string, ended: AbortSignal): Promise<{ hits: number; all: number }> {
  let [hits, all] = [0, 0]
  while (!ended.aborted) {
    const { cached } = await read(`${origin}${pick()}`)
    all++
    if (cached) hits++
    await sleep(SAMPLE, ended)
  }
  return { hits, all }
}

const sleep = (milliseconds: number, signal: AbortSignal) => setTimeout(Math.max(1, milliseconds), undefined, { signal }).catch(() => {})

/** More pages than the cache has room for. */
const FILLED = 20_000
const IDS = 20

async function memory({ catalogues, rows, quick }: CacheOptions): Promise<Table> {
  const { url } = catalogues.sqlite
  const random = seeded(6)
  const pathOf = () => `${LIST}?id__in=${Array.from({ length: IDS }, () => 1 + random.whole(rows)).join()}`
  const paths = Array.from({ length: quick ? FILLED * 0.75 : FILLED }, pathOf)
  const filled: Record<'on' | 'off', number> = { on: 0, off: 0 }
  let bytes = 0
  for (const [name, settings] of Object.entries({ on: { ...CACHED, CACHE_MAX_BYTES: String(MAX_BYTES) }, off: UNCACHED }))
    await together([{ url, settings }], async (server) => {
      bytes = await askAll(server.ready, paths)
      if (name === 'on') await checkFull(server.ready, paths)
      filled[name as 'on' | 'off'] = (await server.ask<Usage>('usage')).memory
    })
  const added = filled.on - filled.off
  return {
    title: `${paths.length.toLocaleString('en')} lists of ${megabytes(bytes)} in all, of which ${megabytes(MAX_BYTES)} are kept`,
    head: ['', 'RSS', 'without the cache', 'added'],
    rows: [['the server', megabytes(filled.on), megabytes(filled.off), megabytes(added)]],
  }
}

/** Asks for each once. How many bytes all have. */
async function askAll(origin: string, paths: readonly string[]): Promise<number> {
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

/** The last page is still there, and the first is not. */
async function checkFull(origin: string, paths: string[]): Promise<void> {
  const [last, first] = [await read(`${origin}${paths.at(-1)}`), await read(`${origin}${paths[0]}`)]
  if (!last.cached || first.cached) throw new Error('the cache is not full')
}

const COUNTERS = ['inserted', 'updated', 'deleted'] as const

const dropped: Record<Engine, (name: string) => string> = {
  sqlite: (name) => `drop trigger products_${name}`,
  pg: (name) => `drop trigger products_${name} on products`,
}
const labels: Record<Engine, string> = { sqlite: 'SQLite', pg: 'PostgreSQL' }
const connections: Record<Engine, number> = { sqlite: CONNECTIONS, pg: PG_CONNECTIONS }

/** Writes on a database that counts its changes, beside one that does not. */
async function writes({ catalogues, rows, pace }: CacheOptions, log: (line: string) => void): Promise<Table> {
  const table: string[][] = []
  const kinds: Record<string, Side['requests']> = { create: { create: LIST }, update: { update: LIST, rows } }
  for (const engine of ['sqlite', 'pg'] as const) {
    const catalogue = catalogues[engine]
    if (!catalogue) continue
    for (const [name, requests] of Object.entries(kinds)) {
      const compared = await writesOf(engine, catalogue, requests, pace)
      const dearer = dearerOf[engine](compared)
      log(`  ${labels[engine]}, ${name}: ${dearer.toFixed(2)}`)
      const { a, b } = compared
      const figures = [a.cpu, b.cpu, a.perSecond, b.perSecond, a.p50, b.p50].map(figure)
      table.push([`${labels[engine]}, ${name}`, dearer.toFixed(2), `≤ ${WRITE_TARGET}`, verdict(dearer <= WRITE_TARGET), ...figures])
    }
  }
  return {
    title:
      'Writes with the counters and without: by CPU time on SQLite, on PostgreSQL, whose CPU time is its own, by writes in the same time',
    head: ['request', 'ratio', 'target', '', 'µs', 'without', 'req/s', 'without', 'p50 ms', 'without'],
    rows: table,
  }
}

/** PostgreSQL's work is no CPU time of the server's. */
const dearerOf: Record<Engine, (compared: Comparison) => number> = {
  sqlite: ({ ratio }) => 1 / ratio,
  pg: ({ throughput }) => 1 / throughput,
}

async function writesOf(engine: Engine, catalogue: Catalogue, requests: Side['requests'], pace: Pace): Promise<Comparison> {
  const copies: Copy[] = []
  try {
    for (const name of ['counted', 'uncounted']) copies.push(await catalogue.copy(name))
    const [counted, uncounted] = copies as [Copy, Copy]
    await uncounted.run(...COUNTERS.map(dropped[engine]))
    return await together(
      [counted, uncounted].map(({ url }) => ({ url, settings: USUAL })),
      async (a, b) => {
        const side = (server: Child<string>): Side => ({ server, requests, connections: connections[engine] })
        const before = [await stateOf(a.ready), await stateOf(b.ready)]
        const compared = await compare(side(a), side(b), pace)
        if ((await stateOf(a.ready)) === before[0]) throw new Error('the database that is to count has counted nothing')
        if ((await stateOf(b.ready)) !== before[1]) throw new Error('the database that is to count nothing has counted')
        return compared
      },
    )
  } finally {
    for (const copy of copies) await copy.remove()
  }
}

/** What changes when a counted table does. */
const stateOf = async (origin: string) => (await read(`${origin}${LIST}?id=${Number.MAX_SAFE_INTEGER}`)).etag

/** How many are measured, and how many milliseconds at most before the next: at all times between two looks of the reader's. */
const TOLD = { amount: 500, pause: 50 }
/** Of another program, which tells nobody. */
const UNTOLD = { amount: 50, pause: 500 }

/** How long another instance goes on answering what is no longer so. */
async function lag({ catalogues, rows, quick }: CacheOptions): Promise<Table> {
  const table: string[][] = []
  const copy = await catalogues.pg?.copy('lag')
  try {
    if (copy)
      await together(
        [copy, copy].map(({ url }) => ({ url, settings: USUAL })),
        async (writer, reader) => {
          const kinds: { name: string; amount: number; pause: number; write: Write }[] = [
            { name: 'another instance', ...TOLD, write: (path, price) => reprice(`${writer.ready}${path}`, price) },
            { name: 'another program', ...UNTOLD, write: (path, price) => copy.run(repriced(path, price)) },
          ]
          for (const { name, amount, pause, write } of kinds) {
            const lags = await lagsOf(reader.ready, rows, { amount: quick ? amount / 10 : amount, pause }, write)
            const max = Math.max(...lags)
            const figures = [median(lags), percentile(lags, 0.99), max].map(figure)
            table.push([name, String(lags.length), ...figures, `≤ ${LAG_TARGET} ms`, verdict(max <= LAG_TARGET)])
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

const repriced = (path: string, price: string) =>
  `update products set price = ${Math.round(Number(price) * 100)} where id = ${path.split('/').at(-2)}`

/** Milliseconds after which it will not come. */
const LOST = 30_000

type Write = (path: string, price: string) => Promise<void>

async function lagsOf(reader: string, rows: number, { amount, pause }: typeof TOLD, write: Write): Promise<number[]> {
  const random = seeded(7)
  const lags: number[] = []
  while (lags.length < amount) {
    const [path, price] = [recordOf(random, rows), priceOf(random)]
    const shown = async () => (JSON.parse((await read(`${reader}${path}`)).body) as { price: string }).price
    // Now it is cached.
    if ((await shown()) === price || (await shown()) === price) continue
    await write(path, price)
    const written = performance.now()
    while ((await shown()) !== price)
      if (performance.now() > written + LOST) throw new Error(`${path} has not got its new price after ${LOST} ms`)
    lags.push(performance.now() - written)
    await setTimeout(random.whole(pause))
  }
  return lags
}

const percentile = (values: number[], share: number) => values.toSorted((a, b) => a - b)[Math.ceil(values.length * share) - 1] ?? 0

const recordOf = (random: Random, rows: number) => `${LIST}${1 + random.whole(rows)}/`
const priceOf = (random: Random) => (random.whole(5_000_000) / 100).toFixed(2)

async function reprice(url: string, price: string): Promise<void> {
  const headers = { 'content-type': 'application/json', ...withKey }
  const response = await ask(url, { method: 'PATCH', headers, body: JSON.stringify({ price }) })
  const body = await response.text()
  if (!response.ok) throw new Error(`PATCH ${url} is answered with ${response.status}: ${body}`)
}

/** Milliseconds, and how often a server that has too much to do is asked again: nothing but the load was to blame. */
const PATIENCE = { pause: 500, times: 20 }

async function ask(url: string, init: RequestInit): Promise<Response> {
  for (let left = PATIENCE.times; ; left--) {
    const response = await fetch(url, init)
    if (response.status !== 503 || left === 0) return response
    await response.body?.cancel()
    await setTimeout(PATIENCE.pause)
  }
}

interface Answer {
  body: string
  etag: string
  cached: boolean
}

async function read(url: string): Promise<Answer> {
  const response = await ask(url, { headers: { ...withKey, 'accept-encoding': 'identity' } })
  const body = await response.text()
  if (!response.ok) throw new Error(`GET ${url} is answered with ${response.status}: ${body}`)
  const { headers } = response
  return { body, etag: headers.get('etag') ?? '', cached: /; hit\b/.test(headers.get('cache-status') ?? '') }
}

/** Throws where one does not come from the cache. */
async function cachedAnswers(origin: string, paths: readonly string[]): Promise<Answer[]> {
  const answers: Answer[] = []
  for (const path of paths) {
    const answer = await read(`${origin}${path}`)
    if (!answer.cached || !answer.etag) throw new Error(`GET ${path} is not answered from the cache, or has no ETag`)
    answers.push(answer)
  }
  return answers
}

type Input = ServerInput | { file: string; body: string }

/** Servers on one core, for as long as `work` takes. */
async function together<T, S extends Child<string>[]>(inputs: Input[], work: (...servers: S) => Promise<T>): Promise<T> {
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
