// The commands of the command line, each with what it takes and does.
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
import { declaredResources } from './query/registry.ts'
import { type Row, shownOf } from './query/rows.ts'
import { keys } from './resources/keys.ts'
import { ROLES } from './roles.ts'
import { importFile } from './transfer/file.ts'
import { type ImportResult, importProducts } from './transfer/import.ts'
import { escapeControls } from './transfer/printable.ts'
import { compileBody } from './validate.ts'

// What serves is loaded by what serves: the others start in half the time.
const server = () => import('./server.ts')

/** What a command reads and writes: the streams and environment of its process, or those of a test. */
export interface Terminal {
  env: Record<string, string | undefined>
  stdin: AsyncIterable<Buffer>
  stdout: Writable
  stderr: Writable & { isTTY?: boolean }
}

const say = ({ stdout }: Terminal, text: string): void => void stdout.write(`${text}\n`)

/** The commands. An argument in angle brackets has to be given. */
export const commands: Record<
  string,
  {
    summary: string
    argument?: [string, string, ((text: string) => unknown)?]
    options?: Option[]
    run(terminal: Terminal, ...given: never[]): Promise<void>
  }
> = {
  serve: {
    summary: 'Bring the schema up to date and serve the API until a signal',
    options: [new Option('--drain <seconds>', 'from SIGTERM until the listener closes (default: 5)').argParser(seconds)],
    async run(terminal, { drain }: { drain?: number }) {
      const { serve } = await server()
      const { url, firstKey } = await serve(loadConfig(terminal.env), { ...(drain !== undefined && { drain: drain * 1_000 }) })
      const places = ['products    /api/products/', 'categories  /api/categories/', 'docs        /docs/', 'OpenAPI     /openapi.json']
      const lines = places.map((place) => `  ${place.replace('/', `${url}/`)}`)
      say(terminal, [`Stockroom listens on ${url}`, ...lines, ...(firstKey ? introduce(url, firstKey) : [])].join('\n'))
    },
  },
  worker: {
    summary: 'Work through jobs without serving the API, until a signal',
    async run(terminal) {
      const { work } = await server()
      await work(loadConfig(terminal.env))
      say(terminal, 'Stockroom works through jobs')
    },
  },
  migrate: {
    summary: 'Bring the schema up to date',
    run: (terminal) =>
      withDatabase(terminal, async (_db, applied) => {
        say(terminal, applied.length > 0 ? `Applied ${applied.join(', ')}.` : 'The schema is up to date.')
      }),
  },
  seed: {
    summary: 'Fill an empty database with a made-up catalogue',
    options: [new Option('--count <products>', 'how many products').argParser(wholeNumber).default(1_000)],
    run: (terminal, { count }: { count: number }) =>
      withDatabase(terminal, async (db) => {
        if (!(await isEmpty(db))) return say(terminal, 'The database has products already: nothing was added.')
        const { sampleProducts } = await import('./transfer/sample.ts')
        say(terminal, describeCounts(await importProducts(db, sampleProducts(count))))
      }),
  },
  import: {
    summary: 'Import products: one JSON object a line, told apart by sku',
    argument: ['<file>', 'the file, or - for standard input'],
    options: [new Option('--atomic', 'merge in one transaction, for which other writers may have to wait')],
    run: (terminal, file: string, options: { atomic?: boolean }) =>
      withDatabase(terminal, async (db) => {
        const result = await importFile(db, file, { ...terminal, ...options })
        say(terminal, describeCounts(result) + describeReferred(result))
      }),
  },
  'keys create': {
    summary: 'Make an API key, and print it this once',
    options: [
      new Option('--name <name>', 'whose it is, or what for').makeOptionMandatory(),
      new Option('--role <role>', 'what it may do').choices(ROLES).makeOptionMandatory(),
      new Option('--expires <time>', 'from when on it is refused (RFC 3339, or a date)'),
    ],
    run: (terminal, { name, role, expires }: { name: string; role: string; expires?: string }) =>
      withDatabase(terminal, async (db) => {
        const body = { name, role, ...(expires !== undefined && { expires_at: expires }) }
        const faults = compileBody(keys.schemas.create)(body)
        if (faults.length > 0) throw invalid(faults)
        say(terminal, (await issueKey(db, body, COMMAND_LINE)).token)
      }),
  },
  'keys list': {
    summary: 'List the API keys, without their secrets',
    run: (terminal) =>
      withDatabase(terminal, async (db) => {
        const { columns, toRow } = shownOf(db, keys)
        const rows = await db.read.runPrepared(sql`select ${sql.join([...columns], sql`, `)} from ${db.tables.keys} order by id`, [])
        say(terminal, rows.length === 0 ? 'There are no keys.' : keyTable(rows.map(toRow)))
      }),
  },
  'keys revoke': {
    summary: 'Have an API key refused from now on',
    argument: ['<id>', 'its id', keyId],
    run: (terminal, id: number) =>
      withDatabase(terminal, async (db) => {
        const { name } = await revokeKey(db, id, COMMAND_LINE)
        say(terminal, `Key ${id} (${name}) is refused from now on, by running instances within a second.`)
      }),
  },
  'keys rotate': {
    summary: 'Give an API key another secret, and print it this once; the old one is refused from now on',
    argument: ['<id>', 'its id', keyId],
    run: (terminal, id: number) =>
      withDatabase(terminal, async (db) => {
        say(terminal, (await rotateKey(db, id, COMMAND_LINE)).token)
      }),
  },
  reindex: {
    summary: 'Write the search text of every record anew, as needed after writing to the database by hand',
    run: (terminal) =>
      withDatabase(terminal, async (db) => {
        for (const { served } of await declaredResources()) say(terminal, `${served.table}: ${await reindex(db.write, db.dialect, served)}`)
      }),
  },
}

