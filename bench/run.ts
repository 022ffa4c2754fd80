// npm run bench: how near the application comes to a server written by hand, and what its worst requests do to the others.
import { parseArgs } from 'node:util'
import { measureCache } from './cache.ts'
import { Child, canPin, LOAD_CORE, SERVER_CORE } from './child.ts'
import { type Catalogue, catalogueOf, checkServer, type Engine } from './databases.ts'
import { BUFFER_TARGET, type Cost, measureGuard, PAGE_TARGET } from './guard.ts'
import { firstPage, type Kind, kinds, nextPage, TARGET_ROWS } from './kinds.ts'
import { type Comparison, compare, PACE, QUICK, type Side } from './measure.ts'
import { checkSame, NotTheSame } from './same.ts'
import { figure, megabytes, render, type Table, verdict } from './table.ts'
import { LOOP_TARGET, measureWorst, RECORD_TARGET } from './worst.ts'

const PARTS = ['sqlite', 'pg', 'worst', 'guard', 'cache'] as const

const USAGE = `npm run bench -- [sqlite] [pg] [worst] [guard] [cache] [options]

  without parts, all of them

  --rows 100000,1000000  how many products (sqlite: both of these; pg: ${TARGET_ROWS}; worst: 1000000; guard, cache: ${TARGET_ROWS})
  --kind <text>          only kinds with this in their name (cache: hits, hooks, skewed, memory, writes, lag)
  --quick                short rounds: shows that all works, the figures are rough
  --fresh                make the databases anew
  --markdown             tables for docs/benchmarks.md
`

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rows: { type: 'string' },
    kind: { type: 'string', default: '' },
    quick: { type: 'boolean', default: false },
    fresh: { type: 'boolean', default: false },
    markdown: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
const rowsAsked = options.rows?.split(',').map(Number)
const unknown = [
  ...positionals.filter((part) => !PARTS.some((known) => known === part)),
  ...(rowsAsked?.filter((rows) => !(rows >= 1_000)) ?? []),
]
if (options.help || unknown.length > 0) {
  process.stdout.write(USAGE)
  process.exit(options.help ? 0 : 2)
}

const pace = options.quick ? QUICK : PACE
const WORST_SECONDS = options.quick ? 5 : 20
const asked = (part: (typeof PARTS)[number]) => positionals.length === 0 || positionals.includes(part)
/** What happens meanwhile is no part of the result. */
const log = (line: string) => process.stderr.write(`${line}\n`)
const print = (table: Table) => process.stdout.write(`${render(table, options.markdown)}\n`)

/** A pool of database connections needs more clients than it has connections. */
const connections: Record<Engine, number> = { sqlite: 8, pg: 16 }
const labels: Record<Engine, string> = { sqlite: 'SQLite', pg: 'PostgreSQL' }

const MAX_DEEP_RATIO = 1.2

async function measureEngine(engine: Engine, rows: number): Promise<void> {
  const catalogue = await catalogueOf[engine]({ rows, fresh: options.fresh, log })
  const title = `${labels[engine]}, ${rows.toLocaleString('en')} products`
  const made: string[][] = []
  for (const kind of kinds.filter(isAsked)) {
    const name = kind.page ? `${kind.name}: ${figure(kind.page(rows))}` : kind.name
    log(`${title}: ${name}`)
    const comparison = await measureKind(engine, catalogue, kind, rows)
    const target = rows === TARGET_ROWS ? kind.target?.[engine] : undefined
    made.push(rowOf(name, comparison, target))
    log(`  ${comparison.ratio.toFixed(2)}`)
  }
  print({
    title: `${title}: ours and a server written by hand, ${connections[engine]} connections each`,
    head: ['request', 'ratio', 'target', '', 'µs ours', 'µs floor', 'req/s', 'floor', 'p50 ms', 'floor', 'p99 ms', 'floor', 'RSS', 'floor'],
    rows: made,
  })
  if (!isAsked(nextPage)) return
  log(`${title}: orientation`)
  print({
    title: `${title}: µs of CPU time per request`,
    head: ['request', 'µs', 'beside it', 'ratio', 'target', ''],
    rows: [await depth(engine, catalogue, rows), await buffer(engine, catalogue, rows)],
  })
}

const isAsked = ({ name }: Kind) => name.includes(options.kind)

