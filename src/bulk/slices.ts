// The parts of a bulk request whose operations stand each for itself: each part is one transaction, and others write between two of them.
import type { Checked } from './bulk.ts'

/** Operations of one part, and characters of their texts, of which each takes time to be made searchable. */
const MAX_OPERATIONS = 100
const MAX_CHARACTERS = 131_072

/** The operations of a part, beginning with the one at `start`. There is at least one. */
export function nextSlice(checked: readonly Checked[], start: number): readonly Checked[] {
  let end = start
  for (let characters = 0; end < Math.min(checked.length, start + MAX_OPERATIONS); end++) {
    characters += textLength(checked[end]?.given)
    if (end > start && characters > MAX_CHARACTERS) break
  }
  return checked.slice(start, end)
}

/** The length of the texts in a value. It may be nested too deeply for a recursive function. */
function textLength(value: unknown): number {
  const rest = [value]
  let length = 0
  while (rest.length > 0) {
    const next = rest.pop()
    if (typeof next === 'string') length += next.length
    else if (typeof next === 'object' && next !== null) for (const member of Object.values(next)) rest.push(member)
  }
  return length
}
