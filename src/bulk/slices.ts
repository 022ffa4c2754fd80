// Bounds the work of one transaction of a bulk request. A request that is not atomic runs in slices, so that others write in between.
import { invalid, type Problem } from '../errors.ts'
import type { Resource } from '../query/resource.ts'
import type { AppliedOperation, BulkOperation, CheckedOperation } from './operations.ts'
import { MAX_ATOMIC_BYTES } from './schemas.ts'

/** Most operations in a slice. */
const MAX_SLICE_OPERATIONS = 100
/** Most characters of text in a slice: the search index costs time per character. */
const MAX_SLICE_CHARACTERS = 131_072

/** Returns the operations of the slice that begins at `start`, at least one. */
export function takeSlice(checkedOperations: readonly CheckedOperation[], start: number): readonly CheckedOperation[] {
  let end = start
  for (let characters = 0; end < Math.min(checkedOperations.length, start + MAX_SLICE_OPERATIONS); end++) {
    characters += measureText(checkedOperations[end]?.input)
    if (end > start && characters > MAX_SLICE_CHARACTERS) break
  }
  return checkedOperations.slice(start, end)
}

/** Sums the lengths of all texts in a value. Iterates, since the value may be too deep for recursion. */
function measureText(value: unknown): number {
  const rest = [value]
  let length = 0
  while (rest.length > 0) {
    const next = rest.pop()
    if (typeof next === 'string') length += next.length
    else if (typeof next === 'object' && next !== null) for (const member of Object.values(next)) rest.push(member)
  }
  return length
}

/** Cost of an unchanged text relative to one that is added to or removed from the search index. */
const UNCHANGED_SHARE = 0.25

/** Counts the characters of searchable text that an operation has written, weighted by cost. */
export function measureWrittenText(
  { served: { foldedFields: folded } }: Resource,
  { body = {} }: BulkOperation,
  { row, removed }: AppliedOperation,
): number {
  const record = row ?? removed
  const length = folded.reduce((sum, field) => sum + String(record?.[field] ?? '').length, 0)
  return removed || folded.some((field) => field in body) ? length : length * UNCHANGED_SHARE
}

export function buildTooMuchTextProblem(place: number): Problem {
  const detail = `exceeds the limit of one transaction: the texts of the records up to here have more than ${MAX_ATOMIC_BYTES} characters. Split the request, or set "atomic": false`
  return invalid([{ pointer: `/operations/${place}`, detail }])
}
