// The operations of a bulk request: the members of each, and the function that runs it.
import { type TSchema, Type } from '@sinclair/typebox'
import { inArray } from 'drizzle-orm'
import { type Column, columnsByName } from '../../drizzle/database.ts'
import { memoize } from '../../drizzle/memoize.ts'
import type { Actor } from '../changelog/record.ts'
import { describeNotAllowed } from '../did-you-mean.ts'
import { type Fault, invalid, listMembers, Problem } from '../errors.ts'
import { type Preconditions, readPreconditions } from '../http/preconditions.ts'
import { MAX_INTEGER } from '../query/fields.ts'
import { type Body, findUpsertKey, type Resource } from '../query/resource.ts'
import type { Row } from '../query/rows.ts'
import { mergeInto } from '../records/merge.ts'
import type { WriteContext } from '../records/transaction.ts'
import { createRecord, findFurtherFaults, findRow, mergeRecord, type Precondition, removeRecord } from '../records/write.ts'
import { compileBody, MAX_MEMBERS, type Validator } from '../validate.ts'

export interface BulkOperation {
  op: BulkOperationName
  /** Present if the schema of the operation has it. */
  id: number
  body: Body
  if_match?: string
}

export interface OperationContext {
  resources: readonly Resource[]
  by: Actor
  /** Returns the precondition of an operation, with or without `if_match`. */
  preconditionFor(conditions: Preconditions | undefined): Precondition
}

/** Result of one operation. */
interface OperationEffect {
  status: 200 | 201 | 204
  id: number
  /** The record after the operation. */
  row?: Row
  /** The record before its deletion. */
  removed?: Row
}

/** An effect, with the operation that had it. */
export interface AppliedOperation extends OperationEffect {
  op: BulkOperationName
}

/** An operation with the faults found without the database. Their pointers are relative to the operation. */
export interface CheckedOperation {
  /** Index in the request. */
  place: number
  input: unknown
  op: BulkOperationName | null
  faults: readonly Fault[]
  /** Number of faults that the problem of this operation may list. */
  maxListed: number
}

interface OperationKind {
  description(resource: Resource): string
  /** Returns the members beside `op`. `of` places a schema among them: inline, or as a reference. */
  members(resource: Resource, of: (schema: TSchema) => TSchema): Record<string, TSchema>
  run(writeContext: WriteContext, operation: BulkOperation, context: OperationContext): Promise<OperationEffect>
}

const id = Type.Integer({ minimum: 1, maximum: MAX_INTEGER })
const if_match = Type.Optional(
  Type.String({
    minLength: 1,
    maxLength: 200,
    description: 'Same as the header `If-Match`: the `ETag` of the record, with its quotes',
    examples: ['"3-Wb1yKcyzTJq2pN0a"'],
  }),
)

const readPrecondition = ({ if_match }: BulkOperation, { preconditionFor }: OperationContext): Precondition =>
  preconditionFor(if_match === undefined ? undefined : readPreconditions({ 'if-match': if_match }))

const create: OperationKind = {
  description: () => 'Same as `POST`',
  members: ({ schemas }, of) => ({ body: of(schemas.create) }),
  async run(writeContext, { body }, { by }) {
    const row = await createRecord(writeContext, body, by)
    return { status: 201, id: row.id, row }
  },
}

const update: OperationKind = {
  description: () => 'Same as `PATCH`',
  members: ({ schemas }, of) => ({ id, body: of(schemas.merge), if_match }),
  async run(writeContext, operation, context) {
    const { id, body } = operation
    return { status: 200, id, row: await mergeRecord(writeContext, id, body, context.by, readPrecondition(operation, context)) }
  },
}

const upsert: OperationKind = {
  description: (resource) => `Same as \`update\` of the record with this \`${findUpsertKey(resource)}\`, or as \`create\` if there is none`,
  members: ({ schemas }, of) => ({ body: of(schemas.merge), if_match }),
  async run(writeContext, operation, context) {
    const { resource } = writeContext
    const key = String(findUpsertKey(resource))
    const id = await findByKey(writeContext, key, operation.body[key])
    if (id !== undefined) return update.run(writeContext, { ...operation, id }, context)
    if (operation.if_match !== undefined)
      throw new Problem('precondition-failed', `If-Match failed: no ${resource.singular} with this ${key} exists.`)
    // Merging into an empty record drops members that are null in JSON values (RFC 7396).
    const { values: body } = mergeInto(resource, operation.body, { id: 0 })
    const faults = getBodyValidator(resource)(body)
    if (faults.length > 0) throw invalid([...faults, ...(await findFurtherFaults(writeContext, 'create', body, listMembers(faults)))])
    return create.run(writeContext, { ...operation, body }, context)
  },
}

