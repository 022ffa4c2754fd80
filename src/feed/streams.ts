// The feed as Server-Sent Events: it is read on and on, from where the client is, and no faster than it reads.
import type { Database } from '../../drizzle/database.ts'
import type { ApiKey } from '../auth/keyring.ts'
import { Problem } from '../errors.ts'
import { type Reader, readPage } from './page.ts'
import { formatPosition, type Position } from './positions.ts'
import { Watch } from './watch.ts'

/** Milliseconds between two signs of life. Proxies end connections on which nothing comes for half a minute, or longer. */
export const HEARTBEAT = 15_000
/** Milliseconds after which a client asks again when the connection is lost. */
const RETRY = 1_000
/** Seconds after which one that was refused may ask again. */
const RETRY_AFTER = '5'
/** Changes that are read at a time for one client. */
const PAGE_SIZE = 100
/** Streams of a process, and of one key. Each has its connection, and reads for itself. */
const MAX_STREAMS = 200
const MAX_STREAMS_OF_KEY = 10

/** What a stream is of. */
export interface StreamOptions extends Reader {
  key: ApiKey
  since: Position
  /** The key as it is now; undefined where it may no longer read. Asked at each heartbeat. */
  verifyKey(): Promise<ApiKey | undefined>
}

export class Streams {
  readonly #db: Database
  readonly #watch: Watch
  readonly #heartbeat: number
  /** Those that are open, each with how to end it and whose it is. */
  readonly #open = new Map<AbortController, number>()
  #closing = false

  constructor(db: Database, heartbeat = HEARTBEAT) {
    this.#db = db
    this.#watch = new Watch(db)
    this.#heartbeat = heartbeat
  }

  /**
   * Counts a stream of a key, until `end` is called; `signal` tells when the service ends it. Throws `too-many-streams`.
   */
  open(key: number): { signal: AbortSignal; end(): void } {
    const ofKey = [...this.#open.values()].filter((owner) => owner === key).length
    if (this.#open.size >= MAX_STREAMS || ofKey >= MAX_STREAMS_OF_KEY)
      throw new Problem(
        'too-many-streams',
        `A key has at most ${MAX_STREAMS_OF_KEY} streams, and a process ${MAX_STREAMS}. The same is at /api/changes/, page by page.`,
        { headers: { 'retry-after': RETRY_AFTER } },
      )
    const controller = new AbortController()
    this.#open.set(controller, key)
    const stopWatching = this.#watch.addWatcher()
    const end = () => {
      if (!this.#open.delete(controller)) return
      controller.abort()
      stopWatching()
    }
    // One that came on an old connection while the service stops ends as it begins.
    if (this.#closing) controller.abort()
    return { signal: controller.signal, end }
  }

  /** The blocks of a stream, until `signal` says so, the key holds no longer or the position is gone. */
  async *events({ since, verifyKey, ...reader }: StreamOptions, signal: AbortSignal): AsyncGenerator<string> {
    let position = since
    let { key } = reader
    let told = formatPosition(position)
    yield `retry: ${RETRY}\nid: ${told}\n\n`
    let beat = performance.now() + this.#heartbeat
    while (!signal.aborted) {
      // Before reading: what comes while it is read wakes too.
      const { version: turn } = this.#watch
      const page = await readPage(this.#db, position, PAGE_SIZE, { ...reader, key }).catch(ignorePositionGone)
      if (!page) return yield 'event: gone\ndata: {"code":"position-gone"}\n\n'
      position = page.position
      let blocks = page.results.map(({ position, event, json }) => `id: ${position}\nevent: ${event}\ndata: ${json}\n\n`).join('')
      const last = formatPosition(position)
      // What was passed over is not to be looked at again by who comes back.
      if (last !== (page.results.at(-1)?.position ?? told)) blocks += `id: ${last}\n\n`
      told = last
      if (blocks !== '') yield blocks
      if (!page.more) await this.#watch.waitForChange(turn, beat - performance.now(), signal)
      if (performance.now() < beat || signal.aborted) continue
      const current = await verifyKey()
      if (!current) return
      key = current
      yield ':\n\n'
      beat = performance.now() + this.#heartbeat
    }
  }

  /** Ends all streams. */
  async close(): Promise<void> {
    this.#closing = true
    for (const controller of this.#open.keys()) controller.abort()
    await this.#watch.close()
  }
}

function ignorePositionGone(error: unknown): undefined {
  if (!(error instanceof Problem) || error.code !== 'position-gone') throw error
}
