// Signatures of deliveries (Standard Webhooks 1.0): HMAC-SHA256 of id, time and body.
import { createHmac, randomBytes } from 'node:crypto'

const PREFIX = 'whsec_'
/** Random bytes of a secret. The specification asks for 24 to 64. */
const SECRET_BYTES = 32

export const createWebhookSecret = (): string => PREFIX + randomBytes(SECRET_BYTES).toString('base64')

const SECOND = 1_000

/** Builds the headers of one attempt, with a signature for each secret: during a rotation, a receiver may know either. */
export function signHeaders(secrets: readonly string[], message: string, body: string, now = Date.now()): Record<string, string> {
  const timestamp = String(Math.floor(now / SECOND))
  const signatures = secrets.map((secret) => {
    const key = Buffer.from(secret.slice(PREFIX.length), 'base64')
    return `v1,${createHmac('sha256', key).update(`${message}.${timestamp}.${body}`).digest('base64')}`
  })
  return { 'webhook-id': message, 'webhook-timestamp': timestamp, 'webhook-signature': signatures.join(' ') }
}
