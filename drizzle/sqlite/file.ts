// The SQLite file: how it is created, and what each connection that writes to it needs.
import { closeSync, mkdirSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import type Driver from 'better-sqlite3'
import { DatabaseUnusable } from '../database.ts'

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

/** What durability rests on. Some file systems refuse write-ahead logging without an error, so each is read back. */
const PRAGMAS = { journal_mode: 'wal', synchronous: 2, foreign_keys: 1 }

export function configure(writer: Driver.Database): void {
  for (const [name, value] of Object.entries(PRAGMAS)) {
    writer.pragma(`${name} = ${value}`)
    const actual = writer.pragma(name, { simple: true })
    if (actual !== value)
      throw new DatabaseUnusable(`${writer.name}: SQLite kept ${name} at ${actual} instead of ${value}: use a local file system`)
  }
}
