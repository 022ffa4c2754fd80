// Seeded random numbers: the same sequence on every run.

export interface Random {
  /** A whole number from 0 to `below` - 1. */
  whole(below: number): number
  pick<T>(items: readonly T[]): T
}

/** Returns a generator of pseudo-random numbers (Mulberry32). */
export function createRandom(seed: number): Random {
  let state = seed
  const whole = (below: number) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }
  return { whole, pick: (items) => items[whole(items.length)] as (typeof items)[number] }
}
