// The commands of the command line: arguments, options and actions.
import type { Writable } from 'node:stream'
import { InvalidArgumentError, Option } from 'commander'
import { sql } from 'drizzle-orm'
import type { Database } from '../drizzle/database.ts'
import { open } from '../drizzle/open.ts'
import { reindex } from '../drizzle/search.ts'
import { issueKey, revokeKey, rotateKey } from './auth/keys.ts'
import { parseToken } from './auth/token.ts'
import { COMMAND_LINE } from './changelog/record.ts'
import { loadConfig } from './config.ts'
import { invalid } from './errors.ts'
import { loadResources } from './query/registry.ts'
import { getProjection, type Row } from './query/rows.ts'
import { keys } from './resources/keys.ts'
import { ROLES } from './roles.ts'
import { importFile } from './transfer/file.ts'
import { type ImportResult, importProducts } from './transfer/import.ts'
import { escapeControls } from './transfer/printable.ts'
import { compileBody } from './validate.ts'

// Loaded on demand: commands that do not serve start in half the time.
const loadServer = () => import('./server.ts')

/** Streams and environment of a command: those of the process, or substitutes in a test. */
export interface Terminal {
  env: Record<string, string | undefined>
  stdin: AsyncIterable<Buffer>
  stdout: Writable
  stderr: Writable & { isTTY?: boolean }
}

const printLine = ({ stdout }: Terminal, text: string): void => void stdout.write(`${text}\n`)

/** The commands by name. An argument in angle brackets is required. */
export const commands: Record<
  string,
  {
    summary: string
    argument?: [string, string, ((text: string) => unknown)?]
    options?: Option[]
    run(terminal: Terminal, ...args: never[]): Promise<void>
  }
> = {
  serve: {
    summary: 'Migrate the database, then serve the API',
    options: [new Option('--drain <seconds>', 'seconds from SIGTERM until the listener closes (default: 5)').argParser(parseSeconds)],
    async run(terminal, { drain }: { drain?: number }) {
      const { serve } = await loadServer()
      const { url, firstKey } = await serve(loadConfig(terminal.env), { ...(drain !== undefined && { drain: drain * 1_000 }) })
      const endpoints = ['products    /api/products/', 'categories  /api/categories/', 'docs        /docs/', 'OpenAPI     /openapi.json']
      const lines = endpoints.map((endpoint) => `  ${endpoint.replace('/', `${url}/`)}`)
      printLine(terminal, [`Stockroom listens on ${url}`, ...lines, ...(firstKey ? describeFirstKey(url, firstKey) : [])].join('\n'))
    },
  },
  worker: {
    summary: 'Run jobs without serving the API',
    async run(terminal) {
      const { work } = await loadServer()
      await work(loadConfig(terminal.env))
      printLine(terminal, 'Stockroom runs jobs')
    },
  },
  migrate: {
    summary: 'Migrate the database to the current schema',
    run: (terminal) =>
      withDatabase(terminal, async (_db, applied) => {
        printLine(terminal, applied.length > 0 ? `Applied ${applied.join(', ')}.` : 'The schema is up to date.')
      }),
  },
  seed: {
    summary: 'Fill an empty database with sample products',
    options: [new Option('--count <products>', 'number of products').argParser(parseCount).default(1_000)],
    run: (terminal, { count }: { count: number }) =>
      withDatabase(terminal, async (db) => {
        if (!(await isEmpty(db))) return printLine(terminal, 'The database already has products. Nothing was added.')
        const { sampleProducts } = await import('./transfer/sample.ts')
        printLine(terminal, describeCounts(await importProducts(db, sampleProducts(count))))
      }),
  },
  import: {
    summary: 'Import products from NDJSON: one JSON object per line, identified by sku',
    argument: ['<file>', 'NDJSON file, or - for standard input'],
    options: [new Option('--atomic', 'import in one transaction; other writers may have to wait')],
    run: (terminal, file: string, options: { atomic?: boolean }) =>
      withDatabase(terminal, async (db) => {
        const result = await importFile(db, file, { ...terminal, ...options })
        printLine(terminal, describeCounts(result) + describeAlsoCreated(result))
      }),
  },
  'keys create': {
    summary: 'Create an API key and print it once',
    options: [
      new Option('--name <name>', 'owner or purpose of the key').makeOptionMandatory(),
      new Option('--role <role>', 'what the key may do').choices(ROLES).makeOptionMandatory(),
      new Option('--expires <time>', 'time from which the key is rejected (RFC 3339, or a date)'),
    ],
    run: (terminal, { name, role, expires }: { name: string; role: string; expires?: string }) =>
      withDatabase(terminal, async (db) => {
        const body = { name, role, ...(expires !== undefined && { expires_at: expires }) }
        const faults = compileBody(keys.schemas.create)(body)
        if (faults.length > 0) throw invalid(faults)
        printLine(terminal, (await issueKey(db, body, COMMAND_LINE)).token)
      }),
  },
  'keys list': {
    summary: 'List the API keys without their secrets',
    run: (terminal) =>
      withDatabase(terminal, async (db) => {
        const { columns, toRow } = getProjection(db, keys)
        const rows = await db.read.runPrepared(sql`select ${sql.join([...columns], sql`, `)} from ${db.tables.keys} order by id`, [])
        printLine(terminal, rows.length === 0 ? 'There are no API keys.' : formatKeys(rows.map(toRow)))
      }),
  },
  'keys revoke': {
    summary: 'Revoke an API key',
    argument: ['<id>', 'id of the key', parseKeyId],
    run: (terminal, id: number) =>
      withDatabase(terminal, async (db) => {
        const { name } = await revokeKey(db, id, COMMAND_LINE)
        printLine(terminal, `Key ${id} (${name}) is revoked. Running instances reject it within a second.`)
      }),
  },
  'keys rotate': {
    summary: 'Replace the secret of an API key and print the new key once; the old one stops working',
    argument: ['<id>', 'id of the key', parseKeyId],
    run: (terminal, id: number) =>
      withDatabase(terminal, async (db) => {
        printLine(terminal, (await rotateKey(db, id, COMMAND_LINE)).token)
      }),
  },
  reindex: {
    summary: 'Rebuild the search text of all records, after writing to the database by hand',
    run: (terminal) =>
      withDatabase(terminal, async (db) => {
        for (const { served } of await loadResources())
          printLine(terminal, `${served.table}: ${await reindex(db.write, db.dialect, served)}`)
      }),
  },
}

