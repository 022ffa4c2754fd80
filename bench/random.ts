// Numbers that look random and are the same at every run.

export interface Random {
  /** From 0 up to, not including, `below`. */
  whole(below: number): number
  pick<T>(items: readonly T[]): T
}

/** Mulberry32. */
export function seeded(seed: number): Random {
  let state = seed
  const whole = (below: number) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }
  return { whole, pick: (items) => items[whole(items.length)] as (typeof items)[number] }
}

/** `items`, each as often as its weight says, so that picking one of the result is picking by weight. */
export function byWeight<T>(items: readonly T[], weight: (rank: number) => number): T[] {
  const PLACES = 65_536
  const weights = items.map((_, rank) => weight(rank))
  const total = weights.reduce((sum, one) => sum + one, 0)
  return items.flatMap((item, rank) => Array<T>(Math.max(1, Math.round(((weights[rank] ?? 0) / total) * PLACES))).fill(item))
}
