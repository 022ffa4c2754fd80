// What a bulk request and its answer look like, and how large a request may be.
import { Type } from '@sinclair/typebox'
import { type Fault, invalid } from '../errors.ts'
import { repeatedMembers } from '../http/json.ts'
import type { Resource } from '../query/resource.ts'
import { compileBody, MAX_MEMBERS } from '../validate.ts'
import { buildOperationSchema } from './operations.ts'

/** Operations of one request. */
export const MAX_OPERATIONS = 1_000

/** Operations that count as one request against the limit of a key. */
export const OPERATIONS_PER_REQUEST = 10

/** Bytes of a request that is done in one transaction: other writers wait for it on SQLite. */
export const MAX_ATOMIC_BYTES = 524_288

export interface BulkBody {
  operations: unknown[]
  atomic?: boolean
}

const atomic = Type.Optional(
  Type.Boolean({
    default: true,
    description: `\`true\`: everything is one transaction. Where an operation fails, nothing is done, and the answer lists what is wrong with all of them. Such a request may have ${MAX_ATOMIC_BYTES / 1_024} KiB. \`false\`: each operation stands for itself`,
  }),
)
const bounds = { minItems: 1, maxItems: MAX_OPERATIONS }

/** As the OpenAPI document shows it. */
export const buildBulkInput = (resource: Resource) =>
  Type.Unsafe<BulkBody>(
    Type.Object(
      { operations: Type.Array(buildOperationSchema(resource), bounds), atomic },
      { additionalProperties: false, ...buildExamples(resource) },
    ),
  )

/** A request that creates a record, made of the examples of its fields. Returns none where a required field has no example. */
function buildExamples({ writable, contract }: Resource): { examples?: BulkBody[] } {
  const fields = [...writable].map(([field, { default: fallback }]) => ({ field, fallback, examples: contract[field]?.examples }))
  if (fields.some(({ fallback, examples }) => fallback === undefined && !examples)) return {}
  const body = Object.fromEntries(fields.flatMap(({ field, examples }) => (examples ? [[field, examples[0]]] : [])))
  return { examples: [{ operations: [{ op: 'create', body }], atomic: true }] }
}

const checkBody = compileBody(Type.Object({ operations: Type.Array(Type.Unknown(), bounds), atomic }, { additionalProperties: false }))

const OPERATION = /^\/operations\/(\d+)(\/.*)$/

/** The faults of a body that are not those of an operation, and the members that each operation gives more than once. */
export interface Envelope {
  faults: Fault[]
  /** By the place of the operation; pointers begin at it. */
  repeated: ReadonlyMap<number, Fault[]>
}

/** Looks at a body, but not into its operations. Throws `invalid-request` where there are none that could be looked at. */
export function readEnvelope(body: unknown): Envelope {
  if (!hasFewMembers(body)) throw invalid([{ pointer: '', detail: 'must be a JSON object with `operations`' }])
  const faults = checkBody(body)
  const repeated = new Map<number, Fault[]>()
  for (const fault of repeatedMembers(body)) {
    const [, place, pointer] = ('pointer' in fault && OPERATION.exec(fault.pointer)) || []
    if (place === undefined || pointer === undefined) faults.push(fault)
    else repeated.set(Number(place), [...(repeated.get(Number(place)) ?? []), { pointer, detail: fault.detail }])
  }
  if (faults.some((fault) => 'pointer' in fault && fault.pointer === '/operations')) throw invalid(faults)
  return { faults, repeated }
}

const hasFewMembers = (body: unknown) =>
  typeof body === 'object' && body !== null && !Array.isArray(body) && Object.keys(body).length <= MAX_MEMBERS

export const BulkResult = Type.Object(
  {
    results: Type.Array(
      Type.Object(
        {
          op: Type.Optional(Type.String({ description: 'Left out where it is none' })),
          status: Type.Integer({ description: 'As the operation by itself would have been answered with' }),
          id: Type.Optional(Type.Integer({ description: 'Of the record' })),
          version: Type.Optional(Type.Integer()),
          etag: Type.Optional(Type.String({ description: 'The `ETag` of the record as it is now' })),
          problem: Type.Optional(Type.Ref('Problem')),
        },
        { additionalProperties: false },
      ),
      { description: 'One for each operation, in their order' },
    ),
    succeeded: Type.Integer(),
    failed: Type.Integer(),
  },
  { $id: 'BulkResult', additionalProperties: false },
)
