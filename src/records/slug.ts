// Slugs: names in a form for URLs.

/** Characters. A slug column holds 255, which leaves room for a number. */
const MAX_LENGTH = 240

/** Keeps letters and digits of any script, in lower case, with hyphens between words: `Bread / 麵包` → `bread-麵包`. Can return ''. */
export function buildSlug(name: string): string {
  const words =
    name
      .normalize('NFC')
      .toLowerCase()
      .match(/[\p{L}\p{M}\p{N}]+/gu) ?? []
  return [...words.join('-')].slice(0, MAX_LENGTH).join('').replace(/-$/, '')
}

/**
 * Finds a free slug: `slug`, or if that is taken, `slug` with a number. The number follows the last one in use, unless there are gaps.
 * The search doubles and then bisects, so it takes a logarithmic number of queries.
 */
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