async function findByKey({ tx, table }: WriteContext, key: string, value: unknown): Promise<number | undefined> {
  const column = columnsByName(table)[key] as Column
  const [record] = await tx
    .select({ id: table.id })
    .from(table)
    .where(inArray(column, [value]))
  return record && Number(record.id)
}

const remove: OperationKind = {
  description: () => 'Same as `DELETE`',
  members: () => ({ id, if_match }),
  async run(writeContext, operation, context) {
    const removed = await removeRecord(writeContext, operation.id, context.resources, context.by, readPrecondition(operation, context))
    return { status: 204, id: operation.id, removed }
  },
}

/** Operations by `op`. */
export const operations = { create, update, upsert, delete: remove } satisfies Record<string, OperationKind>

export type BulkOperationName = keyof typeof operations

export const isOperationName = (op: unknown): op is BulkOperationName => typeof op === 'string' && Object.hasOwn(operations, op)

const listKinds = (resource: Resource): [BulkOperationName, OperationKind][] =>
  (Object.entries(operations) as [BulkOperationName, OperationKind][]).filter(
    ([name]) => name !== 'upsert' || findUpsertKey(resource) !== undefined,
  )

/** Builds the schema of an operation for the OpenAPI document. */
export const buildOperationSchema = (resource: Resource): TSchema =>
  Type.Unsafe({
    oneOf: listKinds(resource).map(([name, { description, members }]) =>
      Type.Object(
        { op: Type.Literal(name), ...members(resource, ({ $id }) => Type.Ref(String($id))) },
        { additionalProperties: false, title: name, description: description(resource) },
      ),
    ),
  })

const getBodyValidator = memoize((resource: Resource): Validator => compileBody(resource.schemas.create))

/** Returns a function that finds the faults of an operation, with pointers relative to it. It brings texts and decimals into canonical form. */
export const getOperationValidator = memoize((resource: Resource): ((operation: unknown) => Fault[]) => {
  const kinds = listKinds(resource)
  const names = kinds.map(([name]) => name)
  const inline = ({ $id: _, ...schema }: TSchema) => schema as TSchema
  const byName = new Map<unknown, Validator>(
    kinds.map(([name, { members }]) => [
      name,
      compileBody(Type.Object({ op: Type.Literal(name), ...members(resource, inline) }, { additionalProperties: false })),
    ]),
  )
  const key = findUpsertKey(resource)
  return (operation) => {
    if (typeof operation !== 'object' || operation === null || Array.isArray(operation))
      return [{ pointer: '', detail: 'must be an object' }]
    const { op, body } = operation as Partial<BulkOperation>
    const validate = byName.get(op)
    if (!validate)
      return [{ pointer: '/op', ...(op === undefined ? { detail: 'is required', allowed: names } : describeNotAllowed(op, names)) }]
    for (const [pointer, value] of Object.entries({ '': operation, '/body': body })) {
      const members = typeof value === 'object' && value !== null ? Object.keys(value).length : 0
      if (members > MAX_MEMBERS) return [{ pointer, detail: `has ${members} members: send at most ${MAX_MEMBERS}` }]
    }
    const faults = validate(operation)
    if (faults.length > 0 || op !== 'upsert' || key === undefined) return faults
    const value = body?.[key]
    return value === undefined || value === null ? [{ pointer: `/body/${key}`, detail: 'is required: upsert finds the record by it' }] : []
  }
})

const isObject = (value: unknown): value is Body => typeof value === 'object' && value !== null && !Array.isArray(value)

/** Finds the faults that need the database, of an operation that has other faults. Pointers are relative to its body. */
export async function findOperationFaults(
  writeContext: WriteContext,
  operation: BulkOperation,
  faults: readonly Fault[],
): Promise<Fault[]> {
  const { op, body } = operation
  const faulty = listMembers(faults)
  if (!isObject(body) || faults.some((fault) => 'pointer' in fault && fault.pointer === '/body')) return []
  const inBody = faults.flatMap((fault) =>
    'pointer' in fault && fault.pointer.startsWith('/body/') ? [{ ...fault, pointer: fault.pointer.slice(5) }] : [],
  )
  const members = listMembers(inBody)
  const key = findUpsertKey(writeContext.resource)
  let id: number | undefined
  if (op === 'update' && !faulty.has('id')) id = operation.id
  if (op === 'upsert' && key !== undefined && !members.has(key)) id = await findByKey(writeContext, key, body[key])
  if (op === 'create' || (op === 'upsert' && id === undefined)) return findFurtherFaults(writeContext, 'create', body, members)
  return findFurtherFaults(writeContext, 'merge', body, members, id === undefined ? undefined : await findRow(writeContext, id))
}
