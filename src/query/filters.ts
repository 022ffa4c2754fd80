// The filters of a list. Each lookup of a field becomes a parameter with a codec, an OpenAPI schema and a SQL condition.
import { type SQL, sql } from 'drizzle-orm'
import type { Database } from '../../drizzle/database.ts'
import type { Clause } from '../../drizzle/selection.ts'
import type { ServedName } from '../../drizzle/tables.ts'
import { joinList, splitList } from './csv.ts'
import { type Codec, type Field, flagCodec, type Kind, type Meta, meta } from './fields.ts'
import { type FilterValue, type Lookup, type LookupName, lookups } from './lookups.ts'
import { type Parameter, parameter } from './querystring.ts'
import { Unreadable } from './values.ts'

/** Values of one `in` parameter. */
const MAX_IN_VALUES = 100

/** A parameter that selects rows. */
export interface Filter {
  parameter: Parameter<readonly FilterValue[]>
  clause(db: Database, values: readonly FilterValue[]): Clause
}

/** Builds the filters of a lookup: itself, and its negation (`name!`), which selects all other rows, NULL included. */
export function buildFilters(table: ServedName, field: string, schema: Field, name: LookupName): [string, Filter][] {
  const known = schema[meta]
  const lookup: Lookup = lookups[name]
  if (!lookup.kinds.includes(known.kind)) throw new TypeError(`${table}.${field} is ${known.kind}: it cannot have the lookup ${name}`)
  const parameterName = name === 'exact' ? field : `${field}__${name}`
  const by = buildValuesCodec(lookup, known)
  const of = (db: Database) => ({ db, table, field, meta: known })
  const clause: Filter['clause'] = (db, values) => lookup.clause(of(db), values)
  const not: Filter['clause'] = (db, values) => lookup.not?.(of(db), values) ?? negate(clause(db, values))
  const hints = [
    known.kind === 'time' && lookup.takes !== 'flag' ? ' (RFC 3339, or a date)' : '',
    lookup.takes === 'list' ? '. Separate values by commas. Put a value with a comma in double quotes, and double the quotes in it' : '',
  ]
  const documented = (description: string) =>
    parameter({ ...buildValuesSchema(lookup, known.kind), description: `${description}${hints.join('')}` }, by)
  return [
    [parameterName, { parameter: documented(`${field} ${lookup.meaning}`), clause }],
    [`${parameterName}!`, { parameter: documented(`Not: ${field} ${lookup.meaning}`), clause: not }],
  ]
}

/** Negates a clause. No index finds the rows of a negated clause. */
const negate = ({ variant, values, isDefinite: definite, check, lookUp, readsTable: reads }: Clause): Clause => ({
  ...(variant !== undefined && { variant }),
  ...(reads && { readsTable: reads }),
  values,
  check: (...values) => (definite ? sql`not ${check(...values)}` : sql`(${check(...values)}) is not true`),
  ...(lookUp && { lookUp: (...values: SQL[]) => sql`(${lookUp(...values)}) is not true` }),
  isUnindexed: true,
})

/** Schemas of one value in a URL. A whole number can be compared with a fraction. */
const VALUE_SCHEMAS: Record<Kind, object> = {
  text: { type: 'string' },
  boolean: { type: 'boolean' },
  integer: { type: 'number' },
  reference: { type: 'number' },
  decimal: { type: ['string', 'number'] },
  // No example: the documentation page would prefill it and send it.
  time: { type: 'string' },
  json: { type: 'string' },
}

const VALUE_COUNTS: Record<Lookup['takes'], { min: number; max: number }> = {
  value: { min: 1, max: 1 },
  flag: { min: 1, max: 1 },
  pair: { min: 2, max: 2 },
  list: { min: 1, max: MAX_IN_VALUES },
}

function buildValuesSchema(lookup: Lookup, kind: Kind): object {
  if (lookup.takes === 'flag') return { type: 'boolean' }
  const items = lookup.codec ? VALUE_SCHEMAS.text : VALUE_SCHEMAS[kind]
  const { min, max } = VALUE_COUNTS[lookup.takes]
  return max === 1 ? items : { type: 'array', items, minItems: min, maxItems: max }
}

function buildValuesCodec(lookup: Lookup, known: Meta): Codec<readonly FilterValue[]> {
  const one = (lookup.takes === 'flag' ? flagCodec : (lookup.codec ?? known.codec)) as Codec<FilterValue>
  const { min, max } = VALUE_COUNTS[lookup.takes]
  if (max === 1) return { read: (text) => [one.read(text)], write: ([value]) => one.write(value as FilterValue) }
  return {
    read(text) {
      const items = splitList(text)
      if (items.length < min || items.length > max)
        throw new Unreadable(`takes ${min === max ? min : `at most ${max}`} values, got ${items.length}`)
      return items.map((item, index) => readItem(one, item, index))
    },
    write: (values) => joinList(values.map(one.write)),
  }
}

function readItem(codec: Codec<FilterValue>, item: string, index: number): FilterValue {
  try {
    return codec.read(item)
  } catch (error) {
    throw error instanceof Unreadable ? new Unreadable(`value ${index + 1} ${error.message}`) : error
  }
}
