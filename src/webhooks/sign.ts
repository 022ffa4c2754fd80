// Signatures by Standard Webhooks 1.0: HMAC-SHA256 over the id, the time and the body.
import { createHmac, randomBytes } from 'node:crypto'

const PREFIX = 'whsec_'
/** Random bytes of a secret; the specification has 24 to 64. */
const SECRET_BYTES = 32

export const createWebhookSecret = (): string => PREFIX + randomBytes(SECRET_BYTES).toString('base64')

const SECOND = 1_000

/** The headers of one attempt. Each secret gives a signature: while they are rotated, a receiver may know either. */
export function signHeaders(secrets: readonly string[], message: string, body: string, now = Date.now()): Record<string, string> {
  const timestamp = String(Math.floor(now / SECOND))
  const signatures = secrets.map((secret) => {
    const key = Buffer.from(secret.slice(PREFIX.length), 'base64')
    return `v1,${createHmac('sha256', key).update(`${message}.${timestamp}.${body}`).digest('base64')}`
  })
  return { 'webhook-id': message, 'webhook-timestamp': timestamp, 'webhook-signature': signatures.join(' ') }
}
