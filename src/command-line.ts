// The command line: runs a command of `src/commands.ts` and sets the exit code.
import { Command, CommanderError } from 'commander'
import { DatabaseBusy, DatabaseUnusable } from '../drizzle/database.ts'
import packageJson from '../package.json' with { type: 'json' }
import { commands, type Terminal } from './commands.ts'
import { ConfigError } from './config.ts'
import { CannotListen, Problem } from './errors.ts'
import { ImportRefused, ImportStopped } from './transfer/faults.ts'
import { escapeLines } from './transfer/printable.ts'

/** Exit code of a command that failed. */
const FAILED = 1
/** Exit code for invalid arguments or settings. */
const MISUSED = 2

export function buildProgram(terminal: Terminal = process): Command {
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
    const command = findOrAddGroup(stockroom, words.slice(0, -1))
      .command(words.at(-1) as string)
      .description(summary)
      .exitOverride()
    if (argument) command.argument(...argument)
    for (const option of options) command.addOption(option)
    command.action((...args) => run(terminal, ...(args as never[])))
  }
  return stockroom
}

/** Returns the group that a command with several words in its name belongs to. Adds the group if it is missing. */
function findOrAddGroup(stockroom: Command, words: readonly string[]): Command {
  const [word] = words
  if (word === undefined) return stockroom
  const group = stockroom.commands.find((command) => command.name() === word)
  return group ?? stockroom.command(word).description(`Subcommands: see stockroom help ${word}`).exitOverride()
}

/** Runs one command. Returns the exit code: 0 for success, 1 for a failure, 2 for invalid arguments or settings. */
export async function main(args: readonly string[], terminal: Terminal): Promise<number> {
  try {
    await buildProgram(terminal).parseAsync(args, { from: 'user' })
    return 0
  } catch (error) {
    return reportError(error, terminal)
  }
}

/** Prints the message of an expected error, or the stack trace of any other. Returns the exit code. */
function reportError(error: unknown, { stderr }: Terminal): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : MISUSED
  const isExpected =
    error instanceof ConfigError ||
    error instanceof CannotListen ||
    error instanceof ImportRefused ||
    error instanceof ImportStopped ||
    error instanceof DatabaseUnusable ||
    error instanceof DatabaseBusy ||
    error instanceof Problem ||
    (error instanceof Error && 'code' in error)
  stderr.write(`${escapeLines(String(isExpected ? formatMessage(error as Error) : error instanceof Error ? error.stack : error))}\n`)
  return error instanceof ConfigError ? MISUSED : FAILED
}

function formatMessage(error: Error): string {
  const faults = error instanceof Problem ? error.faults : []
  const lines = faults.map((fault) => `${'pointer' in fault ? fault.pointer.slice(1) : fault.parameter} ${fault.detail}`)
  return lines.length > 0 ? lines.join('\n') : error.message
}
