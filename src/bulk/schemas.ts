// Schemas and size limits of bulk requests and their responses.
import { Type } from '@sinclair/typebox'
import { type Fault, invalid } from '../errors.ts'
import { listRepeatedMembers } from '../http/json.ts'
import type { Resource } from '../query/resource.ts'
import { compileBody, MAX_MEMBERS } from '../validate.ts'
import { buildOperationSchema } from './operations.ts'

/** Most operations in one request. */
const MAX_OPERATIONS = 1_000

/** Operations that count as one request for rate limits. */
export const OPERATIONS_PER_REQUEST = 10

/** Largest atomic request in bytes. Its transaction blocks other writes on one engine. */
export const MAX_ATOMIC_BYTES = 524_288

export interface BulkBody {
  operations: unknown[]
  atomic?: boolean
}

const atomic = Type.Optional(
  Type.Boolean({
    default: true,
    description: `\`true\`: all operations are one transaction. If any fails, none is applied, and the response lists the faults of all. Such a request may have ${MAX_ATOMIC_BYTES / 1_024} KiB. \`false\`: each operation succeeds or fails on its own`,
  }),
)
const bounds = { minItems: 1, maxItems: MAX_OPERATIONS }

/** Builds the schema of a request body for the OpenAPI document. */
export const buildBulkInput = (resource: Resource) =>
  Type.Unsafe<BulkBody>(
    Type.Object(
      { operations: Type.Array(buildOperationSchema(resource), bounds), atomic },
      { additionalProperties: false, ...buildExamples(resource) },
    ),
  )

/** Builds an example that creates a record, from the examples of its fields. Returns none if a required field has no example. */
function buildExamples({ writable, contract }: Resource): { examples?: BulkBody[] } {
  const fields = [...writable].map(([field, { default: fallback }]) => ({ field, fallback, examples: contract[field]?.examples }))
  if (fields.some(({ fallback, examples }) => fallback === undefined && !examples)) return {}
  const body = Object.fromEntries(fields.flatMap(({ field, examples }) => (examples ? [[field, examples[0]]] : [])))
  return { examples: [{ operations: [{ op: 'create', body }], atomic: true }] }
}

const checkBody = compileBody(Type.Object({ operations: Type.Array(Type.Unknown(), bounds), atomic }, { additionalProperties: false }))

const OPERATION = /^\/operations\/(\d+)(\/.*)$/

/** Faults of a body outside its operations, and duplicate members inside them. */
export interface Envelope {
  faults: Fault[]
  /** Faults for duplicate members, by index of the operation. Their pointers are relative to the operation. */
  repeated: ReadonlyMap<number, Fault[]>
}

/** Checks a body without its operations. Throws `invalid-request` if `operations` is no valid list. */
export function readEnvelope(body: unknown): Envelope {
  if (!hasFewMembers(body)) throw invalid([{ pointer: '', detail: 'must be a JSON object with `operations`' }])
  const faults = checkBody(body)
  const repeated = new Map<number, Fault[]>()
  for (const fault of listRepeatedMembers(body)) {
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
          op: Type.Optional(Type.String({ description: 'Omitted if the request has no valid `op`' })),
          status: Type.Integer({ description: 'Status that a request with only this operation would get' }),
          id: Type.Optional(Type.Integer({ description: 'Id of the record' })),
          version: Type.Optional(Type.Integer()),
          etag: Type.Optional(Type.String({ description: '`ETag` of the record after the operation' })),
          problem: Type.Optional(Type.Ref('Problem')),
        },
        { additionalProperties: false },
      ),
      { description: 'One result for each operation, in the same order' },
    ),
    succeeded: Type.Integer(),
    failed: Type.Integer(),
  },
  { $id: 'BulkResult', additionalProperties: false },
)
