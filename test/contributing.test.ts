// The example of CONTRIBUTING.md, followed word by word in a copy of the repository.
import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { DIALECTS } from './dialects.ts'

const ROOT = fileURLToPath(new URL('../', import.meta.url))
/** Test files that a new resource can break. */
const TESTS = ['test/routes/suppliers.test.ts', 'test/architecture.test.ts', 'test/docs.test.ts']
const MORE = [
  'changelog/changes',
  'plugins/auth',
  'cli',
  'resource',
  'feed/feed',
  'drizzle/migrations',
  'plugins/openapi',
  'docs-page',
].map((name) => `test/${name}.test.ts`)
/** `npm run soak` runs all of them. */
const files = process.env.CONTRIBUTING === 'all' ? [...TESTS, ...MORE] : TESTS

/** SQLite alone: what a new resource breaks, it breaks on both. A time limit ends a test that hangs. */
const testEnvironment = (copy: string) => ({
  TEST_DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none',
  CI: '',
  TMPDIR: join(copy, 'tmp'),
  TAP_TIMEOUT: '900',
})

interface Step {
  /** The paragraph above the block. */
  instruction: string
  code: string
}

/** Reads the steps of a section of CONTRIBUTING.md. */
function readSteps(title: string): Step[] {
  const text = readFileSync(join(ROOT, 'CONTRIBUTING.md'), 'utf8')
  const section = text.split(/^## /m).find((part) => part.startsWith(`${title}\n`)) ?? ''
  return [...section.matchAll(/(.*)\n\n```\w+\n([\s\S]*?)```\n/g)].map(([, instruction = '', code = '']) => ({ instruction, code }))
}

/** Copies all files that git does not ignore. */
async function copyRepository(copy: string): Promise<void> {
  const { stdout } = await run(ROOT, 'git', ['ls-files', '--cached', '--others', '--exclude-standard', '--deduplicate'])
  const { stdout: deleted } = await run(ROOT, 'git', ['ls-files', '--deleted'])
  const deletedPaths = new Set(deleted.split('\n'))
  for (const path of stdout
    .trim()
    .split('\n')
    .filter((path) => !deletedPaths.has(path)))
    cpSync(join(ROOT, path), join(copy, path))
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'))
  // Biome looks for ignored files in a repository.
  mkdirSync(join(copy, '.git'))
}

/** Throws an error with all that the command wrote. */
const run = (cwd: string, command: string, args: readonly string[], env: Record<string, string> = {}) =>
  promisify(execFile)(command, args, { cwd, env: { ...process.env, ...env }, maxBuffer: 50_000_000 }).catch(
    (error: Error & { stdout: string; stderr: string }) => {
      throw new Error(`${command} ${args.join(' ')}: ${error.stdout.slice(-5_000)} ${error.stderr.slice(-5_000)}`)
    },
  )

const RETURN = /^ {2}return \{.*\}$/m
function edit(copy: string, path: string, change: (text: string) => string): void {
  const file = join(copy, path)
  const before = readFileSync(file, 'utf8')
  const after = change(before)
  if (after === before) throw new Error(`${path} has no line that fits the instruction`)
  writeFileSync(file, after)
}

/** The forms of an instruction, each with the function that follows it. */
const instructions: [RegExp, (copy: string, code: string, path: string) => unknown][] = [
  [
    /In a new file `(.+)`:$/,
    (copy, code, path) => {
      mkdirSync(dirname(join(copy, path)), { recursive: true })
      writeFileSync(join(copy, path), code, { flag: 'wx' })
    },
  ],
  [/In `(.+)`, above the `return` of/, (copy, code, path) => edit(copy, path, (text) => text.replace(RETURN, (line) => code + line))],
  [/In `(.+)`, in place of that `return`:$/, (copy, code, path) => edit(copy, path, (text) => text.replace(RETURN, code.trimEnd()))],
  [/This command writes the SQL/, (copy, code) => run(copy, 'sh', ['-c', code])],
  [/All tests/, () => undefined],
]

const skip = existsSync(join(ROOT, '.git')) ? false : 'git knows which files to copy, and this is no checkout'
t.test('the example of CONTRIBUTING.md passes lint, types and tests', { skip }, async (t) => {
  const copy = await mkdtemp(join(tmpdir(), 'stockroom-contributing-'))
  t.teardown(() => rm(copy, { recursive: true, force: true }))
  await copyRepository(copy)
  const steps = readSteps('Add a resource')
  t.equal(steps.length, 7)
  for (const { instruction, code } of steps) {
    const [follow, path] =
      instructions.map(([pattern, apply]) => [apply, pattern.exec(instruction)] as const).find(([, match]) => match) ?? []
    if (!follow) throw new Error(`This test has no form for the instruction: ${instruction}`)
    await follow(copy, code, path?.[1] ?? '')
  }

  for (const script of ['lint', 'types']) await t.test(script, async () => void (await run(copy, 'npm', ['run', script])))
  for (const dialect of DIALECTS)
    await t.test(`the migration [${dialect.name}]`, { skip: dialect.skip }, async (t) => {
      const { open }: typeof import('../drizzle/open.ts') = await import(pathToFileURL(join(copy, 'drizzle/open.ts')).href)
      const db = await open(await dialect.create(t), { served: [] })
      const applied = await db.migrate().finally(() => db.close())
      t.ok(applied.some((name) => name.endsWith('_add_suppliers')))
    })
  mkdirSync(join(copy, 'tmp'))
  for (const file of files)
    await t.test(file, async (t) => t.notMatch((await run(copy, process.execPath, [file], testEnvironment(copy))).stdout, /^not ok/m))
})
