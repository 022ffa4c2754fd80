// Starts Node processes for tests. Each has its own environment and ends with the test that started it.
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'

const PRELOADED = ['end-with-parent.ts', '../src/fast-start.ts'].flatMap((file) => ['--import', new URL(file, import.meta.url).href])

export interface Scope {
  teardown(end: () => unknown): void
}

export interface NodeProcess extends ChildProcess {
  stdin: Writable
  stdout: Readable
  stderr: Readable
}

/**
 * Starts Node with `args`. The process is killed when `scope` ends, and when this process ends for any reason.
 * `env -i` keeps out the variables that would make it load tap's modules.
 */
export function startNode(scope: Scope, args: readonly string[], env: Record<string, string>, cwd?: string): NodeProcess {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`)
  // The fourth descriptor is the pipe on which end-with-parent.ts listens.
  const stdio: StdioOptions = ['pipe', 'pipe', 'pipe', 'pipe']
  const child = spawn('env', ['-i', ...variables, process.execPath, ...PRELOADED, ...args], { cwd, stdio }) as NodeProcess
  scope.teardown(() => child.kill('SIGKILL'))
  return child
}