function rowOf(name: string, { a, b, ratio }: Comparison, target: number | undefined): string[] {
  const pairs = (['perSecond', 'p50', 'p99'] as const).flatMap((of) => [figure(a[of]), figure(b[of])])
  const judged = target === undefined ? ['', ''] : [`≥ ${target}`, verdict(ratio >= target)]
  return [name, ratio.toFixed(2), ...judged, figure(a.cpu), figure(b.cpu), ...pairs, megabytes(a.memory), megabytes(b.memory)]
}

const floors: Record<Engine, string> = { sqlite: 'floor-sqlite.ts', pg: 'floor-pg.ts' }

async function measureKind(engine: Engine, catalogue: Catalogue, kind: Kind, rows: number): Promise<Comparison> {
  const copies = kind.writes ? [await catalogue.copy('ours'), await catalogue.copy('floor')] : []
  const [ours = catalogue, floor = catalogue] = copies
  try {
    return await beside(['server.ts', { url: ours.url }], [floors[engine], { url: floor.url }], async (a, b) => {
      const [oursAsked, floorAsked] = [await kind.requests(a.ready, rows), await kind.requests(b.ready, rows)]
      await checkSame([a.ready, b.ready], oursAsked, floorAsked)
      return [side(engine, a, oursAsked), side(engine, b, floorAsked)]
    })
  } finally {
    for (const copy of copies) await copy.remove()
  }
}

const side = (engine: Engine, server: Child<string>, requests: Side['requests']): Side => ({
  server,
  requests,
  connections: connections[engine],
})

type Started = [file: string, input: unknown]

/** Starts two servers on one core and compares them. */
async function beside(a: Started, b: Started, sidesOf: (a: Child<string>, b: Child<string>) => Promise<[Side, Side]>): Promise<Comparison> {
  const servers: Child<string>[] = []
  try {
    for (const [file, input] of [a, b]) servers.push(await Child.start<string>(file, input, SERVER_CORE))
    const [first, second] = servers as [Child<string>, Child<string>]
    return await compare(...(await sidesOf(first, second)), pace)
  } finally {
    await Promise.all(servers.map((server) => server.stop()))
  }
}

/** Two of ours: what a page deep in the list costs, by what the first costs. */
async function depth(engine: Engine, { url }: Catalogue, rows: number): Promise<string[]> {
  const { a, b, ratio } = await beside(['server.ts', { url }], ['server.ts', { url }], async (deep, first) => [
    side(engine, deep, await nextPage.requests(deep.ready, rows)),
    side(engine, first, await firstPage.requests(first.ready, rows)),
  ])
  const dearer = 1 / ratio
  return [
    `ours: ${nextPage.name}: ${figure(nextPage.page?.(rows) ?? 0)}, beside the first page`,
    figure(a.cpu),
    figure(b.cpu),
    dearer.toFixed(2),
    `≤ ${MAX_DEEP_RATIO}`,
    verdict(dearer <= MAX_DEEP_RATIO),
  ]
}

/** What Fastify itself costs. */
async function buffer(engine: Engine, { url }: Catalogue, rows: number): Promise<string[]> {
  const ours = await Child.start<string>('server.ts', { url }, SERVER_CORE)
  const page = await fetch(`${ours.ready}/api/products/`).then((response) => response.text())
  await ours.stop()
  const { a, b, ratio } = await beside(['floor-buffer.ts', { body: page }], ['server.ts', { url }], async (fixed, server) => {
    const requests = await firstPage.requests(server.ready, rows)
    return [side(engine, fixed, requests), side(engine, server, requests)]
  })
  return ['Fastify: the first page from a Buffer, beside ours', figure(a.cpu), figure(b.cpu), (1 / ratio).toFixed(2), '', '']
}

