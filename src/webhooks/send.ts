// Sends one POST to an address that is allowed, within bounds of time and of what is read of the answer.
import { Agent, request } from 'undici'
import { type AddressPolicy, createGuardedLookup, refusePrivateLiteral } from './address.ts'

/** Milliseconds from the beginning of an attempt to the end of its answer, and of the connection alone. */
export const SEND_TIMEOUT = 20_000
const CONNECT_TIMEOUT = 10_000
/** Milliseconds for which a connection without a request is kept. */
const KEEP_ALIVE = 10_000

/** Bytes of an answer that are kept, and that are read so that its connection can be used again. */
export const MAX_RESPONSE = 1_000
const MAX_READ = 65_536

/** Bytes of the headers of an answer. */
const MAX_HEADER_BYTES = 16_384

export interface SendResult {
  /** Null where there was no answer. */
  status: number | null
  latency: number
  error: string | null
  response: string
  retryAfter?: string
}

export interface SenderOptions {
  userAgent: string
  timeout?: number | undefined
}

export class Sender {
  readonly #policy: AddressPolicy
  readonly #agent: Agent
  readonly #userAgent: string
  readonly #timeout: number

  /**
   * `timeout` is in milliseconds. Connections are not limited per origin: a webhook whose receiver hangs would use up those of every other
   * webhook on that origin. Each has as many as it has deliveries in flight (`MAX_IN_FLIGHT`).
   */
  constructor(policy: AddressPolicy, { userAgent, timeout = SEND_TIMEOUT }: SenderOptions) {
    this.#policy = policy
    this.#userAgent = userAgent
    this.#timeout = timeout
    this.#agent = new Agent({
      connect: { lookup: createGuardedLookup(policy) as never, timeout: CONNECT_TIMEOUT },
      keepAliveTimeout: KEEP_ALIVE,
      maxHeaderSize: MAX_HEADER_BYTES,
    })
  }

  /** Never rejects, unless `signal` ends it: what went wrong is told. Redirects are not followed. */
  async send(url: string, headers: Record<string, string>, body: string, signal: AbortSignal): Promise<SendResult> {
    const begun = performance.now()
    const sent = (rest: Omit<SendResult, 'latency'>): SendResult => ({ latency: Math.round(performance.now() - begun), ...rest })
    const timeout = AbortSignal.timeout(this.#timeout)
    try {
      refusePrivateLiteral(new URL(url), this.#policy)
      const answer = await request(url, {
        method: 'POST',
        dispatcher: this.#agent,
        signal: AbortSignal.any([signal, timeout]),
        headers: { ...headers, 'content-type': 'application/json', 'user-agent': this.#userAgent },
        body,
      })
      const { statusCode: status } = answer
      const retryAfter = answer.headers['retry-after']
      const response = await readBeginning(answer.body)
      const ok = status >= 200 && status < 300
      const error = ok ? null : `the receiver answered ${status}`
      return sent({ status, error, response, ...(retryAfter !== undefined && { retryAfter: String(retryAfter) }) })
    } catch (error) {
      signal.throwIfAborted()
      const detail = timeout.aborted ? `no answer within ${this.#timeout / 1_000} s` : describeError(error)
      return sent({ status: null, error: detail, response: '' })
    }
  }

  async close(): Promise<void> {
    await this.#agent.destroy()
  }
}

/** Reads a short answer to its end, and ends the connection of a long one. */
async function readBeginning(body: AsyncIterable<Buffer> & { destroy(): unknown }): Promise<string> {
  const chunks: Buffer[] = []
  let [kept, read] = [0, 0]
  for await (const chunk of body) {
    if (kept < MAX_RESPONSE) chunks.push(chunk.subarray(0, MAX_RESPONSE - kept))
    kept = Math.min(MAX_RESPONSE, kept + chunk.length)
    read += chunk.length
    // Leaving the loop ends it.
    if (read > MAX_READ) break
  }
  // What no database stores as text.
  return Buffer.concat(chunks).toString().replaceAll('\0', '\ufffd')
}

function describeError(error: unknown): string {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause.cause === undefined) return cause.message || String((cause as { code?: string }).code ?? cause.name)
  }
  return String(error)
}
