// Sends a POST to a permitted address, with limits on its time and on the size of the response.
import { Agent, request } from 'undici'
import { type AddressPolicy, createGuardedLookup, refusePrivateLiteral } from './address.ts'

/** Milliseconds from the start of an attempt to the end of its response. */
export const SEND_TIMEOUT = 20_000
/** Milliseconds to connect. */
const CONNECT_TIMEOUT = 10_000
/** Milliseconds that an idle connection stays open. */
const KEEP_ALIVE = 10_000

/** Bytes of a response that are stored. */
const MAX_RESPONSE = 1_000
/** Bytes of a response that are read so that its connection can be reused. */
const MAX_READ = 65_536

/** Largest headers of a response, in bytes. */
const MAX_HEADER_BYTES = 16_384

export interface SendResult {
  /** Null without a response. */
  status: number | null
  /** Milliseconds. */
  latency: number
  /** Null after a status from 200 to 299. */
  error: string | null
  response: string
  retryAfter?: string
}

interface SenderOptions {
  userAgent: string
  timeout?: number | undefined
}

export class Sender {
  readonly #policy: AddressPolicy
  readonly #agent: Agent
  readonly #userAgent: string
  readonly #timeout: number

  /**
   * `timeout` is in milliseconds. Connections are not limited per origin: one hanging receiver could use them all, and stop every other
   * webhook on that origin. `MAX_IN_FLIGHT` limits the connections of each webhook.
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

  /** Sends a request, and returns failures as `error`. Rejects only if `signal` aborts. Does not follow redirects. */
  async send(url: string, headers: Record<string, string>, body: string, signal: AbortSignal): Promise<SendResult> {
    const start = performance.now()
    const buildResult = (rest: Omit<SendResult, 'latency'>): SendResult => ({ latency: Math.round(performance.now() - start), ...rest })
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
      return buildResult({ status, error, response, ...(retryAfter !== undefined && { retryAfter: String(retryAfter) }) })
    } catch (error) {
      signal.throwIfAborted()
      const detail = timeout.aborted ? `no response within ${this.#timeout / 1_000} s` : describeError(error)
      return buildResult({ status: null, error: detail, response: '' })
    }
  }

  async close(): Promise<void> {
    await this.#agent.destroy()
  }
}

/** Reads the start of a response as text. A response longer than MAX_READ loses its connection. */
async function readBeginning(body: AsyncIterable<Buffer> & { destroy(): unknown }): Promise<string> {
  const chunks: Buffer[] = []
  let [storedBytes, readBytes] = [0, 0]
  for await (const chunk of body) {
    if (storedBytes < MAX_RESPONSE) chunks.push(chunk.subarray(0, MAX_RESPONSE - storedBytes))
    storedBytes = Math.min(MAX_RESPONSE, storedBytes + chunk.length)
    readBytes += chunk.length
    // Leaving the loop destroys the body and its connection.
    if (readBytes > MAX_READ) break
  }
  // No database stores NUL as text.
  return Buffer.concat(chunks).toString().replaceAll('\0', '\ufffd')
}

function describeError(error: unknown): string {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause.cause === undefined) return cause.message || String((cause as { code?: string }).code ?? cause.name)
  }
  return String(error)
}
