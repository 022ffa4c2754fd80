// What the HTTP server takes from a client: for how long it waits, how much it reads, and which ids of requests it believes.
import { randomUUID } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'

/** In milliseconds. */
export const TIMEOUTS = {
  /** From the beginning of a request, or of a connection that says nothing, until the headers are there. */
  headers: 10_000,
  /** The same, until the body is there too. */
  request: 30_000,
  /** For which a large body waits to be read, and then for its end. Both together are less than a request has. */
  admission: 10_000,
  body: 15_000,
  /** In which nothing moves, neither way. No list takes as long (QUERY_TIMEOUT). */
  idle: 120_000,
  /** In which a client takes nothing of an answer that waits for it. */
  stalled: 30_000,
  /** Without a request. Load balancers keep connections for up to 60 s, and would be told of the end of one just as they use it. */
  keepAlive: 72_000,
  /** Between two looks at who is late, so a request may take so much longer. */
  check: 1_000,
}

/** Methods of which Fastify reads no body. */
export const BODYLESS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'DELETE'])

/** Bytes of a body that is read without having been admitted. */
export const LARGE_BODY = 65_536

/** Larger bodies that are in memory at the same time, and that wait unread; of all clients, and of one. */
export const LARGE_BODIES = { places: 4, placesPerClient: 2, waiting: 64, waitingPerClient: 8 }

/** Bytes of a URL and its headers together. */
export const MAX_HEADER_SIZE = 16_384

/** Characters of a URL. No list needs as many: 8,000 are what every server should read (RFC 9110, section 4.1). */
export const MAX_URL_LENGTH = 8_192

/** Node itself leaves out what comes after 2,000, and says nothing. */
export const MAX_HEADERS = 100

/** A client's id is found again in the log, in answers and in the record of changes: one that is long or odd is not taken, nor is a key. */
const REQUEST_ID = /^(?!.*stk_)[\w.:-]{1,64}$/

export function readRequestId({ headers }: IncomingMessage): string {
  const given = headers['x-request-id']
  return typeof given === 'string' && REQUEST_ID.test(given) ? given : randomUUID()
}

/** Whether a request says that a body follows its headers (RFC 9112, section 6). */
export const announcesBody = ({ 'content-length': length, 'transfer-encoding': coding }: IncomingHttpHeaders): boolean =>
  coding !== undefined || (length !== undefined && Number(length) !== 0)

/** Counts the headers named `name` (in lower case). `rawHeaders` are names and values in turn; Node itself takes the first of several. */
export function countHeaders(rawHeaders: readonly string[], name: string): number {
  let count = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const given = rawHeaders[index] ?? ''
    if (given.length === name.length && given.toLowerCase() === name) count++
  }
  return count
}
