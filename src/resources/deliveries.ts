import { Type } from '@sinclair/typebox'
import { choice, id, integer, json, MAX_INTEGER, nullable, stamps, text, time } from '../query/fields.ts'
import { numeric } from '../query/lookups.ts'
import { defineResource } from '../query/resource.ts'

/** `sending`: a worker has claimed the delivery. `cancelled`: its webhook was deleted. */
const DELIVERY_STATUSES = ['pending', 'sending', 'delivered', 'failed', 'cancelled'] as const

/** A stored attempt. */
export interface DeliveryAttempt {
  at: string
  /** Null where there was no answer. */
  status: number | null
  latency_ms: number
  error: string | null
  /** The first bytes of the answer. */
  response: string
}

const AttemptSchema = Type.Object({
  at: Type.String({ format: 'date-time' }),
  status: Type.Unsafe({ type: ['integer', 'null'], description: 'Status of the response; null without one' }),
  latency_ms: Type.Integer(),
  error: Type.Unsafe({ type: ['string', 'null'], description: 'Why it failed' }),
  response: Type.String({ description: 'First bytes of the response' }),
})

export const deliveries = defineResource({
  table: 'deliveries',
  singular: 'delivery',
  access: { read: 'admin', write: 'admin' },
  contract: {
    id: id(),
    webhook: integer({ minimum: 1, maximum: MAX_INTEGER, readOnly: true, description: 'Id of the webhook' }),
    message: text({ maxLength: 100, readOnly: true, description: 'Value of `webhook-id`: unique, and the same in every attempt' }),
    type: text({ maxLength: 100, readOnly: true, description: 'Type of the event', examples: ['products.updated'] }),
    record_id: nullable(integer({ minimum: 1, maximum: MAX_INTEGER, readOnly: true, description: 'Id of the record of the event' })),
    status: choice(DELIVERY_STATUSES, { readOnly: true }),
    attempts: integer({
      minimum: 0,
      maximum: MAX_INTEGER,
      readOnly: true,
      description: 'Number of attempts since the delivery was created or last replayed',
    }),
    due_at: nullable(time({ readOnly: true, description: 'Time of the next attempt; null after the last' })),
    response_status: nullable(integer({ minimum: 0, maximum: 999, readOnly: true, description: 'Status of the last response' })),
    latency_ms: nullable(integer({ minimum: 0, maximum: MAX_INTEGER, readOnly: true, description: 'Duration of the last attempt' })),
    error: nullable(text({ maxLength: 1_000, readOnly: true, description: 'Why the last attempt failed' })),
    history: json<object[]>(Type.Array(AttemptSchema, { readOnly: true, description: 'The last attempts, the newest last' })),
    ...stamps,
  },
  filter: {
    id: numeric,
    webhook: numeric,
    type: ['exact', 'in'],
    status: ['exact', 'in'],
    record_id: numeric,
    created_at: numeric,
  },
  search: [],
  order: ['id', 'created_at'],
  defaultOrder: '-id',
})
