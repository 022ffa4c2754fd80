// Imports a file, and shows on a terminal how far it is.
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Presets, SingleBar } from 'cli-progress'
import type { Database } from '../../drizzle/database.ts'
import { type ImportOptions, type ImportResult, importProducts } from './import.ts'
import { readNdjson } from './ndjson.ts'

interface FileOptions extends Pick<ImportOptions, 'atomic'> {
  stdin: AsyncIterable<Buffer>
  stderr: { isTTY?: boolean }
}

/** Reads `file`, or standard input for `-`. */
export async function importFile(db: Database, file: string, { stdin, stderr, atomic = false }: FileOptions): Promise<ImportResult> {
  // Asked first: a stream of a file that is not there fails before anyone listens.
  const size = file === '-' ? 0 : (await stat(file)).size
  const input = file === '-' ? stdin : createReadStream(file)
  const bar = new SingleBar({ format: '{bar} {percentage}% | {lines} lines', hideCursor: true, noTTYOutput: false }, Presets.shades_classic)
  let bytes = 0
  async function* counted() {
    for await (const chunk of input) {
      bytes += chunk.length
      yield chunk as Buffer
    }
  }
  if (stderr.isTTY && size > 0) bar.start(size, 0, { lines: 0 })
  try {
    return await importProducts(db, readNdjson(counted()), { atomic, onProgress: (lines) => bar.update(bytes, { lines }) })
  } finally {
    bar.stop()
  }
}
