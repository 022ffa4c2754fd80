// Long work in batches: each batch is short, so that other writes and requests run in between.
import { setImmediate } from 'node:timers/promises'

/**
 * Rows that one transaction or statement handles. Other writes wait for the transaction; on SQLite, which runs in this process, requests do
 * too. The number also bounds memory and the parameters of a SQLite statement.
 */
export const BATCH = 500

/** Calls `work` until it handles fewer than BATCH rows or `signal` aborts. `work` returns its number of rows; the result is their sum. */
export async function runInBatches(work: () => Promise<number>, signal?: AbortSignal): Promise<number> {
  let total = 0
  for (let count = BATCH; count === BATCH && !signal?.aborted; total += count) {
    count = await work()
    // On SQLite statements end without a turn of the event loop, and nothing else would run.
    await setImmediate()
  }
  return total
}
