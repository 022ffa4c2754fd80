// The documentation's tables say what the code says.
import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { commands } from '../src/commands.ts'
import { Config } from '../src/config.ts'
import { errors } from '../src/errors.ts'
import { lookups } from '../src/query/lookups.ts'
import { DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE } from '../src/query/params.ts'
import { compileQuerystring } from '../src/query/querystring.ts'
import { products } from '../src/resources/products.ts'

const read = (file: string) => readFileSync(new URL(`../${file}`, import.meta.url), 'utf8')
const readme = read('README.md')

/** The rows below the table head that begins with `head`, as cells without their code marks. */
function table(head: string): string[][] {
  const lines = readme.split('\n')
  const start = lines.findIndex((line) => line.startsWith(`| ${head} |`))
  if (start === -1) throw new Error(`README.md has no table that begins with ${head}`)
  const rows = lines.slice(start + 2)
  return rows
    .slice(
      0,
      rows.findIndex((line) => !line.startsWith('|')),
    )
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim().replace(/^`([^`]*)`$/, '$1')),
    )
}

t.test('the table of lookups has every lookup, in their order, with its meaning', async (t) => {
  t.same(
    table('lookup').map(([name, , , meaning]) => [name, meaning]),
    Object.entries(lookups).map(([name, { meaning }]) => [name, meaning]),
  )
})

t.test('every example of a lookup shows it, and is a query that products answer', async (t) => {
  const query = compileQuerystring(products.list.querystring)
  for (const [name, , example = ''] of table('lookup')) {
    t.match(example, name === 'exact' ? /^\w+=/ : new RegExp(`^\\w+__${name}=`))
    t.same(query(encodeURI(example)).faults, [], example)
  }
})

t.test('the table of settings has every key with its default and meaning', async (t) => {
  t.same(
    table('name').map(([name, fallback, meaning]) => [name, fallback, meaning]),
    Object.entries(Config.properties).map(([name, schema]) => [name, String(schema.default), schema.description]),
  )
})

t.test('the table of commands has every command with its summary', async (t) => {
  t.same(
    table('command').map(([usage, summary]) => [usage, summary]),
    Object.entries(commands).map(([name, { argument, summary }]) => [argument ? `${name} ${argument[0]}` : name, summary]),
  )
})

t.test('the table of errors has every code with its status', async (t) => {
  t.same(
    table('code').map(([code, status]) => [code, Number(status)]),
    Object.entries(errors).map(([code, { status }]) => [code, status]),
  )
})

t.test('the page sizes are those of the code', async (t) => {
  t.match(readme, `\`page_size\` (${DEFAULT_PAGE_SIZE}, at most ${MAX_PAGE_SIZE})`)
})

t.test('every file that a document names exists', async (t) => {
  for (const file of ['README.md', 'CONTRIBUTING.md', 'docs/architecture.md', 'docs/operations.md']) {
    const named = read(file).match(/(?<=`)(?:src|plugins|routes|drizzle|test|docs)\/[\w./-]*(?=[:`])/g) ?? []
    for (const path of named.filter((path) => !path.includes('suppliers')))
      t.ok(existsSync(new URL(`../${path}`, import.meta.url)), `${file}: ${path}`)
  }
})
