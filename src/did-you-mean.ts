// Suggestions for misspelt names: "did you mean …?"
import type { Reason } from './errors.ts'

/** Characters. All known names are shorter, so a longer one is no typo, and comparing it would take time. */
const MAX_LENGTH = 64

/** Cost of a replaced letter. It is above 1, so that of two equally similar names the one with every typed letter wins. */
const SUBSTITUTION = 1.01

/** Counts the letters to insert, delete, replace, or swap with their neighbour (optimal string alignment distance). */
export const countTypos = (from: string, to: string): number => Math.floor(measureDistance(from, to))

/** Measures the distance of two names: a typo costs 1, and a replaced letter SUBSTITUTION. */
function measureDistance(from: string, to: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: to.length + 1 }, (_, column) => column)
  for (let row = 1; row <= from.length; row++) {
    const current = [row]
    for (let column = 1; column <= to.length; column++) {
      const isSame = from[row - 1] === to[column - 1]
      const isSwap = from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1]
      current[column] = Math.min(
        (current[column - 1] ?? 0) + 1,
        (last[column] ?? 0) + 1,
        (last[column - 1] ?? 0) + (isSame ? 0 : SUBSTITUTION),
        isSwap ? (beforeLast[column - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY,
      )
    }
    beforeLast = last
    last = current
  }
  return last[to.length] ?? 0
}

/** Finds the one of `names` that is most similar to `name`. Returns undefined if none is similar enough. */
export function findNearest(name: string, names: readonly string[]): string | undefined {
  if (name.length > MAX_LENGTH) return undefined
  let nearest: string | undefined
  let best = Number.POSITIVE_INFINITY
  for (const candidate of names) {
    const limit = Math.max(1, Math.floor(candidate.length / 3))
    if (Math.abs(candidate.length - name.length) > limit) continue
    const cost = measureDistance(name.toLowerCase(), candidate.toLowerCase())
    // With as many typos as letters, no letter of the candidate was typed.
    if (cost >= best || cost >= candidate.length || Math.floor(cost) > limit) continue
    nearest = candidate
    best = cost
  }
  return nearest
}

/** Describes a name that is not in `allowed`, with a suggestion if one is similar. */
export function describeUnknown(detail: string, name: string, allowed: readonly string[]): Reason {
  const suggestion = findNearest(name, allowed)
  return suggestion === undefined ? { detail, allowed } : { detail: `${detail}; did you mean ${suggestion}?`, allowed, suggestion }
}

/** Describes a value that is not in `allowed`. Only text gets a suggestion: other values can be nested too deeply to convert. */
export const describeNotAllowed = (value: unknown, allowed: readonly string[]): Reason =>
  describeUnknown('is not one of the allowed values', typeof value === 'string' ? value : '', allowed)
