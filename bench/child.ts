// Child processes of a benchmark: starts them, pins them to cores and calls their functions.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'

export const SERVER_CORE = 0
export const LOAD_CORE = 1

const hasTaskset = spawnSync('taskset', ['--version']).error === undefined
/** Whether children can be pinned to a core. Otherwise the scheduler moves them, which makes the figures less precise. */
export const canPin = hasTaskset && availableParallelism() > LOAD_CORE

/** Milliseconds that a child has to exit before it is killed. */
const GRACE = 3_000

type Reply = { value: unknown } | { error: string }

const running = new Set<ChildProcess>()
// A parent that exits early, by an error or a signal, must not leave servers behind.
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

export class Child<Ready = unknown> {
  /** Value that the child sent when it was ready. */
  readonly ready: Ready
  readonly #process: ChildProcess

  private constructor(child: ChildProcess, ready: Ready) {
    this.#process = child
    this.ready = ready
  }

  /** Starts `bench/<file>`, which gets `input` from `readInput`, and waits until it is ready. */
  static async start<Ready = unknown>(file: string, input: unknown, core?: number): Promise<Child<Ready>> {
    const script = fileURLToPath(new URL(file, import.meta.url))
    const pin = canPin && core !== undefined ? ['taskset', '-c', String(core)] : []
    const [command = '', ...args] = [...pin, process.execPath, script, JSON.stringify(input)]
    const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    running.add(child)
    child.on('exit', () => running.delete(child))
    return new Child(child, (await readReply(child, file)) as Ready)
  }

  /** Calls a function of the child. Only one call can run at a time. */
  async call<T>(name: string, input?: unknown): Promise<T> {
    if (!this.#process.connected) throw new Error(`Call ${name} failed: the child process has exited.`)
    const reply = readReply(this.#process, name)
    this.#process.send({ name, input })
    return reply as Promise<T>
  }

  /** Stops the child, and waits for its exit. */
  async stop(): Promise<void> {
    if (!running.has(this.#process)) return
    const exited = new Promise((resolve) => this.#process.once('exit', resolve))
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), GRACE)
    this.#process.disconnect()
    await exited
    clearTimeout(timer)
  }
}

function readReply(child: ChildProcess, what: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null, signal: string | null) =>
      reject(new Error(`${what}: the child process exited with ${code ?? signal}.`))
    child.once('exit', onExit)
    child.once('message', (reply: Reply) => {
      child.off('exit', onExit)
      if ('error' in reply) reject(new Error(`${what}: ${reply.error}`))
      else resolve(reply.value)
    })
  })
}

/** Returns, in a child, the input that `Child.start` was given. */
export const readInput = <T>() => JSON.parse(process.argv[2] ?? 'null') as T

interface Calls {
  [name: string]: (input: never) => unknown
}

/** Serves, in a child, the calls of the parent until that disconnects. Sends `ready` first, and runs `onEnd` last. */
export function serveParent(ready: unknown, questions: Calls, onEnd: () => unknown): void {
  const reply = (message: Reply) => process.send?.(message)
  process.on('message', async ({ name, input }: { name: string; input: never }) => {
    try {
      reply({ value: await questions[name]?.(input) })
    } catch (error) {
      reply({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
    }
  })
  process.on('disconnect', async () => {
    await onEnd()
    process.exit()
  })
  reply({ value: ready })
}
