// npm run bench: compares the application with hand-written servers, and measures how its slowest requests affect others.
import { parseArgs } from 'node:util'
import { measureCache } from './cache.ts'
import { Child, canPin, LOAD_CORE, SERVER_CORE } from './child.ts'
import { type Catalogue, checkServer, type Engine, openCatalogue } from './databases.ts'
import { BUFFER_TARGET, type Cost, measureGuard, PAGE_TARGET } from './guard.ts'
import { firstPage, type Kind, kinds, nextPage, TARGET_ROWS } from './kinds.ts'
import { type Comparison, compare, PACE, QUICK, type Side } from './measure.ts'
import { checkSame, NotTheSame } from './same.ts'
import { formatFigure, formatMegabytes, formatVerdict, render, type Table } from './table.ts'
import { LOOP_TARGET, measureWorst, RECORD_TARGET } from './worst.ts'

const PARTS = ['sqlite', 'pg', 'worst', 'guard', 'cache'] as const

const USAGE = `npm run bench -- [sqlite] [pg] [worst] [guard] [cache] [options]

  Without parts, runs all of them.

  --rows 100000,1000000  numbers of products (sqlite: both of these; pg: ${TARGET_ROWS}; worst: 1000000; guard, cache: ${TARGET_ROWS})
  --kind <text>          only kinds whose name contains this text (cache: hits, hooks, skewed, memory, writes, lag)
  --quick                short rounds, to test the benchmark: the figures are imprecise
  --fresh                create the databases anew
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
const rowCounts = options.rows?.split(',').map(Number)
const unknown = [
  ...positionals.filter((part) => !PARTS.some((name) => name === part)),
  ...(rowCounts?.filter((rows) => !(rows >= 1_000)) ?? []),
]
if (options.help || unknown.length > 0) {
  process.stdout.write(USAGE)
  process.exit(options.help ? 0 : 2)
}

const pace = options.quick ? QUICK : PACE
const WORST_SECONDS = options.quick ? 5 : 20
const isSelected = (part: (typeof PARTS)[number]) => positionals.length === 0 || positionals.includes(part)
/** Progress goes to standard error, apart from the results. */
const log = (line: string) => process.stderr.write(`${line}\n`)
const print = (table: Table) => process.stdout.write(`${render(table, options.markdown)}\n`)

/** Connections of the load. PostgreSQL needs more of them than its pool has connections. */
const connections: Record<Engine, number> = { sqlite: 8, pg: 16 }
const labels: Record<Engine, string> = { sqlite: 'SQLite', pg: 'PostgreSQL' }

const MAX_DEEP_RATIO = 1.2

async function measureEngine(engine: Engine, rows: number): Promise<void> {
  const catalogue = await openCatalogue[engine]({ rows, fresh: options.fresh, log })
  const title = `${labels[engine]}, ${rows.toLocaleString('en')} products`
  const table: string[][] = []
  for (const kind of kinds.filter(isSelectedKind)) {
    const name = kind.page ? `${kind.name}: ${formatFigure(kind.page(rows))}` : kind.name
    log(`${title}: ${name}`)
    const comparison = await measureKind(engine, catalogue, kind, rows)
    const target = rows === TARGET_ROWS ? kind.target?.[engine] : undefined
    table.push(buildRow(name, comparison, target))
    log(`  ${comparison.ratio.toFixed(2)}`)
  }
  print({
    title: `${title}: ours and a hand-written server, ${connections[engine]} connections each`,
    head: ['request', 'ratio', 'target', '', 'µs ours', 'µs floor', 'req/s', 'floor', 'p50 ms', 'floor', 'p99 ms', 'floor', 'RSS', 'floor'],
    rows: table,
  })
  if (!isSelectedKind(nextPage)) return
  log(`${title}: orientation`)
  print({
    title: `${title}: µs of CPU time per request`,
    head: ['request', 'µs', 'beside it', 'ratio', 'target', ''],
    rows: [await measureDepth(engine, catalogue, rows), await measureBuffer(engine, catalogue, rows)],
  })
}

const isSelectedKind = ({ name }: Kind) => name.includes(options.kind)

function buildRow(name: string, { a, b, ratio }: Comparison, target: number | undefined): string[] {
  const pairs = (['perSecond', 'p50', 'p99'] as const).flatMap((name) => [formatFigure(a[name]), formatFigure(b[name])])
  const verdicts = target === undefined ? ['', ''] : [`≥ ${target}`, formatVerdict(ratio >= target)]
  return [
    name,
    ratio.toFixed(2),
    ...verdicts,
    formatFigure(a.cpu),
    formatFigure(b.cpu),
    ...pairs,
    formatMegabytes(a.memory),
    formatMegabytes(b.memory),
  ]
}

const floors: Record<Engine, string> = { sqlite: 'floor-sqlite.ts', pg: 'floor-pg.ts' }

async function measureKind(engine: Engine, catalogue: Catalogue, kind: Kind, rows: number): Promise<Comparison> {
  const copies = kind.writes ? [await catalogue.copy('ours'), await catalogue.copy('floor')] : []
  const [ours = catalogue, floor = catalogue] = copies
  try {
    return await compareServers(['server.ts', { url: ours.url }], [floors[engine], { url: floor.url }], async (a, b) => {
      const [ourRequests, floorRequests] = [await kind.requests(a.ready, rows), await kind.requests(b.ready, rows)]
      await checkSame([a.ready, b.ready], ourRequests, floorRequests)
      return [buildSide(engine, a, ourRequests), buildSide(engine, b, floorRequests)]
    })
  } finally {
    for (const copy of copies) await copy.remove()
  }
}

const buildSide = (engine: Engine, server: Child<string>, requests: Side['requests']): Side => ({
  server,
  requests,
  connections: connections[engine],
})

type ServerStart = [file: string, input: unknown]

/** Starts two servers on one core and compares them. */
async function compareServers(
  a: ServerStart,
  b: ServerStart,
  buildSides: (a: Child<string>, b: Child<string>) => Promise<[Side, Side]>,
): Promise<Comparison> {
  const servers: Child<string>[] = []
  try {
    for (const [file, input] of [a, b]) servers.push(await Child.start<string>(file, input, SERVER_CORE))
    const [first, second] = servers as [Child<string>, Child<string>]
    return await compare(...(await buildSides(first, second)), pace)
  } finally {
    await Promise.all(servers.map((server) => server.stop()))
  }
}

/** Compares a page deep in the list with the first page, both on our server. */
async function measureDepth(engine: Engine, { url }: Catalogue, rows: number): Promise<string[]> {
  const { a, b, ratio } = await compareServers(['server.ts', { url }], ['server.ts', { url }], async (deep, first) => [
    buildSide(engine, deep, await nextPage.requests(deep.ready, rows)),
    buildSide(engine, first, await firstPage.requests(first.ready, rows)),
  ])
  const slowdown = 1 / ratio
  return [
    `ours: ${nextPage.name}: ${formatFigure(nextPage.page?.(rows) ?? 0)}, beside the first page`,
    formatFigure(a.cpu),
    formatFigure(b.cpu),
    slowdown.toFixed(2),
    `≤ ${MAX_DEEP_RATIO}`,
    formatVerdict(slowdown <= MAX_DEEP_RATIO),
  ]
}

/** Measures plain Fastify beside our first page. */
async function measureBuffer(engine: Engine, { url }: Catalogue, rows: number): Promise<string[]> {
  const ours = await Child.start<string>('server.ts', { url }, SERVER_CORE)
  const page = await fetch(`${ours.ready}/api/products/`).then((response) => response.text())
  await ours.stop()
  const { a, b, ratio } = await compareServers(['floor-buffer.ts', { body: page }], ['server.ts', { url }], async (fixed, server) => {
    const requests = await firstPage.requests(server.ready, rows)
    return [buildSide(engine, fixed, requests), buildSide(engine, server, requests)]
  })
  return ['Fastify: the first page from a Buffer, beside ours', formatFigure(a.cpu), formatFigure(b.cpu), (1 / ratio).toFixed(2), '', '']
}

async function printWorst(rows: number): Promise<void> {
  const { url } = await openCatalogue.sqlite({ rows, fresh: false, log })
  log(`worst: ${WORST_SECONDS} s`)
  const { lists, records, loop, memory } = await measureWorst(url, rows, WORST_SECONDS)
  const milliseconds = (value: number) => `${formatFigure(value)} ms`
  const statuses = Object.entries(lists.statuses).map(([status, count]) => `${status}: ${count}`)
  print({
    title: `SQLite, ${rows.toLocaleString('en')} products: 16 connections ask for the worst lists, one for records. The server is on any core, the load on core ${LOAD_CORE}`,
    head: ['', 'p50', 'p99', 'max', 'target', ''],
    rows: [
      [
        'a record meanwhile',
        ...[records.p50, records.p99, records.max].map(milliseconds),
        `p99 < ${RECORD_TARGET} ms`,
        formatVerdict(records.p99 < RECORD_TARGET && records.responses > 0),
      ],
      [
        'event loop held',
        '',
        milliseconds(loop.p99),
        milliseconds(loop.max),
        `max ≤ ${LOOP_TARGET} ms`,
        formatVerdict(loop.max <= LOOP_TARGET),
      ],
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
      ['server RSS', formatMegabytes(memory), ''],
    ],
  })
}

/** Measures the key check and the rate limits. */
async function printGuard(rows: number): Promise<void> {
  const { url } = await openCatalogue.sqlite({ rows, fresh: false, log })
  const { pages, buffers } = await measureGuard(url, pace, log)
  const row = ({ name, guarded, bare, ratio }: Cost, added: string, target: string, isMet: boolean) => [
    name,
    formatFigure(guarded.cpu),
    formatFigure(bare.cpu),
    ratio.toFixed(2),
    added,
    target,
    formatVerdict(isMet),
  ]
  const microseconds = ({ guarded, bare }: Cost) => guarded.cpu - bare.cpu
  print({
    title: 'Key and limit: µs of CPU time per request, with them and without',
    head: ['request', 'µs', 'without', 'ratio', 'added µs', 'target', ''],
    rows: [
      ...pages.map((cost) => row(cost, formatFigure(microseconds(cost)), `ratio ≤ ${PAGE_TARGET}`, cost.ratio <= PAGE_TARGET)),
      ...buffers.map((cost) =>
        row(cost, formatFigure(microseconds(cost)), `added ≤ ${BUFFER_TARGET} µs`, microseconds(cost) <= BUFFER_TARGET),
      ),
    ],
  })
}

async function printCache(rows: number): Promise<void> {
  const sqlite = await openCatalogue.sqlite({ rows, fresh: false, log })
  const reason = await findPostgresError()
  if (reason !== undefined) log(`PostgreSQL is skipped: ${reason}`)
  const catalogues = { sqlite, ...(reason === undefined && { pg: await openCatalogue.pg({ rows, fresh: false, log }) }) }
  const cacheOptions = { catalogues, rows, kind: options.kind, quick: options.quick, pace }
  for await (const table of measureCache(cacheOptions, log)) print(table)
}

/** Returns the error of the connection to PostgreSQL, or undefined. */
const findPostgresError = () => checkServer().then(() => undefined, String)

async function main(): Promise<void> {
  if (!canPin) log('Processes are not pinned, so the figures are less precise: install taskset, or use a machine with two cores.')
  if (isSelected('sqlite')) for (const rows of rowCounts ?? [TARGET_ROWS, 1_000_000]) await measureEngine('sqlite', rows)
  if (isSelected('pg')) {
    const reason = await findPostgresError()
    if (reason === undefined) for (const rows of rowCounts ?? [TARGET_ROWS]) await measureEngine('pg', rows)
    else log(`PostgreSQL is skipped: ${reason}`)
    // A missing server is an error only if the part was selected by name.
    if (reason !== undefined && positionals.includes('pg')) process.exitCode = 1
  }
  if (isSelected('guard')) await printGuard(rowCounts?.[0] ?? TARGET_ROWS)
  if (isSelected('cache')) await printCache(rowCounts?.[0] ?? TARGET_ROWS)
  if (isSelected('worst')) await printWorst(Math.max(...(rowCounts ?? [1_000_000])))
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))

try {
  await main()
} catch (error) {
  process.stderr.write(
    error instanceof NotTheSame
      ? `FAILED: the two servers respond differently.\n${error.message}\n`
      : `FAILED: ${error instanceof Error ? error.stack : error}\n`,
  )
  process.exitCode = 1
}
