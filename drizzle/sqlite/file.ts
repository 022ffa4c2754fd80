// The SQLite file: how it is created, and what each connection that writes to it needs.
import { closeSync, mkdirSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import type Driver from 'better-sqlite3'
import { DatabaseUnusable, listCauses } from '../database.ts'

/** Mode of a new database file: only its owner reads and writes it. SQLite gives its -wal and -shm files the same mode. */
const FILE_MODE = 0o600

/** Creates the file, with its folder, unless it exists: the operator chose the mode of an existing one. */
export function createFile(path: string): void {
  mkdirSync(dirname(path), { recursive: true })
  try {
    closeSync(openSync(path, 'ax', FILE_MODE))
  } catch (error) {
    // An existing file is never opened here: closing it would release the locks of other connections in this process.
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
  }
}

const NOT_WRITABLE = 'cannot be written by this user. Set DATABASE_URL to a file that can be, or change its permissions'
const NOT_CREATABLE = 'cannot be created. Set DATABASE_URL to a file in a folder that can exist'

/** Explains failures by the codes of Node and of SQLite, the latter without what follows their second word. */
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

/** Returns the error as a sentence for the operator, or the error itself where no reason is known. */
export function explain(error: unknown, path: string): unknown {
  const cause = [...listCauses(error)].at(-1)
  const reason = reasons[String(cause?.code).replace(/^(SQLITE_[A-Z]+)_.*/, '$1')]
  return cause && reason ? new DatabaseUnusable(`Database file ${path} ${reason} (${cause.message}).`, { cause: error }) : error
}

/** `pragma synchronous`: SQLite waits for the disk at each commit (FULL), or leaves that to `WalSync` (NORMAL). */
export const SYNC_AT_COMMIT = 2
export const SYNC_LATER = 1

/** Sets what durability rests on. Some file systems refuse write-ahead logging without an error, so each pragma is read back. */
export function configure(writer: Driver.Database, synchronous: typeof SYNC_AT_COMMIT | typeof SYNC_LATER): void {
  for (const [name, value] of Object.entries({ journal_mode: 'wal', synchronous, foreign_keys: 1 })) {
    writer.pragma(`${name} = ${value}`)
    const actual = writer.pragma(name, { simple: true })
    if (actual !== value)
      throw new DatabaseUnusable(`${writer.name}: SQLite kept ${name} at ${actual} instead of ${value}: use a local file system`)
  }
}
