// What the OpenAPI document says of what is done with webhooks and deliveries, beside what every resource has.
import { Type } from '@sinclair/typebox'
import type { ErrorCode } from '../errors.ts'
import { actionSchema } from '../openapi/operations.ts'
import { JOB_ACCEPTED, REPLAYED, WITH_BODY } from '../openapi/responses.ts'
import { meta, text, time } from '../query/fields.ts'
import { deliveries } from '../resources/deliveries.ts'
import { products } from '../resources/products.ts'
import { webhooks } from '../resources/webhooks.ts'
import { IssuedWebhook } from './webhooks.ts'

const ACCEPTED = 202

export const notifySchema = {
  ...actionSchema(
    products,
    {
      name: 'notify_update',
      summary: 'Tell the webhooks of a product',
      description:
        'The event `products.notified` goes to every webhook that subscribes to it and whose filter holds for the product as it is now.',
    },
    JOB_ACCEPTED,
    WITH_BODY,
  ),
  body: Type.Object(
    {
      message: Type.Optional(
        Type.Unsafe<string>(
          text({ minLength: 1, maxLength: 1_000, multiline: true, description: 'Goes with it', examples: ['Back in stock'] })[meta].input,
        ),
      ),
    },
    { $id: 'Notification', additionalProperties: false, 'x-optional': true },
  ),
}

export const rotateWebhookSchema = actionSchema(
  webhooks,
  {
    name: 'rotate',
    summary: 'Give a webhook another secret',
    description: 'For 24 hours deliveries are signed with the old one too, each signature beside the other.',
  },
  { description: 'The webhook, with its new secret', schema: IssuedWebhook },
  [],
)

const DELIVERY_ACCEPTED = {
  status: ACCEPTED,
  description: 'The delivery, which is sent later',
  schema: Type.Object({ delivery: Type.Integer({ description: 'Its id' }) }, { additionalProperties: false }),
  headers: { Location: { type: 'string', format: 'uri', description: 'Where it says how far it is' }, ...REPLAYED },
}

export const testWebhookSchema = actionSchema(
  webhooks,
  {
    name: 'test',
    summary: 'Send a webhook something to try it',
    description: 'An event of the type `webhooks.test`, whatever it has subscribed to.',
  },
  DELIVERY_ACCEPTED,
  ['webhook-disabled'],
)

const timeParameter = (description: string, examples?: string[]) =>
  Type.Unsafe<string>(time({ description, ...(examples && { examples }) })[meta].input)

export const replayWebhookSchema = {
  ...actionSchema(
    webhooks,
    {
      name: 'replay',
      summary: 'Send the deliveries of a range of time again',
      description: 'Those that have come to an end, under the same `webhook-id`: a receiver that has had one can tell.',
    },
    JOB_ACCEPTED,
    [...WITH_BODY, 'webhook-disabled'],
  ),
  body: Type.Object(
    {
      since: timeParameter('What was made a delivery from then on', ['2026-01-31T12:00:00Z']),
      until: Type.Optional(timeParameter('And before then; otherwise until now', ['2030-01-31T12:00:00Z'])),
      only: Type.Optional(
        Type.Unsafe<'failed' | 'all'>({
          type: 'string',
          enum: ['failed', 'all'],
          description: '`failed`, the default: not what has arrived',
        }),
      ),
    },
    { $id: 'Replay', additionalProperties: false },
  ),
}

const codes: readonly ErrorCode[] = ['webhook-disabled']

export const replayDeliverySchema = actionSchema(
  deliveries,
  {
    name: 'replay',
    summary: 'Send a delivery again',
    description: 'Under the same `webhook-id`. One that is still to be sent is sent at once.',
  },
  DELIVERY_ACCEPTED,
  codes,
)
