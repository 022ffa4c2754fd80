// "Did you mean …?"
import type { Reason } from './errors.ts'

/** A longer name than any of ours is no slip of the finger, and comparing it would cost time. */
const MAX_LENGTH = 64

/** A little more than another slip: of two names as near, the one that has all letters that were typed goes first. */
const SUBSTITUTION = 1.01

/** Counts the letters to insert, delete, replace, or swap with their neighbour (optimal string alignment). */
export const countTypos = (from: string, to: string): number => Math.floor(distance(from, to))

/** Measures how far two names are apart: a slip counts 1, and a replaced letter SUBSTITUTION. */
function distance(from: string, to: string): number {
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

/** The one of `names` that `name` most likely was meant to be, or undefined where none is close. */
export function findNearest(name: string, names: readonly string[]): string | undefined {
  if (name.length > MAX_LENGTH) return undefined
  let found: string | undefined
  let best = Number.POSITIVE_INFINITY
  for (const candidate of names) {
    const limit = Math.max(1, Math.floor(candidate.length / 3))
    if (Math.abs(candidate.length - name.length) > limit) continue
    const slips = distance(name.toLowerCase(), candidate.toLowerCase())
    // A name of which no letter was typed was not meant.
    if (slips >= best || slips >= candidate.length || Math.floor(slips) > limit) continue
    found = candidate
    best = slips
  }
  return found
}

/** Describes a name that is none of `allowed`, and names the one that was meant. */
export function describeUnknown(detail: string, name: string, allowed: readonly string[]): Reason {
  const suggestion = findNearest(name, allowed)
  return suggestion === undefined ? { detail, allowed } : { detail: `${detail}; did you mean ${suggestion}?`, allowed, suggestion }
}

/** Describes a value that is not one of a few. A value that is no text may be nested too deeply to be written as one. */
export const describeNotAllowed = (value: unknown, allowed: readonly string[]): Reason =>
  describeUnknown('is not one of the allowed values', typeof value === 'string' ? value : '', allowed)
