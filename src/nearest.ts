// "Did you mean …?"
import { closest, distance } from 'fastest-levenshtein'

/** A longer name than any of ours is no slip of the finger, and comparing it would cost time. */
const MAX_LENGTH = 64

/** The one of `names` that `name` most likely was meant to be, or undefined where none is close. */
export function nearest(name: string, names: readonly string[]): string | undefined {
  if (name.length > MAX_LENGTH || names.length === 0) return undefined
  const candidate = closest(name.toLowerCase(), names)
  return distance(name.toLowerCase(), candidate) <= Math.max(1, Math.floor(candidate.length / 3)) ? candidate : undefined
}
