// The documentation's tables say what the code says.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { files, generate } from '../docs/generate.ts'
import { errors } from '../src/errors.ts'
import { lookups } from '../src/query/lookups.ts'
import { DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE } from '../src/query/params.ts'
import { compileQuerystring } from '../src/query/querystring.ts'
import { products } from '../src/resources/products.ts'

/** A reader has ten minutes. */
const MAX_README_LINES = 131

const read = (file: string) => readFileSync(new URL(`../${file}`, import.meta.url), 'utf8')
const api = read('docs/api.md')

/** Returns the rows below the table head of docs/api.md that begins with `head`, as cells without their code marks. */
function table(head: string): string[][] {
  const lines = api.split('\n')
  const start = lines.findIndex((line) => line.startsWith(`| ${head} |`))
  if (start === -1) throw new Error(`docs/api.md has no table that begins with ${head}`)
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

t.test('the table of errors has every code with its status', async (t) => {
  t.same(
    table('code').map(([code, status]) => [code, Number(status)]),
    Object.entries(errors).map(([code, { status }]) => [code, status]),
  )
})

t.test('the page sizes are those of the code', async (t) => {
  t.match(api, `\`page_size\` (${DEFAULT_PAGE_SIZE}, at most ${MAX_PAGE_SIZE})`)
})

t.test('the parts that the code generates are up to date', async (t) => {
  for (const file of files) t.equal(read(file), generate(file), `${file}: npm run docs`)
})

t.test('the README stays short', async (t) => {
  t.ok(read('README.md').split('\n').length <= MAX_README_LINES)
})

const documents = [
  'README.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  ...readdirSync(new URL('../docs', import.meta.url)).map((file) => `docs/${file}`),
].filter((file) => file.endsWith('.md'))

t.test('every file that a document names exists', async (t) => {
  for (const file of documents) {
    const named = read(file).match(/(?<=`)(?:src|plugins|routes|drizzle|test|docs)\/[\w./-]*(?=[:`])/g) ?? []
    for (const path of named.filter((path) => !path.includes('suppliers')))
      t.ok(existsSync(new URL(`../${path}`, import.meta.url)), `${file}: ${path}`)
  }
})

/** Returns the names that headings have in links. */
const listAnchors = (text: string): string[] =>
  [...text.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replace(/[^\w -]/g, '')
      .replaceAll(' ', '-'),
  )

t.test('every link of a document leads somewhere', async (t) => {
  for (const file of documents)
    for (const [, path = '', anchor] of read(file).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)) {
      const target = path === '' ? file : join(dirname(file), path)
      t.ok(existsSync(new URL(`../${target}`, import.meta.url)), `${file}: ${target}`)
      if (anchor) t.ok(listAnchors(read(target)).includes(anchor), `${file}: ${target}#${anchor}`)
    }
})
