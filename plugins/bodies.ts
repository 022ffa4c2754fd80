// Limits the memory and time of large bodies: each is admitted before it is read, and must arrive in time.
import { PassThrough, type Readable } from 'node:stream'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Problem } from '../src/errors.ts'
import { Admission, type Place } from '../src/http/admission.ts'
import { BODYLESS, LARGE_BODIES, LARGE_BODY, TIMEOUTS } from '../src/http/limits.ts'
import { identifyAddress } from '../src/limits/address.ts'

interface BodiesOptions {
  timeouts?: Partial<typeof TIMEOUTS> | undefined
}

export default fp(
  async function bodies(app: FastifyInstance, { timeouts }: BodiesOptions) {
    const { admission: patience, body: time } = { ...TIMEOUTS, ...timeouts }
    const admission = new Admission({ ...LARGE_BODIES, maxWait: patience })
    // After `auth`, so that only requests with the required key wait for a place.
    app.addHook('preParsing', (request, { raw }, payload, done) => {
      if (!isLarge(request)) return done()
      const place = admission.enter(identifyClient(request))
      raw.once('close', place.leave)
      admit(place, payload as Readable, time).then((body) => {
        raw.once('close', () => body.destroy())
        done(null, body)
      }, done)
    })
  },
  { name: 'bodies', dependencies: ['auth', 'routing'] },
)

/** Whether a body needs admission. A body beyond the limit is refused unread. */
function isLarge({ method, headers, routeOptions }: FastifyRequest): boolean {
  if (BODYLESS.has(method)) return false
  const { 'content-length': length, 'transfer-encoding': coding } = headers
  if (length === undefined) return coding !== undefined
  return Number(length) > LARGE_BODY && Number(length) <= routeOptions.bodyLimit
}

const identifyClient = ({ key, ip, socket }: FastifyRequest): string => (key ? `key ${key.id}` : identifyAddress(ip, socket.remoteAddress))

async function admit(place: Place, payload: Readable, time: number): Promise<Readable> {
  if (await place.granted) return limitTime(time, payload)
  throw new Problem('overloaded', 'Too many large bodies are being read. Retry later.', { headers: { 'retry-after': '5' } })
}

/** Returns the payload as a stream that fails if it does not end within `time` milliseconds. */
function limitTime(time: number, payload: Readable): Readable {
  const body = new PassThrough()
  const timer = setTimeout(() => {
    payload.unpipe(body)
    // The rest of the body is not read.
    body.destroy(new Problem('request-timeout', 'The body did not arrive in time.', { headers: { connection: 'close' } }))
  }, time)
  // A body that was refused before its end has no other listener, and an unhandled error would end the process.
  body.on('error', () => {})
  payload.once('error', (error) => body.destroy(error))
  payload.once('close', () => {
    if (!payload.readableEnded) body.destroy(new Error('the client has hung up'))
  })
  body.once('end', () => clearTimeout(timer)).once('close', () => clearTimeout(timer))
  return payload.pipe(body)
}
