// Builds a body that creates a record of any resource, from its declaration.
import { meta } from '../src/query/fields.ts'
import type { Body, Resource } from '../src/query/resource.ts'

/** Returns a value for each field without a default. Throws for a reference, whose record would have to exist. */
export const sampleBody = ({ contract, writable }: Resource): Body =>
  Object.fromEntries(
    Object.entries(contract)
      .filter(([field]) => writable.has(field) && !('default' in (writable.get(field) ?? {})))
      .map(([field, schema]) => {
        const [example] = schema.examples ?? schema.enum ?? []
        const { kind, range: line } = schema[meta]
        if (kind === 'reference') throw new TypeError(`${field} needs a record to refer to`)
        return [field, example ?? line?.toData(line.min) ?? (kind === 'boolean' ? false : 'a'.repeat(schema.minLength ?? 1))]
      }),
  )