async function worst(rows: number): Promise<void> {
  const { url } = await catalogueOf.sqlite({ rows, fresh: false, log })
  log(`worst: ${WORST_SECONDS} s`)
  const { lists, records, loop, memory } = await measureWorst(url, rows, WORST_SECONDS)
  const milliseconds = (value: number) => `${figure(value)} ms`
  const statuses = Object.entries(lists.statuses).map(([status, count]) => `${status}: ${count}`)
  print({
    title: `SQLite, ${rows.toLocaleString('en')} products: 16 connections ask for the worst lists, one for records. The server is on any core, the load on core ${LOAD_CORE}`,
    head: ['', 'p50', 'p99', 'max', 'target', ''],
    rows: [
      [
        'a record meanwhile',
        ...[records.p50, records.p99, records.max].map(milliseconds),
        `p99 < ${RECORD_TARGET} ms`,
        verdict(records.p99 < RECORD_TARGET && records.answers > 0),
      ],
      ['event loop held', '', milliseconds(loop.p99), milliseconds(loop.max), `max ≤ ${LOOP_TARGET} ms`, verdict(loop.max <= LOOP_TARGET)],
      ['the lists', ...[lists.p50, lists.p99, lists.max].map(milliseconds), '', ''],
    ],
  })
  print({
    title: 'Answers',
    head: ['', 'statuses', 'no answer'],
    rows: [
      ['lists', statuses.join(', ') || 'none', String(lists.errors)],
      [
        'records',
        Object.entries(records.statuses)
          .map(([status, count]) => `${status}: ${count}`)
          .join(', ') || 'none',
        String(records.errors),
      ],
      ['server RSS', megabytes(memory), ''],
    ],
  })
}

/** What the key check and the limits cost. */
async function guard(rows: number): Promise<void> {
  const { url } = await catalogueOf.sqlite({ rows, fresh: false, log })
  const { pages, buffers } = await measureGuard(url, pace, log)
  const row = ({ name, guarded, bare, ratio }: Cost, added: string, target: string, met: boolean) => [
    name,
    figure(guarded.cpu),
    figure(bare.cpu),
    ratio.toFixed(2),
    added,
    target,
    verdict(met),
  ]
  const microseconds = ({ guarded, bare }: Cost) => guarded.cpu - bare.cpu
  print({
    title: 'Key and limit: µs of CPU time per request, with them and without',
    head: ['request', 'µs', 'without', 'ratio', 'added µs', 'target', ''],
    rows: [
      ...pages.map((cost) => row(cost, figure(microseconds(cost)), `ratio ≤ ${PAGE_TARGET}`, cost.ratio <= PAGE_TARGET)),
      ...buffers.map((cost) => row(cost, figure(microseconds(cost)), `added ≤ ${BUFFER_TARGET} µs`, microseconds(cost) <= BUFFER_TARGET)),
    ],
  })
}

async function cache(rows: number): Promise<void> {
  const sqlite = await catalogueOf.sqlite({ rows, fresh: false, log })
  const absent = await postgresAbsent()
  if (absent !== undefined) log(`PostgreSQL is left out: ${absent}`)
  const catalogues = { sqlite, ...(absent === undefined && { pg: await catalogueOf.pg({ rows, fresh: false, log }) }) }
  const asked = { catalogues, rows, kind: options.kind, quick: options.quick, pace }
  for await (const table of measureCache(asked, log)) print(table)
}

/** Why PostgreSQL is left out, if it is. */
const postgresAbsent = () => checkServer().then(() => undefined, String)

async function main(): Promise<void> {
  if (!canPin) log('taskset or a second core is missing: nothing is pinned, and the figures are less sharp')
  if (asked('sqlite')) for (const rows of rowsAsked ?? [TARGET_ROWS, 1_000_000]) await measureEngine('sqlite', rows)
  if (asked('pg')) {
    const absent = await postgresAbsent()
    if (absent === undefined) for (const rows of rowsAsked ?? [TARGET_ROWS]) await measureEngine('pg', rows)
    else log(`PostgreSQL is left out: ${absent}`)
    // It is no fault that there is none, unless it was named.
    if (absent !== undefined && positionals.includes('pg')) process.exitCode = 1
  }
  if (asked('guard')) await guard(rowsAsked?.[0] ?? TARGET_ROWS)
  if (asked('cache')) await cache(rowsAsked?.[0] ?? TARGET_ROWS)
  if (asked('worst')) await worst(Math.max(...(rowsAsked ?? [1_000_000])))
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))

try {
  await main()
} catch (error) {
  process.stderr.write(
    error instanceof NotTheSame
      ? `FAILED: the two servers do not do the same work.\n${error.message}\n`
      : `FAILED: ${error instanceof Error ? error.stack : error}\n`,
  )
  process.exitCode = 1
}
