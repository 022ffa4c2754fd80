// Picks at random by weight, the same at every run.

export { createRandom as seeded, type Random } from '../src/transfer/random.ts'

/** `items`, each as often as its weight says, so that picking one of the result is picking by weight. */
export function byWeight<T>(items: readonly T[], weight: (rank: number) => number): T[] {
  const PLACES = 65_536
  const weights = items.map((_, rank) => weight(rank))
  const total = weights.reduce((sum, one) => sum + one, 0)
  return items.flatMap((item, rank) => Array<T>(Math.max(1, Math.round(((weights[rank] ?? 0) / total) * PLACES))).fill(item))
}
