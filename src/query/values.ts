// Reads values from text. Numbers and times are read as whole units of a column, rounded down. A value between two units, or outside
// the range of the column, still compares correctly.
import type { Reason } from '../errors.ts'

/** Thrown for text that is not a value of the expected kind. */
export class Unreadable extends Error {
  readonly faults: readonly Reason[]

  constructor(...faults: (string | Reason)[]) {
    const reasons = faults.map((fault) => (typeof fault === 'string' ? { detail: fault } : fault))
    super(reasons.map(({ detail }) => detail).join('; '))
    this.faults = reasons
  }
}

/** Trims `text`. Throws Unreadable for text that neither database can store. */
export function readText(text: string): string {
  if (text.includes('\0')) throw new Unreadable('has a NUL character')
  if (!text.isWellFormed()) throw new Unreadable('has half of a surrogate pair')
  return text.trim()
}

/** A number or time in a query. It equals `floor` units, or lies between `floor` and `floor + 1` if it is not `exact`. */
export interface UnitValue {
  floor: bigint
  exact: boolean
  /** Canonical form, for links. */
  text: string
}

/** The range of a column, in units. One unit below `min` or above `max` stands for every value outside the range. */
export interface UnitRange {
  min: bigint
  max: bigint
  /** Converts units to the value in a row. */
  toData(units: bigint): number | string
}

/** The values to bind in a comparison of a column with a value of a query. An inexact value equals no row. */
export const equal = (line: UnitRange, { floor, exact }: UnitValue) =>
  line.toData(exact && floor >= line.min && floor <= line.max ? floor : line.min - 1n)
export const above = (line: UnitRange, { floor }: UnitValue) => line.toData(clamp(line, floor + 1n))
export const atLeast = (line: UnitRange, { floor, exact }: UnitValue) => line.toData(clamp(line, exact ? floor : floor + 1n))
export const below = (line: UnitRange, { floor, exact }: UnitValue) => line.toData(clamp(line, exact ? floor - 1n : floor))
export const atMost = (line: UnitRange, { floor }: UnitValue) => line.toData(clamp(line, floor))

function clamp({ min, max }: UnitRange, units: bigint): bigint {
  if (units < min) return min - 1n
  return units > max ? max + 1n : units
}

const MAX_DIGITS = 30
/** Each text matches in one way only. The expression therefore never backtracks, and rejects long text in linear time. */
const NUMBER = /^(-?)(?:(\d+)(?:\.(\d*))?|\.(\d+))$/

/** Reads plain digits with an optional `-` and point. A unit is 10^-scale. */
export function readNumber(text: string, scale: number): UnitValue {
  const [, sign = '', digits, decimals, bareDecimals] = NUMBER.exec(text) ?? []
  if (digits === undefined && bareDecimals === undefined) throw new Unreadable('is not a number: write plain digits, such as 12 or 0.5')
  const whole = (digits ?? '').replace(/^0+/, '')
  const fraction = trimZeros(decimals ?? bareDecimals ?? '')
  if ((digits ?? '').length + (decimals ?? bareDecimals ?? '').length > MAX_DIGITS)
    throw new Unreadable(`has more than ${MAX_DIGITS} digits`)
  const units = BigInt(whole + fraction.slice(0, scale).padEnd(scale, '0') || '0')
  const exact = fraction.length <= scale
  const negative = sign === '-' && whole + fraction !== ''
  const magnitude = `${whole || '0'}${fraction && `.${fraction}`}`
  return { floor: negative ? -units - (exact ? 0n : 1n) : units, exact, text: negative ? `-${magnitude}` : magnitude }
}

/** Tries each run of zeros once. `0+$` alone would start again at every zero, in quadratic time. */
const trimZeros = (digits: string) => digits.replace(/(?<!0)0+$/, '')

const TIME = /^(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(?::(\d\d)(?:\.(\d+))?)?([Zz]|[+-]\d\d:\d\d)?)?$/
const MILLISECOND_DIGITS = 3
const MINUTE = 60_000

/** Reads RFC 3339, a date alone (midnight UTC) or a time without an offset (UTC). A unit is a millisecond since 1970. */
export function readTime(text: string): UnitValue {
  const [, date, clock = '00:00', seconds = '00', decimals = '', offset = 'Z'] = TIME.exec(text) ?? []
  const local = Date.parse(`${date}T${clock}:${seconds}Z`)
  // Date.parse reads 30 February as 2 March, so the result must have the same date as the text.
  if (!date || Number.isNaN(local) || !new Date(local).toISOString().startsWith(date)) throw new Unreadable(describeBadTime(text))
  const fraction = trimZeros(decimals)
  if (fraction.length > MAX_DIGITS) throw new Unreadable(`has more than ${MAX_DIGITS} digits behind the point`)
  const milliseconds = Number(fraction.slice(0, MILLISECOND_DIGITS).padEnd(MILLISECOND_DIGITS, '0'))
  const instant = local + milliseconds - readOffset(offset)
  const rest = fraction.slice(MILLISECOND_DIGITS)
  const spelling = new Date(instant).toISOString().replace('Z', `${rest}Z`)
  // With an offset, a time can lie outside the years 0 to 9999. RFC 3339 has no form for it in UTC.
  return { floor: BigInt(instant), exact: rest === '', text: TIME.test(spelling) ? spelling : text }
}

function readOffset(offset: string): number {
  if (offset.toUpperCase() === 'Z') return 0
  const [hours = 0, minutes = 0] = offset.slice(1).split(':').map(Number)
  if (hours > 23 || minutes > 59) throw new Unreadable('has an invalid time offset: write one such as +02:00')
  return (offset.startsWith('-') ? -1 : 1) * (hours * 60 + minutes) * MINUTE
}

const describeBadTime = (text: string) =>
  / \d\d:\d\d$/.test(text) && text.includes('T')
    ? 'is not a time: encode the + of the offset as %2B'
    : 'is not a time: write RFC 3339, such as 2026-01-31 or 2026-01-31T12:00:00Z'
