// Random picks by weight, the same for every run.

export { createRandom, type Random } from '../src/transfer/random.ts'

/** Repeats each item by its weight, so that a uniform pick from the result is a weighted pick. */
export function repeatByWeight<T>(items: readonly T[], weight: (rank: number) => number): T[] {
  const PLACES = 65_536
  const weights = items.map((_, rank) => weight(rank))
  const total = weights.reduce((sum, value) => sum + value, 0)
  return items.flatMap((item, rank) => Array<T>(Math.max(1, Math.round(((weights[rank] ?? 0) / total) * PLACES))).fill(item))
}
