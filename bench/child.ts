// Child processes of a measurement: how they are started and pinned, and how they are asked.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'

export const SERVER_CORE = 0
export const LOAD_CORE = 1

const hasTaskset = spawnSync('taskset', ['--version']).error === undefined
/** Whether children can be kept on a core: else the scheduler moves them about, and the figures are less sharp. */
export const canPin = hasTaskset && availableParallelism() > LOAD_CORE

/** Milliseconds that a child has to end by itself after it was told to. */
const GRACE = 3_000

type Answer = { value: unknown } | { error: string }

const running = new Set<ChildProcess>()
// A parent that ends early, by an error or a signal, must not leave servers behind.
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

export class Child<Ready = unknown> {
  /** What it said when it was ready. */
  readonly ready: Ready
  readonly #process: ChildProcess

  private constructor(child: ChildProcess, ready: Ready) {
    this.#process = child
    this.ready = ready
  }

  /** Starts `bench/<file>`, which finds `input` by `inputOf`, and waits until it is ready. */
  static async start<Ready = unknown>(file: string, input: unknown, core?: number): Promise<Child<Ready>> {
    const script = fileURLToPath(new URL(file, import.meta.url))
    const pin = canPin && core !== undefined ? ['taskset', '-c', String(core)] : []
    const [command = '', ...args] = [...pin, process.execPath, script, JSON.stringify(input)]
    const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    running.add(child)
    child.on('exit', () => running.delete(child))
    return new Child(child, (await nextAnswer(child, file)) as Ready)
  }

  /** One question at a time. */
  async ask<T>(name: string, input?: unknown): Promise<T> {
    if (!this.#process.connected) throw new Error(`${name}: the child process has ended`)
    const answer = nextAnswer(this.#process, name)
    this.#process.send({ name, input })
    return answer as Promise<T>
  }

  /** Returns when it has ended. */
  async stop(): Promise<void> {
    if (!running.has(this.#process)) return
    const ended = new Promise((resolve) => this.#process.once('exit', resolve))
    const late = setTimeout(() => this.#process.kill('SIGKILL'), GRACE)
    this.#process.disconnect()
    await ended
    clearTimeout(late)
  }
}

function nextAnswer(child: ChildProcess, what: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null, signal: string | null) =>
      reject(new Error(`${what}: the child process ended with ${code ?? signal}`))
    child.once('exit', onExit)
    child.once('message', (answer: Answer) => {
      child.off('exit', onExit)
      if ('error' in answer) reject(new Error(`${what}: ${answer.error}`))
      else resolve(answer.value)
    })
  })
}

/** In a child: what it was started with. */
export const inputOf = <T>() => JSON.parse(process.argv[2] ?? 'null') as T

interface Questions {
  [name: string]: (input: never) => unknown
}

/** In a child: says that it is ready, and answers questions until the parent lets it go. `onEnd` is the last that it does. */
export function answer(ready: unknown, questions: Questions, onEnd: () => unknown): void {
  const reply = (message: Answer) => process.send?.(message)
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