async function withDatabase({ env }: Terminal, work: (db: Database, applied: string[]) => Promise<void>): Promise<void> {
  const resources = await declaredResources()
  const db = await open(loadConfig(env).DATABASE_URL, { served: resources.map(({ served }) => served) })
  try {
    await work(db, await db.migrate())
  } finally {
    await db.close()
  }
}

const isEmpty = async (db: Database) => (await db.read.all(sql`select 1 from products limit 1`)).length === 0

const describeCounts = ({ created, updated, unchanged }: ImportResult) => `${created} created, ${updated} updated, ${unchanged} unchanged.`

/** Names the records that the import created besides, so that a misspelt name is noticed. */
function describeReferred({ alsoCreated: referred }: ImportResult): string {
  if (!referred) return ''
  const { table, count, names } = referred
  const more = count > names.length ? ` and ${count - names.length} more` : ''
  return ` New ${table}: ${names.map(escapeControls).join(', ')}${more}.`
}

/** What the first start says besides: the key, and something to try it on. */
const introduce = (url: string, key: string): string[] => [
  `  admin key   ${key}`,
  '              It is shown this once. Others: npm run stockroom -- keys create --name NAME --role ROLE',
  '',
  `curl -X POST ${url}/api/products/ -H 'Authorization: Bearer ${key}' -H 'Content-Type: application/json' -d '{"name": "Red shirt", "price": "29.90"}'`,
]

/** The id in front, or the whole key. */
function keyId(text: string): number {
  const id = /^[1-9]\d{0,15}$/.test(text) ? Number(text) : parseToken(text)?.id
  if (id === undefined) throw new InvalidArgumentError('It takes the id of a key.')
  return id
}

/** A name must not move the cursor of whoever lists it. */
const CONTROL = /\p{Cc}/gu

const KEY_COLUMNS = ['id', 'name', 'role', 'created_at', 'last_used_at', 'expires_at', 'revoked_at'] as const

function keyTable(rows: readonly Row[]): string {
  const lines = [KEY_COLUMNS, ...rows.map((row) => KEY_COLUMNS.map((column) => String(row[column] ?? '-').replaceAll(CONTROL, '?')))]
  const widths = KEY_COLUMNS.map((_, place) => Math.max(...lines.map((line) => line[place]?.length ?? 0)))
  return lines
    .map((line) =>
      line
        .map((cell, place) => cell.padEnd(widths[place] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

function seconds(text: string): number {
  if (!/^\d{1,4}(?:\.\d{1,3})?$/.test(text)) throw new InvalidArgumentError('It takes seconds, such as 0 or 2.5.')
  return Number(text)
}

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,7}$/.test(text)) throw new InvalidArgumentError('It takes a whole number from 1 to 99999999.')
  return Number(text)
}
