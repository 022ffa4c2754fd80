// The feed as Server-Sent Events. Each stream reads the feed from its client's position, no faster than the client.
import type { Database } from '../../drizzle/database.ts'
import type { ApiKey } from '../auth/keyring.ts'
import { Problem } from '../errors.ts'
import { type Reader, readPage } from './page.ts'
import { formatPosition, type Position } from './positions.ts'
import { Watch } from './watch.ts'

/** Milliseconds between two heartbeats. Proxies close connections without data after half a minute or more. */
const HEARTBEAT = 15_000
/** Milliseconds after which a client reconnects. */
const RETRY = 1_000
/** Seconds after which a refused client may retry. */
const RETRY_AFTER = '5'
/** Changes that a stream reads at a time. */
const PAGE_SIZE = 100
/** Maximum streams of a process. Each has a connection and reads the feed on its own. */
const MAX_STREAMS = 200
/** Maximum streams of a key. */
const MAX_STREAMS_PER_KEY = 10

/** Options of a stream. */
interface StreamOptions extends Reader {
  key: ApiKey
  since: Position
  /** Verifies the key again at each heartbeat. Undefined if it may no longer read. */
  verifyKey(): Promise<ApiKey | undefined>
}

export class Streams {
  readonly #db: Database
  readonly #watch: Watch
  readonly #heartbeat: number
  /** The id of the key of each open stream, by the controller that ends the stream. */
  readonly #open = new Map<AbortController, number>()
  #isClosing = false

  constructor(db: Database, heartbeat = HEARTBEAT) {
    this.#db = db
    this.#watch = new Watch(db)
    this.#heartbeat = heartbeat
  }

  /**
   * Registers a stream of a key until `end` is called. `signal` aborts when the service stops. Throws `too-many-streams`.
   */
  open(key: number): { signal: AbortSignal; end(): void } {
    const keyStreams = [...this.#open.values()].filter((owner) => owner === key).length
    if (this.#open.size >= MAX_STREAMS || keyStreams >= MAX_STREAMS_PER_KEY)
      throw new Problem(
        'too-many-streams',
        `Too many streams: at most ${MAX_STREAMS_PER_KEY} per key and ${MAX_STREAMS} per process. Close a stream, or read /api/changes/ instead.`,
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
    // A request on an old connection while the service stops: its stream ends at once.
    if (this.#isClosing) controller.abort()
    return { signal: controller.signal, end }
  }

  /** Yields the blocks of a stream until `signal` aborts, the key becomes invalid or entries after the position are pruned. */
  async *events({ since, verifyKey, ...reader }: StreamOptions, signal: AbortSignal): AsyncGenerator<string> {
    let position = since
    let { key } = reader
    let lastId = formatPosition(position)
    yield `retry: ${RETRY}\nid: ${lastId}\n\n`
    let nextHeartbeat = performance.now() + this.#heartbeat
    while (!signal.aborted) {
      // Read before the page, so that a change during the read ends the wait.
      const { version } = this.#watch
      const page = await readPage(this.#db, position, PAGE_SIZE, { ...reader, key }).catch(ignorePositionGone)
      if (!page) return yield 'event: gone\ndata: {"code":"position-gone"}\n\n'
      position = page.position
      let blocks = page.results.map(({ position, event, json }) => `id: ${position}\nevent: ${event}\ndata: ${json}\n\n`).join('')
      const last = formatPosition(position)
      // Moves the client past hidden entries, so that they are not scanned again after a reconnect.
      if (last !== (page.results.at(-1)?.position ?? lastId)) blocks += `id: ${last}\n\n`
      lastId = last
      if (blocks !== '') yield blocks
      if (!page.more) await this.#watch.waitForChange(version, nextHeartbeat - performance.now(), signal)
      if (performance.now() < nextHeartbeat || signal.aborted) continue
      const current = await verifyKey()
      if (!current) return
      key = current
      yield ':\n\n'
      nextHeartbeat = performance.now() + this.#heartbeat
    }
  }

  /** Ends all streams. */
  async close(): Promise<void> {
    this.#isClosing = true
    for (const controller of this.#open.keys()) controller.abort()
    await this.#watch.close()
  }
}

function ignorePositionGone(error: unknown): undefined {
  if (!(error instanceof Problem) || error.code !== 'position-gone') throw error
}
