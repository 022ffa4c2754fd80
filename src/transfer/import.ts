// Imports products from lines of JSON: a new `sku` is made, a known one is changed, and where a line is bad nothing is done at all.
import { Type } from '@sinclair/typebox'
import { getTableColumns, sql } from 'drizzle-orm'
import type { SQLiteColumn } from 'drizzle-orm/sqlite-core'
import type { Database, Queries } from '../../drizzle/database.ts'
import { BATCH } from '../../drizzle/search.ts'
import { type Actor, COMMAND_LINE } from '../changes.ts'
import type { Fault } from '../errors.ts'
import { meta, text } from '../query/fields.ts'
import { retried } from '../records.ts'
import { categories } from '../resources/categories.ts'
import { products } from '../resources/products.ts'
import { inserter, stored } from '../statements.ts'
import { compileBody } from '../validate.ts'
import { FIELDS, type ImportResult, MAX_REFUSED, mergeStaged, refuse } from './merge.ts'
import type { Line } from './ndjson.ts'

/** Levels of a category's path. */
const MAX_DEPTH = 20

/** Told apart by `sku`, so it has to be there. What a line leaves out stays as it is, or has its default in a new product. */
const { required: _, properties } = products.schemas.merge
const validate = compileBody(
  Type.Object(
    {
      ...properties,
      sku: text({ minLength: 1, maxLength: properties.sku?.maxLength })[meta].input,
      category: Type.Optional(Type.Array(categories.schemas.create.properties.name as never, { maxItems: MAX_DEPTH })),
    },
    { additionalProperties: false },
  ),
)

/** Throws ImportRefused. `onProgress` is called now and then with the number of lines read. */
export const importProducts = (
  db: Database,
  lines: AsyncIterable<Line>,
  onProgress: (lines: number) => void = () => {},
  by: Actor = COMMAND_LINE,
): Promise<ImportResult> =>
  db.bulk(async (staging, merge) => {
    await staging.run(sql`create temporary table staged as select * from products where false`)
    await staging.run(sql`alter table staged add column line bigint`)
    await staging.run(sql`alter table staged add column path text`)
    await staging.run(sql`create temporary table staged_before as select * from products where false`)
    // It is read in batches, in the order of the ids.
    await staging.run(sql`create index staged_before_id on staged_before (id)`)
    await staging.run(sql`create temporary table staged_paths (path text primary key, id bigint)`)
    const count = await stage(db, staging, lines, onProgress)
    await refuseRepeated(staging)
    return retried(db, () => merge((tx) => mergeStaged(db, tx, count, by)))
  })

interface Staged {
  line: number
  path: string | null
  values: Record<string, unknown>
}

async function stage(db: Database, staging: Queries, lines: AsyncIterable<Line>, onProgress: (lines: number) => void): Promise<number> {
  const refused: string[] = []
  let batch: Staged[] = []
  let count = 0
  let last = 0
  for await (const line of lines) {
    last = line.number
    const faults = 'fault' in line ? [line.fault] : validate(line.value).map(describe)
    if (faults.length > 0) refused.push(`line ${line.number}: ${faults.join('; ')}`)
    if (refused.length === MAX_REFUSED) break
    if (refused.length > 0 || 'fault' in line) continue
    const { category, ...values } = line.value as Record<string, unknown>
    batch.push({ line: line.number, path: category === undefined ? null : JSON.stringify(category), values })
    count++
    if (batch.length === BATCH) {
      await insertStaged(db, staging, batch)
      onProgress(line.number)
      batch = []
    }
  }
  refuse(refused)
  await insertStaged(db, staging, batch)
  onProgress(last)
  return count
}

const describe = (fault: Fault) => `${'pointer' in fault ? fault.pointer.slice(1) || 'the line' : fault.parameter} ${fault.detail}`

const insert = inserter('staged', ['line', 'path', ...FIELDS])

async function insertStaged(db: Database, staging: Queries, batch: Staged[]): Promise<void> {
  if (batch.length === 0) return
  const columns = getTableColumns(db.tables.products) as Record<string, SQLiteColumn>
  // What a line leaves out is null, which no field but the category can be given.
  const value = (field: string, value: unknown) => (value === undefined ? null : stored(columns[field], value))
  await insert(
    staging,
    batch.map(({ line, path, values }) => [line, path, ...FIELDS.map((field) => value(field, values[field]))]),
  )
}

async function refuseRepeated(staging: Queries): Promise<void> {
  const repeated = await staging.all<{ sku: string; first: number; last: number }>(
    sql`select sku, min(line) as first, max(line) as last from staged group by sku having count(*) > 1 order by 2 limit ${MAX_REFUSED}`,
  )
  refuse(repeated.map(({ sku, first, last }) => `line ${last}: sku ${JSON.stringify(sku)} is on line ${first} too`))
}
