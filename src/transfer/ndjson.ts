// Reads newline-delimited JSON as a stream.
import { listRepeatedMembers, parseBody } from '../http/json.ts'

/** A line: its value, or why it cannot be read. */
export type Line = { number: number } & ({ value: unknown } | { fault: string })

/** Longest line in bytes, longer than any record. Without a limit, a file without line ends would fill the memory. */
const MAX_LINE_BYTES = 1_048_576

const NEWLINE = 0x0a

/** Yields the lines that are not blank. Numbers start at 1 and count blank lines. */
export async function* readNdjson(chunks: AsyncIterable<Buffer>): AsyncGenerator<Line> {
  let number = 0
  for await (const bytes of splitLines(chunks)) {
    number++
    const line = parseLine(bytes)
    if (line) yield { number, ...line }
  }
}

function parseLine(bytes: Buffer | undefined): { value: unknown } | { fault: string } | undefined {
  if (!bytes) return { fault: `is longer than ${MAX_LINE_BYTES} bytes` }
  try {
    if (bytes.toString('latin1').trim() === '') return undefined
    const value = parseBody(bytes)
    const [repeated] = listRepeatedMembers(value)
    return repeated && 'pointer' in repeated ? { fault: `${repeated.pointer.slice(1)} ${repeated.detail}` } : { value }
  } catch (error) {
    return { fault: error instanceof SyntaxError ? `is not JSON: ${error.message}` : 'is not UTF-8' }
  }
}

/** Yields the bytes of each line, or undefined for a line that is too long. */
async function* splitLines(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer | undefined> {
  let pending: Buffer[] = []
  let size = 0
  const take = (): Buffer | undefined => {
    const line = size > MAX_LINE_BYTES ? undefined : Buffer.concat(pending)
    pending = []
    size = 0
    return line
  }
  for await (const chunk of chunks) {
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      size += end - start
      pending.push(chunk.subarray(start, end))
      yield take()
      start = end + 1
    }
    size += chunk.length - start
    if (size <= MAX_LINE_BYTES) pending.push(chunk.subarray(start))
  }
  if (size > 0) yield take()
}
