// Imports products from lines of JSON. A new `sku` creates a product, an existing one updates it. One faulty line refuses the whole import.
import { sql } from 'drizzle-orm'
import type { Database, Queries } from '../../drizzle/database.ts'
import { type Actor, COMMAND_LINE } from '../changelog/record.ts'
import { withRetry } from '../records/transaction.ts'
import { categories } from '../resources/categories.ts'
import { products } from '../resources/products.ts'
import { describeFaults, findConflicts, findRepeated, ImportRefused, ImportStopped } from './faults.ts'
import { mergeLines } from './merge.ts'
import type { Line } from './ndjson.ts'
import { type ImportPlan, type LineRange, planImport } from './plan.ts'
import { createStaging, stageLines } from './stage.ts'

export interface ImportResult {
  created: number
  updated: number
  unchanged: number
  /** Records of another resource that lines name and that did not exist; undefined if there are none. */
  alsoCreated?: {
    table: string
    count: number
    /** First MAX_NAMES names. */
    names: readonly string[]
  }
}

/** Most names in a result. */
const MAX_NAMES = 20

export interface ImportOptions {
  /** Merges in one transaction, which blocks other writes as long as it takes. */
  atomic?: boolean
  by?: Actor
  /** Called after each batch of lines, with the number of lines read. */
  onProgress?(lines: number): void
  /** Called after each merged batch, with the number of merged lines and of all lines. */
  onMerged?(lines: number, total: number): void
}

/** Target duration of a batch in milliseconds. Its size follows from the duration of the previous batch. */
const BATCH_TIME = 100
/** Lines of the first batch, and bounds for the others. */
const FIRST_BATCH = 200
const MIN_BATCH = 20
const MAX_BATCH = 10_000

/** Returns a function that imports records. It throws ImportRefused, or ImportStopped once a batch is merged. */
export function createImporter(plan: ImportPlan) {
  return (db: Database, lines: AsyncIterable<Line>, options: ImportOptions = {}): Promise<ImportResult> =>
    db.runBulk(async (staging, merge) => {
      await createStaging(staging, plan)
      await stageLines(staging, db, plan, lines, options.onProgress ?? (() => {}))
      const [all] = await staging.all<{ last: number | null; count: number }>(
        sql`select max(staged_line) as last, count(*) as count from staged`,
      )
      const range = { after: 0, last: Number(all?.last) }
      await findRepeated(staging, plan)
      await findConflicts(staging, plan, range)
      const faults = await describeFaults(staging, plan)
      if (faults.length > 0) throw new ImportRefused(['Nothing was imported:', ...faults].join('\n  '))
      return mergeAll(db, plan, { staging, merge, count: Number(all?.count), ...options })
    })
}

export const importProducts = createImporter(planImport(products, { key: 'sku', path: 'category', tree: categories }))

interface MergeOptions extends ImportOptions {
  staging: Queries
  merge: Database['write']
  count: number
}

/** Merges the lines in batches, so that others write in between. A failed batch leaves the earlier ones merged. */
async function mergeAll(
  db: Database,
  plan: ImportPlan,
  { staging, merge, count, atomic, by = COMMAND_LINE, onMerged }: MergeOptions,
): Promise<ImportResult> {
  const result = { created: 0, updated: 0 }
  const alsoCreated = { table: plan.tree.table, count: 0, names: [] as string[] }
  let merged = 0
  let after = 0
  for (let size = atomic ? count : FIRST_BATCH; merged < count; ) {
    const { range, lines } = await nextBatch(staging, after, size)
    let start = 0
    const { created, updated, createdNames } = await withRetry(db, () =>
      merge((tx) => {
        start = performance.now()
        return mergeLines(tx, db, plan, range, by)
      }),
    ).catch((error) => {
      throw explainStop(after, error)
    })
    result.created += created
    result.updated += updated
    alsoCreated.count += createdNames.length
    alsoCreated.names.push(...createdNames.slice(0, MAX_NAMES - alsoCreated.names.length))
    merged += lines
    after = range.last
    onMerged?.(merged, count)
    const fitting = Math.round((lines * BATCH_TIME) / (performance.now() - start))
    size = Math.max(MIN_BATCH, Math.min(fitting, 2 * size, MAX_BATCH))
  }
  return { ...result, unchanged: count - result.created - result.updated, ...(alsoCreated.count > 0 && { alsoCreated }) }
}

async function nextBatch(staging: Queries, after: number, size: number): Promise<{ range: LineRange; lines: number }> {
  const [batch] = await staging.all<{ last: number; lines: number }>(
    sql`select max(staged_line) as last, count(*) as lines from (select staged_line from staged where staged_line > ${after} order by staged_line limit ${size}) batch`,
  )
  return { range: { after, last: Number(batch?.last) }, lines: Number(batch?.lines) }
}

function explainStop(line: number, error: unknown): unknown {
  const reasons = error instanceof Error ? error.message.split('\n') : [String(error)]
  if (line === 0) return error instanceof ImportRefused ? new ImportRefused(['Nothing was imported:', ...reasons].join('\n  ')) : error
  return new ImportStopped(
    [
      `The import stopped after line ${line}: the lines up to there were imported, the rest was not. Import the same file again to continue:`,
      ...reasons,
    ].join('\n  '),
    { cause: error },
  )
}
