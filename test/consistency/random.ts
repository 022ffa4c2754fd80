// Random choices of the clients.

/** Returns a whole number from 0 to `limit - 1`. */
export const randomBelow = (limit: number) => Math.floor(Math.random() * limit)

export const pick = <T>(items: readonly T[]): T => items[randomBelow(items.length)] as T

export const randomPrice = () => `${randomBelow(500)}.${String(randomBelow(100)).padStart(2, '0')}`

export type Weighted<T> = [weight: number, choice: T]

export function pickWeighted<T>(choices: readonly Weighted<T>[]): T {
  let rest = Math.random() * choices.reduce((sum, [weight]) => sum + weight, 0)
  for (const [weight, choice] of choices) {
    rest -= weight
    if (rest < 0) return choice
  }
  return pick(choices)[1]
}