async function withDatabase({ env }: Terminal, work: (db: Database, applied: string[]) => Promise<void>): Promise<void> {
  const resources = await loadResources()
  const db = await open(loadConfig(env).DATABASE_URL, { served: resources.map(({ served }) => served) })
  try {
    await work(db, await db.migrate())
  } finally {
    await db.close()
  }
}

const isEmpty = async (db: Database) => (await db.read.all(sql`select 1 from products limit 1`)).length === 0

const describeCounts = ({ created, updated, unchanged }: ImportResult) => `${created} created, ${updated} updated, ${unchanged} unchanged.`

/** Names the records that the import created for references, such as categories, so that the operator notices a misspelt name. */
function describeAlsoCreated({ alsoCreated }: ImportResult): string {
  if (!alsoCreated) return ''
  const { table, count, names } = alsoCreated
  const more = count > names.length ? ` and ${count - names.length} more` : ''
  return ` New ${table}: ${names.map(escapeControls).join(', ')}${more}.`
}

/** Returns the lines that only the first start prints: the admin key, and a request that uses it. */
const describeFirstKey = (url: string, key: string): string[] => [
  `  admin key   ${key}`,
  '              This key is shown only once. Create more: npm run stockroom -- keys create --name NAME --role ROLE',
  '',
  `curl -X POST ${url}/api/products/ -H 'Authorization: Bearer ${key}' -H 'Content-Type: application/json' -d '{"name": "Red shirt", "price": "29.90"}'`,
]

/** Parses the id of a key, or a whole key, which contains its id. */
function parseKeyId(text: string): number {
  const id = /^[1-9]\d{0,15}$/.test(text) ? Number(text) : parseToken(text)?.id
  if (id === undefined) throw new InvalidArgumentError('Expected the id of a key.')
  return id
}

/** Control characters in a name could move the terminal's cursor. */
const CONTROL = /\p{Cc}/gu

const KEY_COLUMNS = ['id', 'name', 'role', 'created_at', 'last_used_at', 'expires_at', 'revoked_at'] as const

function formatKeys(rows: readonly Row[]): string {
  const lines = [KEY_COLUMNS, ...rows.map((row) => KEY_COLUMNS.map((column) => String(row[column] ?? '-').replaceAll(CONTROL, '?')))]
  const widths = KEY_COLUMNS.map((_, index) => Math.max(...lines.map((line) => line[index]?.length ?? 0)))
  return lines
    .map((line) =>
      line
        .map((cell, index) => cell.padEnd(widths[index] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

function parseSeconds(text: string): number {
  if (!/^\d{1,4}(?:\.\d{1,3})?$/.test(text)) throw new InvalidArgumentError('Expected seconds, such as 0 or 2.5.')
  return Number(text)
}

function parseCount(text: string): number {
  if (!/^[1-9]\d{0,7}$/.test(text)) throw new InvalidArgumentError('Expected a whole number from 1 to 99999999.')
  return Number(text)
}
