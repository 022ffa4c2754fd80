// Creates the SQLite file, and configures each connection that writes to it.
import { closeSync, mkdirSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import type Driver from 'better-sqlite3'
import { DatabaseUnusable, listCauses } from '../database.ts'

/** Mode of a new database file: only its owner can read and write it. SQLite gives its -wal and -shm files the same mode. */
const FILE_MODE = 0o600

/** Creates the file and its folder. It leaves an existing file unchanged, because the operator chose its mode. */
export function createFile(path: string): void {
  mkdirSync(dirname(path), { recursive: true })
  try {
    closeSync(openSync(path, 'ax', FILE_MODE))
  } catch (error) {
    // Never open an existing file here: closing it would release the locks of other connections of this process.
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
  }
}

const NOT_WRITABLE = 'cannot be written by this user. Set DATABASE_URL to a file that can be, or change its permissions'
const NOT_CREATABLE = 'cannot be created. Set DATABASE_URL to a file in a folder that can exist'

/** Reasons by codes of Node and of SQLite. SQLite's codes are cut after their second word. */
const reasons: Record<string, string> = {
  SQLITE_NOTADB: 'is not an SQLite database. Set DATABASE_URL to another file',
  SQLITE_CANTOPEN: 'cannot be opened. Set DATABASE_URL to a file, not a folder, that this user can write',
  SQLITE_READONLY: NOT_WRITABLE,
  EACCES: NOT_WRITABLE,
  EPERM: NOT_WRITABLE,
  EROFS: NOT_WRITABLE,
  ENOENT: NOT_CREATABLE,
  ENOTDIR: NOT_CREATABLE,
  EEXIST: NOT_CREATABLE,
}

/** Explains an error to the operator. Returns errors without a reason unchanged. */
export function explain(error: unknown, path: string): unknown {
  const cause = [...listCauses(error)].at(-1)
  const reason = reasons[String(cause?.code).replace(/^(SQLITE_[A-Z]+)_.*/, '$1')]
  return cause && reason ? new DatabaseUnusable(`Database file ${path} ${reason} (${cause.message}).`, { cause: error }) : error
}

/** `pragma synchronous`: SQLite waits for the disk at each commit (FULL), or leaves that to `WalSync` (NORMAL). */
export const SYNC_AT_COMMIT = 2
export const SYNC_LATER = 1

/** Configures a connection that writes. Some file systems refuse write-ahead logging without an error, so each pragma is read back. */
export function configure(writer: Driver.Database, synchronous: typeof SYNC_AT_COMMIT | typeof SYNC_LATER): void {
  for (const [name, value] of Object.entries({ journal_mode: 'wal', synchronous, foreign_keys: 1 })) {
    writer.pragma(`${name} = ${value}`)
    const actual = writer.pragma(name, { simple: true })
    if (actual !== value)
      throw new DatabaseUnusable(
        `Database file ${writer.name} cannot be written durably: ${name} is ${actual} instead of ${value}. Use a local file system`,
      )
  }
}
