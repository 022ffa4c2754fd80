#!/usr/bin/env node
// The command line.
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Presets, SingleBar } from 'cli-progress'
import { Command, CommanderError, InvalidArgumentError } from 'commander'
import { sql } from 'drizzle-orm'
import { type Database, DatabaseBusy, DatabaseUnusable } from '../drizzle/database.ts'
import { open } from '../drizzle/open.ts'
import { reindex } from '../drizzle/search.ts'
import packageJson from '../package.json' with { type: 'json' }
import { declaredResources } from './app.ts'
import { ConfigError, loadConfig } from './config.ts'
import { serve } from './server.ts'
import { importProducts } from './transfer/import.ts'
import { ImportRefused, type ImportResult } from './transfer/merge.ts'
import { readNdjson } from './transfer/ndjson.ts'

/** Exit codes besides 0: it failed, or what was asked for could not be understood. */
const FAILED = 1
const MISUSED = 2

const say = (text: string): void => void process.stdout.write(`${text}\n`)

/** The commands. An argument in angle brackets has to be given. */
export const commands: Record<
  string,
  {
    summary: string
    argument?: [string, string]
    option?: [string, string, (text: string) => unknown, unknown]
    run(...given: never[]): Promise<void>
  }
> = {
  serve: {
    summary: 'Bring the schema up to date and serve the API until a signal',
    async run() {
      const url = await serve(loadConfig())
      say(
        `Stockroom listens on ${url}\n  products    ${url}/api/products/\n  categories  ${url}/api/categories/\n  docs        ${url}/docs/\n  OpenAPI     ${url}/openapi.json`,
      )
    },
  },
  migrate: {
    summary: 'Bring the schema up to date',
    run: () =>
      withDatabase(async (_db, applied) => {
        say(applied.length > 0 ? `Applied ${applied.join(', ')}.` : 'The schema is up to date.')
      }),
  },
  seed: {
    summary: 'Fill an empty database with a made-up catalogue',
    option: ['--count <products>', 'how many products', wholeNumber, 1_000],
    run: ({ count }: { count: number }) =>
      withDatabase(async (db) => {
        if (!(await isEmpty(db))) return say('The database has products already: nothing was added.')
        const { sampleProducts } = await import('./transfer/sample.ts')
        report(await importProducts(db, sampleProducts(count)))
      }),
  },
  import: {
    summary: 'Import products: one JSON object a line, told apart by sku',
    argument: ['<file>', 'the file, or - for standard input'],
    run: (file: string) =>
      withDatabase(async (db) => {
        report(await importFile(db, file))
      }),
  },
  reindex: {
    summary: 'Write the search text of every record anew, as needed after writing to the database by hand',
    run: () =>
      withDatabase(async (db) => {
        for (const { served } of await declaredResources()) say(`${served.table}: ${await reindex(db.write, db.dialect, served)}`)
      }),
  },
}

async function withDatabase(work: (db: Database, applied: string[]) => Promise<void>): Promise<void> {
  const resources = await declaredResources()
  const db = await open(loadConfig().DATABASE_URL, { served: resources.map(({ served }) => served) })
  try {
    await work(db, await db.migrate())
  } finally {
    await db.close()
  }
}

const isEmpty = async (db: Database) => (await db.read.all(sql`select 1 from products limit 1`)).length === 0

const report = ({ created, updated, unchanged }: ImportResult) => say(`${created} created, ${updated} updated, ${unchanged} unchanged.`)

async function importFile(db: Database, file: string): Promise<ImportResult> {
  // Asked first: a stream of a file that is not there fails before anyone listens.
  const size = file === '-' ? 0 : (await stat(file)).size
  const input = file === '-' ? process.stdin : createReadStream(file)
  const bar = new SingleBar({ format: '{bar} {percentage}% | {lines} lines', hideCursor: true, noTTYOutput: false }, Presets.shades_classic)
  let bytes = 0
  async function* counted() {
    for await (const chunk of input) {
      bytes += chunk.length
      yield chunk as Buffer
    }
  }
  if (process.stderr.isTTY && size > 0) bar.start(size, 0, { lines: 0 })
  try {
    return await importProducts(db, readNdjson(counted()), (lines) => bar.update(bytes, { lines }))
  } finally {
    bar.stop()
  }
}

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,7}$/.test(text)) throw new InvalidArgumentError('It takes a whole number from 1 to 99999999.')
  return Number(text)
}

export function program(): Command {
  const stockroom = new Command('stockroom').description(packageJson.description).version(packageJson.version).exitOverride()
  for (const [name, { summary, argument, option, run }] of Object.entries(commands)) {
    const command = stockroom.command(name).description(summary).exitOverride()
    if (argument) command.argument(...argument)
    if (option) command.option(...option)
    command.action(run as (...given: unknown[]) => Promise<void>)
  }
  return stockroom
}

if (import.meta.main) {
  try {
    await program().parseAsync()
  } catch (error) {
    process.exitCode = exitCodeOf(error)
  }
}

/** Says what went wrong, in a sentence where it is one that we know. */
function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : MISUSED
  const expected =
    error instanceof ConfigError ||
    error instanceof ImportRefused ||
    error instanceof DatabaseUnusable ||
    error instanceof DatabaseBusy ||
    (error instanceof Error && 'code' in error)
  process.stderr.write(`${expected ? (error as Error).message : error instanceof Error ? error.stack : error}\n`)
  return error instanceof ConfigError ? MISUSED : FAILED
}
