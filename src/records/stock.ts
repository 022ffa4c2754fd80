// Stock as a verb: what came and what went, instead of what somebody thinks is there.
import { Type } from '@sinclair/typebox'
import type { Database, Queries } from '../../drizzle/database.ts'
import type { Actor } from '../changelog/record.ts'
import { type Fault, invalid, Problem } from '../errors.ts'
import { meta, text } from '../query/fields.ts'
import type { Row } from '../query/rows.ts'
import { MAX_STOCK, products } from '../resources/products.ts'
import { buildWriteContext } from './transaction.ts'
import { lockRecord, type Precondition, updateLocked } from './write.ts'

export const StockChange = Type.Object(
  {
    delta: Type.Unsafe<number>({
      type: 'integer',
      minimum: -MAX_STOCK,
      maximum: MAX_STOCK,
      description: 'What came, or, negative, what went. Not 0',
      examples: [-3],
    }),
    reason: Type.Unsafe<string>(
      text({ minLength: 1, maxLength: 255, description: 'Why: it is kept in the record of changes', examples: ['sold'] })[meta].input,
    ),
  },
  { $id: 'StockChange', additionalProperties: false },
)

/** Finds what the schema cannot tell of a change of stock. */
export const findStockFaults = ({ delta }: { delta?: number }): Fault[] =>
  delta === 0 ? [{ pointer: '/delta', detail: 'must not be 0' }] : []

/**
 * Adds to the stock of a product, whatever it is by then. Throws `not-found`, `insufficient-stock` where it would go below zero, with
 * what there is, and `invalid-request` where it would be more than a stock can be.
 */
export async function changeStock(
  tx: Queries,
  db: Database,
  id: number,
  { delta, reason }: { delta: number; reason: string },
  by: Actor,
  precondition?: Precondition,
): Promise<Row> {
  const faults = findStockFaults({ delta })
  if (faults.length > 0) throw invalid(faults)
  const context = buildWriteContext(tx, db, products)
  const current = await lockRecord(context, id, precondition)
  const before = Number(current.stock)
  const stock = before + delta
  if (stock < 0)
    throw new Problem('insufficient-stock', `There are ${before} in stock, and ${-delta} are wanted.`, { members: { stock: before } })
  if (stock > MAX_STOCK) throw invalid([{ pointer: '/delta', detail: `would make the stock more than ${MAX_STOCK}` }])
  return updateLocked(context, current, { stock }, by, { reason })
}
