// The command line: what of `src/commands.ts` is asked for, and how it ended.
import { Command, CommanderError } from 'commander'
import { DatabaseBusy, DatabaseUnusable } from '../drizzle/database.ts'
import packageJson from '../package.json' with { type: 'json' }
import { commands, type Terminal } from './commands.ts'
import { ConfigError } from './config.ts'
import { CannotListen, Problem } from './errors.ts'
import { ImportRefused, ImportStopped } from './transfer/faults.ts'
import { escapeLines } from './transfer/printable.ts'

/** Exit codes besides 0: it failed, or what was asked for could not be understood. */
const FAILED = 1
const MISUSED = 2

export function program(terminal: Terminal = process): Command {
  const stockroom = new Command('stockroom')
    .description(packageJson.description)
    .version(packageJson.version)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void terminal.stdout.write(text),
      writeErr: (text) => void terminal.stderr.write(text),
    })
  for (const [name, { summary, argument, options = [], run }] of Object.entries(commands)) {
    const words = name.split(' ')
    const command = groupOf(stockroom, words.slice(0, -1))
      .command(words.at(-1) as string)
      .description(summary)
      .exitOverride()
    if (argument) command.argument(...argument)
    for (const option of options) command.addOption(option)
    command.action((...given) => run(terminal, ...(given as never[])))
  }
  return stockroom
}

/** A command whose name has several words is below one that only holds such. */
function groupOf(stockroom: Command, words: readonly string[]): Command {
  const [word] = words
  if (word === undefined) return stockroom
  const known = stockroom.commands.find((command) => command.name() === word)
  return known ?? stockroom.command(word).description(`Its commands: stockroom help ${word}`).exitOverride()
}

/** Runs one command. Returns its exit code: 0, 1 for a failure, 2 for arguments or settings that are not understood. */
export async function main(args: readonly string[], terminal: Terminal): Promise<number> {
  try {
    await program(terminal).parseAsync(args, { from: 'user' })
    return 0
  } catch (error) {
    return reportError(error, terminal)
  }
}

/** Says what went wrong, in a sentence where it is one that we know. */
function reportError(error: unknown, { stderr }: Terminal): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : MISUSED
  const expected =
    error instanceof ConfigError ||
    error instanceof CannotListen ||
    error instanceof ImportRefused ||
    error instanceof ImportStopped ||
    error instanceof DatabaseUnusable ||
    error instanceof DatabaseBusy ||
    error instanceof Problem ||
    (error instanceof Error && 'code' in error)
  stderr.write(`${escapeLines(String(expected ? wordsOf(error as Error) : error instanceof Error ? error.stack : error))}\n`)
  return error instanceof ConfigError ? MISUSED : FAILED
}

function wordsOf(error: Error): string {
  const faults = error instanceof Problem ? error.faults : []
  const lines = faults.map((fault) => `${'pointer' in fault ? fault.pointer.slice(1) : fault.parameter} ${fault.detail}`)
  return lines.length > 0 ? lines.join('\n') : error.message
}
