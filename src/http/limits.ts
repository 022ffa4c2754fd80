// Limits of the HTTP server: timeouts, sizes, and the request ids that it accepts.
import { randomUUID } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'

/** Timeouts in milliseconds. */
export const TIMEOUTS = {
  /** From the start of a request or an idle new connection until the headers have arrived. */
  headers: 10_000,
  /** From the start of a request until the body has arrived. */
  request: 30_000,
  /** Waiting time of a large body for its admission. Together with `body` it is less than `request`. */
  admission: 10_000,
  /** Reading time of a large body after its admission. */
  body: 15_000,
  /** Without data in either direction. Longer than any list takes (QUERY_TIMEOUT). */
  idle: 120_000,
  /** While a client reads nothing of a response. */
  stalled: 30_000,
  /** Idle time of a kept-alive connection. Load balancers reuse connections for up to 60 s, so a shorter time would break requests. */
  keepAlive: 72_000,
  /** Interval of the checks for timeouts. Each timeout can be exceeded by this time. */
  check: 1_000,
}

/** Methods whose body Fastify does not read. */
export const BODYLESS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'DELETE'])

/** Bytes of a body that is read without admission. */
export const LARGE_BODY = 65_536

/** Larger bodies in memory and waiting, in all and per client. */
export const LARGE_BODIES = { places: 4, placesPerClient: 2, waiting: 64, waitingPerClient: 8 }

/** Maximum bytes of a URL and headers together. */
export const MAX_HEADER_SIZE = 16_384

/** Maximum characters of a URL. RFC 9110, section 4.1, recommends at least 8,000. */
export const MAX_URL_LENGTH = 8_192

/** Maximum headers of a request. Node would silently drop headers beyond 2,000. */
export const MAX_HEADERS = 100

/** Request ids accepted from clients. Ids are logged and stored with changes, so long ids, unusual characters and API keys are refused. */
const REQUEST_ID = /^(?!.*stk_)[\w.:-]{1,64}$/

/** Returns the id in `X-Request-Id` if it is acceptable, or else a new UUID. */
export function readRequestId({ headers }: IncomingMessage): string {
  const id = headers['x-request-id']
  return typeof id === 'string' && REQUEST_ID.test(id) ? id : randomUUID()
}

/** Whether the headers of a request announce a body (RFC 9112, section 6). */
export const announcesBody = ({ 'content-length': length, 'transfer-encoding': coding }: IncomingHttpHeaders): boolean =>
  coding !== undefined || (length !== undefined && Number(length) !== 0)

/** Counts headers by name, in lower case. `rawHeaders` alternates names and values. `headers` of Node keeps only the first value of some. */
export function countHeaders(rawHeaders: readonly string[], name: string): number {
  let count = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const header = rawHeaders[index] ?? ''
    if (header.length === name.length && header.toLowerCase() === name) count++
  }
  return count
}
