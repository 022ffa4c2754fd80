// Merges the body of a PATCH into a record (RFC 7396).
import { type TSchema, Type } from '@sinclair/typebox'
import type { Body, Resource } from '../query/resource.ts'
import type { Row } from '../query/rows.ts'
import { compileBody, type Validator } from '../validate.ts'
import type { Conflict } from './constraints.ts'
import { mergePatch } from './merge-patch.ts'

interface MergedBody {
  values: Body
  /** Faults of merged values, which the schema of the patch cannot find. */
  conflicts: Conflict[]
}

const validators = new WeakMap<TSchema, Validator>()

function findValidator(field: string, schema: TSchema): Validator {
  const validator = validators.get(schema) ?? compileBody(Type.Object({ [field]: schema }))
  validators.set(schema, validator)
  return validator
}

/** Merges `values`, the writable members of a body, into the JSON fields of `current`. */
export function mergeInto({ mergeableFields: merged }: Resource, values: Body, current: Row): MergedBody {
  if (merged.size === 0) return { values, conflicts: [] }
  const whole = { ...values }
  const conflicts = [...merged].flatMap(([field, schema]): Conflict[] => {
    if (!(field in values)) return []
    whole[field] = mergePatch(current[field], values[field])
    return findValidator(field, schema)(whole).map((fault) => ({ code: 'invalid-request', detail: fault.detail, fault }))
  })
  return { values: whole, conflicts }
}
