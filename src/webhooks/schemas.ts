// Schemas of the actions on webhooks and deliveries.
import { Type } from '@sinclair/typebox'
import type { ErrorCode } from '../errors.ts'
import { describeAction } from '../openapi/operations.ts'
import { BODY_ERRORS, IDEMPOTENCY_REPLAYED, JOB_ACCEPTED } from '../openapi/responses.ts'
import { meta, text, time } from '../query/fields.ts'
import { deliveries } from '../resources/deliveries.ts'
import { products } from '../resources/products.ts'
import { webhooks } from '../resources/webhooks.ts'
import { IssuedWebhook } from './webhooks.ts'

const ACCEPTED = 202

export const notifySchema = {
  ...describeAction(
    products,
    {
      name: 'notify_update',
      summary: 'Notify webhooks of a product',
      description:
        'Sends the event `products.notified` to every webhook that subscribes to it and whose filter matches the product as it is now.',
    },
    JOB_ACCEPTED,
    BODY_ERRORS,
  ),
  body: Type.Object(
    {
      message: Type.Optional(
        Type.Unsafe<string>(
          text({ minLength: 1, maxLength: 1_000, multiline: true, description: 'Text for the receivers', examples: ['Back in stock'] })[
            meta
          ].input,
        ),
      ),
    },
    { $id: 'Notification', additionalProperties: false, 'x-optional': true },
  ),
}

export const rotateWebhookSchema = describeAction(
  webhooks,
  {
    name: 'rotate',
    summary: 'Rotate the secret of a webhook',
    description: 'Deliveries carry signatures by both the new and the old secret for 24 hours.',
  },
  { description: 'The webhook with its new secret', schema: IssuedWebhook },
  [],
)

const DELIVERY_ACCEPTED = {
  status: ACCEPTED,
  description: 'The delivery, which is sent later',
  schema: Type.Object({ delivery: Type.Integer({ description: 'Id of the delivery' }) }, { additionalProperties: false }),
  headers: { Location: { type: 'string', format: 'uri', description: 'URL of the delivery' }, ...IDEMPOTENCY_REPLAYED },
}

export const testWebhookSchema = describeAction(
  webhooks,
  {
    name: 'test',
    summary: 'Send a test delivery',
    description: 'Sends an event of the type `webhooks.test`, whatever the webhook subscribes to.',
  },
  DELIVERY_ACCEPTED,
  ['webhook-disabled'],
)

const timeParameter = (description: string, examples?: string[]) =>
  Type.Unsafe<string>(time({ description, ...(examples && { examples }) })[meta].input)

export const replayWebhookSchema = {
  ...describeAction(
    webhooks,
    {
      name: 'replay',
      summary: 'Replay deliveries',
      description:
        'Sends the finished deliveries of a range of time again. `webhook-id` stays the same, so a receiver can detect duplicates.',
    },
    JOB_ACCEPTED,
    [...BODY_ERRORS, 'webhook-disabled'],
  ),
  body: Type.Object(
    {
      since: timeParameter('Earliest creation of a delivery, inclusive', ['2026-01-31T12:00:00Z']),
      until: Type.Optional(timeParameter('Latest creation of a delivery, exclusive; by default now', ['2030-01-31T12:00:00Z'])),
      only: Type.Optional(
        Type.Unsafe<'failed' | 'all'>({
          type: 'string',
          enum: ['failed', 'all'],
          description: '`failed` (default): failed and cancelled deliveries. `all`: delivered ones too',
        }),
      ),
    },
    { $id: 'Replay', additionalProperties: false },
  ),
}

const codes: readonly ErrorCode[] = ['webhook-disabled']

export const replayDeliverySchema = describeAction(
  deliveries,
  {
    name: 'replay',
    summary: 'Replay a delivery',
    description: 'Sends the delivery again under the same `webhook-id`. A pending delivery is sent at once.',
  },
  DELIVERY_ACCEPTED,
  codes,
)
