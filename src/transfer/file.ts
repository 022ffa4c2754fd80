// Imports a file, with a progress bar on a terminal.
import { constants, createReadStream } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { Presets, SingleBar } from 'cli-progress'
import type { Database } from '../../drizzle/database.ts'
import { ImportRefused } from './faults.ts'
import { type ImportOptions, type ImportResult, importProducts } from './import.ts'
import { readNdjson } from './ndjson.ts'

interface FileOptions extends Pick<ImportOptions, 'atomic'> {
  stdin: AsyncIterable<Buffer>
  stderr: { isTTY?: boolean }
}

/** Imports `file`, or standard input for `-`. Throws ImportRefused if the file cannot be read. */
export async function importFile(db: Database, file: string, { stdin, stderr, atomic = false }: FileOptions): Promise<ImportResult> {
  // Check first: the stream of a missing file would fail before anyone listens for errors.
  const size = file === '-' ? 0 : await measureFile(file)
  const input = file === '-' ? stdin : createReadStream(file)
  const bar = new SingleBar({ format: '{bar} {percentage}% | {lines} lines', hideCursor: true, noTTYOutput: false }, Presets.shades_classic)
  let bytes = 0
  async function* countBytes() {
    for await (const chunk of input) {
      bytes += chunk.length
      yield chunk as Buffer
    }
  }
  if (stderr.isTTY && size > 0) bar.start(size, 0, { lines: 0 })
  try {
    return await importProducts(db, readNdjson(countBytes()), { atomic, onProgress: (lines) => bar.update(bytes, { lines }) })
  } finally {
    bar.stop()
  }
}

const REASONS: Record<string, string> = {
  ENOENT: 'does not exist',
  ENOTDIR: 'does not exist',
  EACCES: 'cannot be read by this user',
}

/** Returns the size of a file in bytes. Throws ImportRefused if it cannot be read. */
async function measureFile(file: string): Promise<number> {
  try {
    await access(file, constants.R_OK)
    const stats = await stat(file)
    if (stats.isDirectory()) throw buildRefusal(file, 'is a folder')
    return stats.size
  } catch (error) {
    const reason = error instanceof Error && 'code' in error && REASONS[String(error.code)]
    throw reason ? buildRefusal(file, reason) : error
  }
}

const buildRefusal = (file: string, reason: string) =>
  new ImportRefused(`File ${file} ${reason}. Name a file with one JSON object a line, or - for standard input.`)
