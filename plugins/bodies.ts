// Bounds the memory and the time that large bodies take: each is admitted before it is read, and has to arrive within a time.
import { PassThrough, type Readable } from 'node:stream'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Problem } from '../src/errors.ts'
import { Admission, type Place } from '../src/http/admission.ts'
import { BODYLESS, LARGE_BODIES, LARGE_BODY, TIMEOUTS } from '../src/http/limits.ts'
import { identifyAddress } from '../src/limits/address.ts'

export interface BodiesOptions {
  timeouts?: Partial<typeof TIMEOUTS> | undefined
}

export default fp(
  async function bodies(app: FastifyInstance, { timeouts }: BodiesOptions) {
    const { admission: patience, body: time } = { ...TIMEOUTS, ...timeouts }
    const admission = new Admission({ ...LARGE_BODIES, maxWait: patience })
    // After `auth`: nobody waits, or has others wait, without the key that the route needs.
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

/** Whether a body has to be admitted. One that is larger than it may be is refused without being read. */
function isLarge({ method, headers, routeOptions }: FastifyRequest): boolean {
  if (BODYLESS.has(method)) return false
  const { 'content-length': length, 'transfer-encoding': coding } = headers
  if (length === undefined) return coding !== undefined
  return Number(length) > LARGE_BODY && Number(length) <= routeOptions.bodyLimit
}

const identifyClient = ({ key, ip, socket }: FastifyRequest): string => (key ? `key ${key.id}` : identifyAddress(ip, socket.remoteAddress))

async function admit(place: Place, payload: Readable, time: number): Promise<Readable> {
  if (await place.granted) return limitTime(time, payload)
  throw new Problem('overloaded', 'There are more large bodies than can be read. Try again later.', { headers: { 'retry-after': '5' } })
}

/** The payload, which fails if its end has not come after `time` milliseconds. */
function limitTime(time: number, payload: Readable): Readable {
  const body = new PassThrough()
  const timer = setTimeout(() => {
    payload.unpipe(body)
    // What is still to come is not read.
    body.destroy(new Problem('request-timeout', 'The body did not arrive in time.', { headers: { connection: 'close' } }))
  }, time)
  // Nobody listens any more where a body was refused before its end.
  body.on('error', () => {})
  payload.once('error', (error) => body.destroy(error))
  payload.once('close', () => {
    if (!payload.readableEnded) body.destroy(new Error('the client has hung up'))
  })
  body.once('end', () => clearTimeout(timer)).once('close', () => clearTimeout(timer))
  return payload.pipe(body)
}
