// Chooses where a list is read on PostgreSQL: on the pool for short reads, or on the one for long reads under a deadline.
import { type Database, QueryTooExpensive } from '../database.ts'
import { checkDeadline, computeLastTry, withDeadline } from '../deadline.ts'
import { buildListKeys, ListMemory } from '../list-memory.ts'
import { type ListResult, listValues, type Selection } from '../selection.ts'
import { createSemaphore } from '../semaphore.ts'
import { classifyFailure } from './failures.ts'
import { type ListRequest, type ReadContext, type ReadPools, type ReadTimes, readInOneStatement, readInSnapshot } from './list.ts'
import { cancelAll } from './pool.ts'
import { compile, queryRows } from './prepared.ts'
import { buildStatements } from './statements.ts'

/** Requests that wait for a connection of the long pool. */
const MAX_QUEUE = 64

export function createListReader(pools: ReadPools, times: ReadTimes): Pick<Database, 'list' | 'readRows' | 'interrupt'> {
  const context: ReadContext = {
    ...pools,
    ...times,
    memory: new ListMemory(buildStatements),
    running: new Set(),
    longReads: createSemaphore(pools.long.options.max, MAX_QUEUE),
    isStopped: false,
  }
  return {
    list: (selection, deadline = performance.now() + times.timeout) => withDeadline(deadline, readList(context, selection, deadline)),
    async readRows(query, values) {
      const statement = compile(query)
      return (await unlessExpensive(queryRows(pools.short, statement, values))) ?? (await queryRows(pools.long, statement, values))
    },
    interrupt() {
      context.isStopped = true
      context.longReads.close()
      void cancelAll(pools.short, context.running)
    },
  }
}

/** Tries the short pool, then the long one until shortly before the deadline, then the short one without a count. */
async function readList(context: ReadContext, selection: Selection, deadline: number): Promise<ListResult> {
  checkDeadline(deadline)
  const { memory } = context
  const keys = buildListKeys(selection)
  const statements = memory.findStatements(selection, keys)
  const request: ListRequest = { statements, values: listValues(selection), selection, filter: keys.filter, deadline }
  if (!memory.isSlow(keys, selection)) {
    const result = await unlessExpensive(
      readInOneStatement(context, request).then((result) => result ?? readInSnapshot(context, request, { counts: true })),
    )
    if (result) return result
    memory.noteSlow(keys, selection)
  }
  const result =
    (await readLong(context, request, computeLastTry(deadline, context.timeout))) ??
    // A page that is quick to read must not fail because its count is slow while all connections for long reads are busy.
    (selection.count === 'exact' || context.isStopped
      ? undefined
      : await unlessExpensive(readInSnapshot(context, request, { counts: false })))
  if (!result) throw new QueryTooExpensive('The list exceeded its deadline')
  return result
}

/** Returns undefined if the deadline passes first, also while the list waits for a connection. */
const readLong = (context: ReadContext, request: ListRequest, deadline: number): Promise<ListResult | undefined> =>
  context.longReads.run(deadline, () => unlessExpensive(readInSnapshot(context, request, { deadline, counts: true })))

/** Returns undefined if the server ended a statement because it took too long. */
async function unlessExpensive<T>(work: Promise<T>): Promise<T | undefined> {
  return work.catch((error) => {
    if (classifyFailure(error) === 'expensive') return undefined
    throw error
  })
}
