// A connection to Redis that fails fast and reconnects by itself.
import { Redis, type RedisOptions } from 'ioredis'

/** Milliseconds after which a command fails and Redis counts as unavailable. */
const COMMAND_TIMEOUT = 200
/** Milliseconds for connecting, including TLS. */
const CONNECT_TIMEOUT = 1_000
/** Milliseconds between a failure and the next attempt to connect. */
const RETRY_DELAY = 1_000

/** ioredis must not reconnect: a new client replaces a lost connection, so that no command is sent twice. */
const OPTIONS: RedisOptions = {
  lazyConnect: true,
  enableOfflineQueue: false,
  enableReadyCheck: false,
  autoResendUnfulfilledCommands: false,
  retryStrategy: null,
  connectTimeout: CONNECT_TIMEOUT,
}

interface ConnectionOptions {
  scripts?: RedisOptions['scripts']
  /** Runs a command that shows whether Redis can do its work. */
  probe(redis: Redis): Promise<unknown>
  /** Called when Redis becomes unavailable, with the reason, and when it is available again. At first it counts as available. */
  onChange?: (isAway: boolean, reason: string) => void
}

export class Connection {
  readonly #url: string
  readonly #options: ConnectionOptions
  /** The working client; undefined while Redis is unavailable. */
  #redis: Redis | undefined
  #reportedAway = false
  #retry: NodeJS.Timeout | undefined
  #isClosed = false

  private constructor(url: string, options: ConnectionOptions) {
    this.#url = url
    this.#options = options
  }

  /** Opens a connection. Resolves when Redis has answered or is unavailable. Never rejects. */
  static async open(url: string, options: ConnectionOptions): Promise<Connection> {
    const connection = new Connection(url, options)
    await connection.#connect()
    return connection
  }

  /** Whether Redis is unavailable. */
  get isAway(): boolean {
    return this.#redis === undefined
  }

  /** Runs a command. Returns undefined if Redis is unavailable, fails, or takes longer than COMMAND_TIMEOUT. Never rejects. */
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

  /** Closes the connection. Pending commands return undefined. */
  async close(): Promise<void> {
    this.#isClosed = true
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
      if (this.#isClosed) return redis.disconnect()
      this.#redis = redis
      this.#report(false, '')
    } catch (error) {
      redis.disconnect()
      this.#scheduleRetry(reason || describeError(error, redis))
    }
  }

  #lose(redis: Redis, reason: string): void {
    if (redis !== this.#redis) return
    this.#redis = undefined
    redis.disconnect()
    this.#scheduleRetry(reason)
  }

  #scheduleRetry(reason: string): void {
    if (this.#isClosed) return
    this.#report(true, reason)
    this.#retry = setTimeout(() => void this.#connect(), RETRY_DELAY).unref()
  }

  #report(isAway: boolean, reason: string): void {
    if (isAway === this.#reportedAway) return
    this.#reportedAway = isAway
    this.#options.onChange?.(isAway, reason)
  }
}

/** Returns only the text of an error, without the password: errors of ioredis carry the command, which may contain it. */
function describeError(error: unknown, redis: Redis): string {
  const { message, code } = error as { message?: string; code?: string }
  const { password } = redis.options
  const reason = message || code || 'unknown'
  return password ? reason.replaceAll(password, '***') : reason
}

/** Rejects after a time without an answer. An answer that arrived while this process was busy still counts as in time. */
function withTimeout<T>(answer: Promise<T>, milliseconds: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = () => reject(new Error(`no answer within ${milliseconds} ms`))
    const timer = setTimeout(() => setImmediate(late), milliseconds)
    answer.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}
