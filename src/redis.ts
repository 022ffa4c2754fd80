// A connection to Redis that may be away at any time: whoever asks learns that soon, and it comes back by itself.
import { Redis, type RedisOptions } from 'ioredis'

/** Milliseconds in which Redis answers a command, or is away. */
export const COMMAND_TIMEOUT = 200
/** Milliseconds in which a connection has to be made, by TLS where the URL says so, and looked at. */
const CONNECT_TIMEOUT = 1_000
/** Milliseconds for which Redis is left alone after it failed. */
export const RETRY_DELAY = 1_000

/** A connection that was lost is never made again: a new one takes its place, so that nothing that was sent on it is sent twice. */
const OPTIONS: RedisOptions = {
  lazyConnect: true,
  enableOfflineQueue: false,
  enableReadyCheck: false,
  autoResendUnfulfilledCommands: false,
  retryStrategy: null,
  connectTimeout: CONNECT_TIMEOUT,
}

export interface ConnectionOptions {
  scripts?: RedisOptions['scripts']
  /** Whether Redis can do what will be asked of it is seen by asking that. */
  probe(redis: Redis): Promise<unknown>
  /** Told when Redis is away, with the reason, and when it is back; never twice the same. At first it is taken to be there. */
  onChange?: (away: boolean, reason: string) => void
}

export class Connection {
  readonly #url: string
  readonly #options: ConnectionOptions
  /** The one that answers; none while Redis is away. */
  #redis: Redis | undefined
  #told = false
  #retry: NodeJS.Timeout | undefined
  #closed = false

  private constructor(url: string, options: ConnectionOptions) {
    this.#url = url
    this.#options = options
  }

  /** Resolves when Redis has answered, or is away. Never rejects. */
  static async open(url: string, options: ConnectionOptions): Promise<Connection> {
    const connection = new Connection(url, options)
    await connection.#connect()
    return connection
  }

  get isAway(): boolean {
    return this.#redis === undefined
  }

  /** What Redis answers; undefined where it is away, does not do it, or takes longer than ANSWER_WITHIN. Never rejects. */
  async run<T>(command: (redis: Redis) => Promise<T>): Promise<T | undefined> {
    const redis = this.#redis
    if (!redis) return undefined
    try {
      return await withTimeout(command(redis), COMMAND_TIMEOUT)
    } catch (error) {
      this.#lose(redis, describeError(error, redis))
      return undefined
    }
  }

  /** Whoever still waits for an answer gets undefined. */
  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#retry)
    this.#redis?.disconnect()
    this.#redis = undefined
  }

  async #connect(): Promise<void> {
    const redis = new Redis(this.#url, { ...OPTIONS, scripts: this.#options.scripts })
    let reason = ''
    redis.on('error', (error) => {
      reason = describeError(error, redis)
    })
    redis.on('end', () => this.#lose(redis, reason || 'the connection was closed'))
    try {
      await withTimeout(redis.connect(), CONNECT_TIMEOUT)
      await withTimeout(this.#options.probe(redis), COMMAND_TIMEOUT)
      if (this.#closed) return redis.disconnect()
      this.#redis = redis
      this.#tell(false, '')
    } catch (error) {
      redis.disconnect()
      this.#leaveAlone(reason || describeError(error, redis))
    }
  }

  #lose(redis: Redis, reason: string): void {
    if (redis !== this.#redis) return
    this.#redis = undefined
    redis.disconnect()
    this.#leaveAlone(reason)
  }

  #leaveAlone(reason: string): void {
    if (this.#closed) return
    this.#tell(true, reason)
    this.#retry = setTimeout(() => void this.#connect(), RETRY_DELAY).unref()
  }

  #tell(away: boolean, reason: string): void {
    if (away === this.#told) return
    this.#told = away
    this.#options.onChange?.(away, reason)
  }
}

/** Only text: an error of ioredis carries the command, which may be the one with the password. Redis may repeat that too. */
function describeError(error: unknown, redis: Redis): string {
  const { message, code } = error as { message?: string; code?: string }
  const { password } = redis.options
  const reason = message || code || 'unknown'
  return password ? reason.replaceAll(password, '***') : reason
}

/** Rejects where there is no answer in time. One that has arrived, and was not read because this process was busy, is in time. */
function withTimeout<T>(answer: Promise<T>, milliseconds: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = () => reject(new Error(`no answer within ${milliseconds} ms`))
    const timer = setTimeout(() => setImmediate(late), milliseconds)
    answer.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}
