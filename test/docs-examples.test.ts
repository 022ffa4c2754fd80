// Every command and request that README.md and docs/ show runs here, page by page, against one server with the sample catalogue.
import { execFile, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { buildApp } from '../src/app.ts'
import { createFirstKey } from '../src/auth/keys.ts'
import { loadConfig } from '../src/config.ts'
import { importProducts } from '../src/transfer/import.ts'
import { sampleProducts } from '../src/transfer/sample.ts'
import { DIALECTS } from './dialects.ts'

const ROOT = fileURLToPath(new URL('../', import.meta.url))
const PAGES = ['README.md', ...readdirSync(join(ROOT, 'docs')).map((file) => `docs/${file}`)].filter((file) => file.endsWith('.md'))

/** The origin in the documents. */
const SHOWN_ORIGIN = 'http://127.0.0.1:3000'
const SAMPLE_SIZE = 1_000

/** Commands that do not run here, by their first characters, each with the test that covers it. */
const NOT_RUN: Record<string, string> = {
  'npm ci && npm run demo': 'test/npm.test.ts starts the demo',
  'npm ci && npm test': 'this test is a part of it',
  'PORT=8080 npm start': 'test/config.test.ts sets the port',
  'ADMIN_KEY=': 'test/cli.test.ts sets the first key',
  'KEY=stk_1_…': 'the environment of the commands has the key',
  'npx openapi-typescript ': 'test/plugins/openapi.test.ts generates the types',
  'npm run bench': 'it takes minutes',
  'sqlite3 ': 'the program may not be installed',
}

/** Members and headers that differ each time. Only their types are compared. */
const VOLATILE = new Set([
  ...['age', 'at', 'content-length', 'created_at', 'date', 'due_at', 'etag', 'feed_lag_seconds', 'id', 'instance', 'key', 'lag_seconds'],
  ...['last-modified', 'last_used_at', 'link', 'location', 'next', 'position', 'previous', 'ratelimit', 'request', 'run_at', 'secret'],
  ...['updated_at', 'version', 'x-request-id'],
])

interface Example {
  command: string
  /** The block below the command: what it prints. */
  shown?: { language: string; text: string }
}

/** Reads the blocks of shell commands of a page, each with the block of output that follows. */
function readExamples(page: string): Example[] {
  const blocks = [...readFileSync(join(ROOT, page), 'utf8').matchAll(/^```(\w+)\n(.*?)^```$/gms)]
  return blocks.flatMap(([, language, command = ''], index): Example[] => {
    if (language !== 'sh') return []
    const [, following = '', text = ''] = blocks[index + 1] ?? []
    return [{ command, ...(['json', 'http', 'text'].includes(following) && { shown: { language: following, text } }) }]
  })
}

/** Returns the command without the lines that are not run here. */
const dropNotRun = (command: string): string =>
  command
    .split('\n')
    .filter((line) => !Object.keys(NOT_RUN).some((begin) => line.startsWith(begin)))
    .join('\n')

/** Makes curl keep the head of each answer in a file, and npm run the command line without npm. */
const PRELUDE = `set -e
curl() { command curl --silent --max-time 60 --dump-header "$HEAD" "$@"; }
npm() { shift 3; node src/cli.ts "$@"; }
`

interface Output {
  code: number
  text: string
  /** Status of the last response; undefined if no request was sent. */
  status?: number
}

type Run = (command: string) => Promise<Output>

async function serveSample(t: Test): Promise<Run> {
  const [sqlite] = DIALECTS
  const DATABASE_URL = (await sqlite?.create(t)) ?? ''
  // Names in URLs of webhooks are not looked up, and jobs are not run.
  const settings = { DATABASE_URL, LOG_LEVEL: 'silent', WORKER: 'false', QUERY_TIMEOUT: '60', WEBHOOK_ALLOW_PRIVATE: 'true' }
  const app = await buildApp({ config: loadConfig(settings), shedding: false })
  t.teardown(() => app.close())
  await app.ready()
  await importProducts(app.db, sampleProducts(SAMPLE_SIZE))
  const KEY = (await createFirstKey(app.db, '')) ?? ''
  const origin = await app.listen({ host: '127.0.0.1', port: 0 })
  const HEAD = join(t.testdir({ head: '' }), 'head')
  const env = { KEY, HEAD, DATABASE_URL, PATH: `${dirname(process.execPath)}:${process.env.PATH}` }
  return (command) =>
    new Promise((resolve) => {
      const script = `${PRELUDE}: > "$HEAD"\n${command.replaceAll(SHOWN_ORIGIN, origin)}`
      execFile('sh', ['-c', script], { cwd: ROOT, env }, (error, stdout, stderr) => {
        const status = readFileSync(HEAD, 'utf8')
          .match(/(?<=^HTTP\/1\.1 )\d+/gm)
          ?.at(-1)
        const code = error ? Number(error.code) : 0
        const text = `${stdout}${stderr}`.replaceAll(origin, SHOWN_ORIGIN).replaceAll('\r', '')
        resolve({ code, text, ...(status !== undefined && { status: Number(status) }) })
      })
    })
}

const ELLIPSIS = '…'

/** Compares a text with the shown one, in which an ellipsis stands for any text. */
function matches(shown: string, actual: string): boolean {
  const parts = shown.split(ELLIPSIS).map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'))
  return new RegExp(`^${parts.join('.*')}$`, 's').test(actual)
}

const describeType = (value: unknown) => (value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value)

/** Lists the differences to the shown response. A member "…" stands for further members, and an item "…" for further items. */
function compare(shown: unknown, actual: unknown, path = '$', name = ''): string[] {
  if (describeType(shown) !== describeType(actual)) return [`${path} is ${JSON.stringify(actual)}, not ${JSON.stringify(shown)}`]
  if (Array.isArray(shown) && Array.isArray(actual)) {
    const isPart = shown.at(-1) === ELLIPSIS
    const items = isPart ? shown.slice(0, -1) : shown
    if (isPart ? actual.length <= items.length : actual.length !== items.length) return [`${path} has ${actual.length} items`]
    return items.flatMap((item, index) => compare(item, actual[index], `${path}[${index}]`, name))
  }
  if (typeof shown === 'object' && shown !== null) {
    const { [ELLIPSIS]: rest, ...members } = shown as Record<string, unknown>
    const others = Object.keys(actual as object).filter((member) => !(member in members))
    const differences = Object.entries(members).flatMap(([member, value]) =>
      compare(value, (actual as Record<string, unknown>)[member], `${path}.${member}`, member),
    )
    return rest === undefined && others.length > 0 ? [...differences, `${path} also has ${others}`] : differences
  }
  if (VOLATILE.has(name.toLowerCase()) || shown === actual) return []
  return typeof shown === 'string' && matches(shown, String(actual)) ? [] : [`${path} is ${JSON.stringify(actual)}`]
}

/** Splits an answer into its head, by name, and its body. */
function parseAnswer(text: string): { head: Record<string, string>; body: unknown } {
  const [head = '', body = ''] = text.split(/\n\n(.*)/s)
  const [status = '', ...lines] = head.trim().split('\n')
  const headers = lines.map((line) => line.split(/: (.*)/s, 2)).map(([name = '', value = '']) => [name.toLowerCase(), value])
  return { head: { status, ...Object.fromEntries(headers) }, body: body.trim() === '' ? null : JSON.parse(body) }
}

const comparisons: Record<string, (shown: string, actual: string) => string[]> = {
  json: (shown, actual) => compare(JSON.parse(shown), JSON.parse(actual)),
  text: (shown, actual) => (matches(shown.trim(), actual.trim()) ? [] : [`it prints ${actual}`]),
  http: (shown, actual) => {
    const [expected, answer] = [parseAnswer(shown), parseAnswer(actual)]
    const shownHead = Object.keys(expected.head).map((name) => [name, answer.head[name]])
    const body = expected.body === null ? [] : compare(expected.body, answer.body)
    return [...compare(expected.head, Object.fromEntries(shownHead), 'head'), ...body]
  },
}

/** Returns the status that a shown answer has: its own, that of the problem in it, or any of success. */
function findStatus({ language, text }: NonNullable<Example['shown']>): RegExp {
  if (language === 'http') return new RegExp(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? '^$')
  const { status, code } = language === 'json' ? JSON.parse(text) : {}
  return new RegExp(code ? `^${status}$` : '^2')
}

const hasCurl = spawnSync('curl', ['--version']).status === 0
const skip = !hasCurl && process.env.CI !== 'true' && 'there is no curl'

t.test('every command of the documents runs, and prints what they show', { skip }, async (t) => {
  const run = await serveSample(t)
  for (const page of PAGES) {
    const examples = readExamples(page)
    const [first, second = ''] = readFileSync(join(ROOT, page), 'utf8').match(/(?<=^```)\w+$/gm) ?? []
    t.equal(first, 'sh', `${page} begins with a command`)
    if (page !== 'README.md') t.ok(second in comparisons, `${page} shows its output`)
    for (const { command, shown } of examples) {
      const rest = dropNotRun(command)
      if (!/^[^#\s]/m.test(rest)) continue
      const { code, text, status } = await run(rest)
      const title = `${page}: ${rest.split('\n')[0]}`
      t.equal(code, 0, title, { text })
      if (status !== undefined) t.match(String(status), shown ? findStatus(shown) : /^2/, title, { text })
      if (shown) t.strictSame(comparisons[shown.language]?.(shown.text, text), [], title, { text })
    }
  }
})
