// Makes commits durable: one fdatasync of the WAL, outside the event loop, covers all commits before it.
import { type FileHandle, open } from 'node:fs/promises'
import { WalIndex } from './wal-index.ts'

/** The code of the error that ends a write whose commit may be lost. */
export const SYNC_FAILED = 'WAL_SYNC_FAILED'

export class WalSync {
  readonly #path: string
  readonly #onFailure: (error: Error) => void
  #file: Promise<FileHandle> | undefined
  #index: WalIndex | undefined
  /** Number of commits so far. */
  #commits = 0
  /** Number of commits that the running sync covers. */
  #covered = 0
  /** Number of commits on disk. */
  #durable = 0
  #running: Promise<void> | undefined
  #next: Promise<void> | undefined
  #failure: Error | undefined

  /** Calls `onFailure` once, at the first sync that fails. All calls fail from then on: a later sync may succeed although pages are lost. */
  constructor(path: string, onFailure: (error: Error) => void) {
    this.#path = path
    this.#onFailure = onFailure
  }

  /** Throws if a sync has failed. */
  check(): void {
    if (this.#failure) throw this.#failure
  }

  /** Notes a commit of this process. Returns a promise that resolves once it is on disk. */
  commit(): Promise<void> {
    this.#commits++
    return this.#flush()
  }

  /** Resolves once all commits that readers see now are on disk, those of other processes too. Usually they are. */
  async settle(): Promise<void> {
    this.#index ??= WalIndex.open(this.#path)
    if (this.#index?.hasChanged() ?? true) {
      this.#index?.remember()
      this.#commits++
    }
    await this.#flush()
  }

  /** Closes the file after the last sync: one that came later would fail, as if the disk had. */
  async close(): Promise<void> {
    await this.#flush().catch(() => {})
    await (await this.#file)?.close()
  }

  async #flush(): Promise<void> {
    this.check()
    if (this.#durable === this.#commits) return
    if (this.#covered === this.#commits) return this.#running
    // The running sync began before the latest commit. The next one covers all commits until it begins.
    this.#next ??= this.#syncAfter(this.#running)
    return this.#next
  }

  async #syncAfter(running: Promise<void> | undefined): Promise<void> {
    await running
    this.#next = undefined
    this.#covered = this.#commits
    this.#running = this.#sync(this.#covered)
    return this.#running
  }

  async #sync(covered: number): Promise<void> {
    try {
      // The first commit creates the file. It stays the same file as long as a connection is open.
      this.#file ??= open(`${this.#path}-wal`, 'r')
      await (await this.#file).datasync()
      this.#durable = covered
    } catch (cause) {
      this.#failure = Object.assign(new Error('The write-ahead log cannot be written to disk.', { cause }), { code: SYNC_FAILED })
      this.#onFailure(this.#failure)
      throw this.#failure
    }
  }
}
