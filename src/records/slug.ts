// Slugs: a name as it can stand in a URL.

/** Leaves room for a number behind it. */
const MAX_LENGTH = 240

/** Letters and digits of any script, in lower case, the rest as single hyphens: `Bread / 麵包` → `bread-麵包`. Empty where the name has none. */
export function buildSlug(name: string): string {
  const words =
    name
      .normalize('NFC')
      .toLowerCase()
      .match(/[\p{L}\p{M}\p{N}]+/gu) ?? []
  return [...words.join('-')].slice(0, MAX_LENGTH).join('').replace(/-$/, '')
}

/** `slug`, or where it is taken with a number behind it: the next after the last, unless some were given up. Asks few times, however many are taken. */
export async function findFreeSlug(slug: string, taken: (slug: string) => Promise<boolean>): Promise<string> {
  if (!(await taken(slug))) return slug
  const isTaken = (number: number) => taken(`${slug}-${number}`)
  let free = 2
  while (await isTaken(free)) free *= 2
  let used = free / 2
  while (free - used > 1) {
    const middle = Math.floor((free + used) / 2)
    if (await isTaken(middle)) used = middle
    else free = middle
  }
  return `${slug}-${free}`
}
