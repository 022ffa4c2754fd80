// How much one transaction of a bulk request does. Where operations stand each for itself, it is a part of them, and others write in between.
import { invalid, type Problem } from '../errors.ts'
import type { Resource } from '../query/resource.ts'
import type { AppliedOperation, CheckedOperation } from './bulk.ts'
import type { BulkOperation } from './operations.ts'
import { MAX_ATOMIC_BYTES } from './schemas.ts'

/** Operations of one part, and characters of their texts, of which each takes time to be made searchable. */
const MAX_SLICE_OPERATIONS = 100
const MAX_SLICE_CHARACTERS = 131_072

/** The operations of a part, beginning with the one at `start`. There is at least one. */
export function takeSlice(checked: readonly CheckedOperation[], start: number): readonly CheckedOperation[] {
  let end = start
  for (let characters = 0; end < Math.min(checked.length, start + MAX_SLICE_OPERATIONS); end++) {
    characters += measureText(checked[end]?.given)
    if (end > start && characters > MAX_SLICE_CHARACTERS) break
  }
  return checked.slice(start, end)
}

/** The length of the texts in a value. It may be nested too deeply for a recursive function. */
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

/** A text that stays as it is costs so much less than one that is made searchable, or is so no longer. */
const UNCHANGED_SHARE = 0.25

/** The characters of searchable text that an operation has written, by what they cost. */
export function measureWrittenText(
  { served: { foldedFields: folded } }: Resource,
  { body = {} }: BulkOperation,
  { row, removed }: AppliedOperation,
): number {
  const record = row ?? removed
  const length = folded.reduce((sum, field) => sum + String(record?.[field] ?? '').length, 0)
  return removed || folded.some((field) => field in body) ? length : length * UNCHANGED_SHARE
}

export function refuseTooMuchText(place: number): Problem {
  const detail = `is too much for one transaction: the texts of the records up to here have more than ${MAX_ATOMIC_BYTES} characters. Send several requests, or say "atomic": false`
  return invalid([{ pointer: `/operations/${place}`, detail }])
}
