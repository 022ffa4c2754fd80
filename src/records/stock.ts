// Relative changes of stock. They do not overwrite concurrent changes, as setting an absolute number would.
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
      description: 'Change of the stock: positive for goods in, negative for goods out. Not 0',
      examples: [-3],
    }),
    reason: Type.Unsafe<string>(
      text({ minLength: 1, maxLength: 255, description: 'Reason of the change, for the change log', examples: ['sold'] })[meta].input,
    ),
  },
  { $id: 'StockChange', additionalProperties: false },
)

/** Finds the faults of a stock change that its schema cannot find. */
export const findStockFaults = ({ delta }: { delta?: number }): Fault[] =>
  delta === 0 ? [{ pointer: '/delta', detail: 'must not be 0' }] : []

/**
 * Adds `delta` to the current stock of a product. Throws `not-found`, `insufficient-stock` with the current stock if the result would
 * be negative, and `invalid-request` if it would exceed MAX_STOCK.
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
