// Converts decimal text to and from whole minor units. It works on digits alone, so no price is ever a binary fraction.

/** Converts `"29.9"` at scale 2 to `2990`. `text` is plain digits with an optional `-`. Throws RangeError for more than `scale` decimals. */
export function toUnits(text: string, scale: number): number {
  const [whole = '', fraction = ''] = text.split('.')
  if (fraction.length > scale) throw new RangeError(`${text} has more than ${scale} decimals`)
  return Number(whole + fraction.padEnd(scale, '0'))
}

/** Converts `2990` at scale 2 to `"29.90"`. It accepts the text of an integer too, because PostgreSQL sends a bigint as text. */
export function fromUnits(units: bigint | number | string, scale: number): string {
  const text = String(units)
  const sign = text.startsWith('-') ? '-' : ''
  const digits = text.slice(sign.length).padStart(scale + 1, '0')
  return scale === 0 ? text : `${sign}${digits.slice(0, -scale)}.${digits.slice(-scale)}`
}
