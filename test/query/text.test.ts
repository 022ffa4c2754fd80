// Parsing of lists and search terms in parameters.
import fc from 'fast-check'
import t from 'tap'
import { joinList, splitList } from '../../src/query/csv.ts'
import { MAX_SEARCH_LENGTH, MAX_SEARCH_TERMS, MAX_TERM_LENGTH, readSearch } from '../../src/query/search.ts'
import { Unreadable } from '../../src/query/values.ts'

const RUNS = { seed: 20_260_101, numRuns: 2_000 }

t.test('a list is split at its commas by the rules of CSV', async (t) => {
  const rows: [text: string, items: string[]][] = [
    ['a', ['a']],
    ['a,b', ['a', 'b']],
    [' a ,\tb ', ['a', 'b']],
    ['red shirt,blue', ['red shirt', 'blue']],
    ['"a,b",c', ['a,b', 'c']],
    ['a,"b, c"', ['a', 'b, c']],
    [' "a" , "b" ', ['a', 'b']],
    ['" a "', [' a ']],
    ['"say ""hi""",b', ['say "hi"', 'b']],
    ['""""', ['"']],
    ['""', ['']],
    ['a,"",b', ['a', '', 'b']],
    ['"a\nb","c\r\nd"', ['a\nb', 'c\r\nd']],
    // Quotes inside an item without a leading quote, and apostrophes, are ordinary characters.
    ['5" pipe,a"b', ['5" pipe', 'a"b']],
    ["'a,b'", ["'a", "b'"]],
    ['a\\,b', ['a\\', 'b']],
    ['麵包,Straße', ['麵包', 'Straße']],
    ['a,a', ['a', 'a']],
    ['a;b|c', ['a;b|c']],
  ]
  for (const [text, items] of rows) t.strictSame(splitList(text), items, text)
})

t.test('empty items without quotes and unfinished quoted items are refused', async (t) => {
  for (const text of ['', ' ', ',', 'a,', ',a', 'a,,b', 'a, ,b', '"a",', ' ,"a"'])
    t.throws(() => splitList(text), { message: /^has an empty item/ }, JSON.stringify(text))
  for (const text of ['"', '"a', 'a,"b', '"a"b', '"a" b,c', '"a""', '""a""', 'a, "b" c', '"a"\'b\''])
    t.throws(() => splitList(text), { message: /quoted item/ }, JSON.stringify(text))
})

/** Generates texts with frequent special characters. */
const text = (options: { minLength?: number; maxLength: number }, ...special: string[]) =>
  fc.string({ unit: fc.oneof(fc.constantFrom(...special), fc.string({ unit: 'binary', minLength: 1, maxLength: 1 })), ...options })

t.test('a joined list splits into the same items', async () => {
  const items = fc.array(text({ maxLength: 5 }, '"', ',', ' ', '\n', '\u00a0', 'a', '麵'), { minLength: 1, maxLength: 5 })
  fc.assert(
    fc.property(items, (items) => {
      const again = splitList(joinList(items))
      return again.length === items.length && again.every((item, index) => item === items[index])
    }),
    RUNS,
  )
})

t.test('joining produces one canonical form', async () => {
  fc.assert(
    fc.property(text({ maxLength: 12 }, '"', ',', ' ', 'a', '\\'), (source) => {
      const once = canonicalise(source)
      return once === undefined || canonicalise(once) === once
    }),
    RUNS,
  )
})

/** Returns undefined for a refusal and rethrows other errors. */
function readOrRefuse<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof Unreadable) return undefined
    throw error
  }
}

const canonicalise = (list: string) => readOrRefuse(() => joinList(splitList(list)))

t.test("a search is split into terms by DRF's rules, without empty ones", async (t) => {
  const rows: [search: string, terms: string[]][] = [
    ['red', ['red']],
    ['red shirt', ['red', 'shirt']],
    ['red,shirt', ['red', 'shirt']],
    [' red \t\n shirt ', ['red', 'shirt']],
    ['red\u00a0shirt\u3000blue', ['red', 'shirt', 'blue']],
    ['"red shirt" blue', ['red shirt', 'blue']],
    ["'red shirt' blue", ['red shirt', 'blue']],
    ['"a,b"', ['a,b']],
    ['" red "', [' red ']],
    [',"x",', ['x']],
    [',,red,,', ['red']],
    ['a,,b', ['a', 'b']],
    [`'it"s'`, ['it"s']],
    [`"it's"`, ["it's"]],
    ['"esc \\" q"', ['esc " q']],
    ["'esc \\' q'", ["esc ' q"]],
    ['"back\\\\slash"', ['back\\slash']],
    ['"ends in \\\\"', ['ends in \\']],
    // A backslash before other characters, or outside a phrase, is an ordinary character.
    ['"a\\b"', ['a\\b']],
    ['a\\b', ['a\\b']],
    ['foo"bar baz"', ['foo"bar baz"']],
    ['red,"blue green",x', ['red', '"blue green"', 'x']],
    ['"unclosed phrase', ['"unclosed', 'phrase']],
    ["don't stop", ["don't", 'stop']],
    ['a"b', ['a"b']],
    ['"a"b', ['"a"b']],
    ['"a" "b"', ['a', 'b']],
    ['100% _x_ *', ['100%', '_x_', '*']],
    ['-red +blue OR', ['-red', '+blue', 'OR']],
    ['麵包,Straße', ['麵包', 'Straße']],
    ['', []],
    ['   ', []],
    [',', []],
    [', ,,', []],
    ['"', []],
    ["''", []],
    ['""', []],
    ['"" red', ['red']],
  ]
  for (const [search, terms] of rows) t.strictSame(readSearch(search).terms, terms, search)
})

t.test('a repeated term counts once', async (t) => {
  t.strictSame(readSearch('red blue "red" blue').terms, ['red', 'blue'])
})

t.test('too many or too long terms are refused', async (t) => {
  const words = (count: number) => Array.from({ length: count }, (_, index) => `word${index}`)
  t.equal(MAX_SEARCH_TERMS, 10, 'the documented limit')
  t.strictSame(readSearch(words(10).join(' ')).terms, words(10))
  t.strictSame(readSearch(`${words(10).join(' ')} , "" word0`).terms, words(10), 'empty and repeated terms do not count')
  t.throws(() => readSearch(words(11).join(' ')), { message: /more than 10 terms/ })
  t.throws(() => readSearch(words(100).join(',')), { message: /more than 10 terms/ })
  t.strictSame(readSearch(`"${words(30).join(' ')}"`).terms, [words(30).join(' ')], 'a phrase is one term')

  for (const character of ['a', '麵', '👕']) {
    const term = character.repeat(MAX_TERM_LENGTH)
    t.strictSame(readSearch(`"${term}" ${term}`).terms, [term], `${MAX_TERM_LENGTH} of ${character} are allowed in a term`)
    t.throws(() => readSearch(term + character), { message: new RegExp(`more than ${MAX_TERM_LENGTH} characters`) }, character)
    const [short, search] = [character.repeat(249), `${`${character.repeat(249)} `.repeat(3)}${character.repeat(250)}`]
    t.equal([...search].length, MAX_SEARCH_LENGTH)
    t.strictSame(readSearch(`  ${search}  `).terms, [short, short + character], `${MAX_SEARCH_LENGTH} of ${character} are allowed in all`)
    t.throws(() => readSearch(search + character), { message: new RegExp(`more than ${MAX_SEARCH_LENGTH} characters`) }, character)
  }
})

t.test('terms are never empty or repeated, and survive the canonical form in links', async () => {
  fc.assert(
    fc.property(text({ maxLength: 16 }, '"', "'", '\\', ',', ' ', 'a', 'b'), (search) => {
      const read = readOrRefuse(() => readSearch(search))
      if (!read) return true
      const again = readSearch(read.text)
      return read.terms.every((term, index) => term !== '' && read.terms.indexOf(term) === index && again.terms[index] === term)
    }),
    RUNS,
  )
})

/** Characters. Quadratic time would exceed the limit of the test file. */
const LONG = 2_000_000

t.test('splitting takes time in proportion to the length of the text', async (t) => {
  const rows: Record<string, () => unknown> = {
    'spaces before a quoted item': () => splitList(`a,${' '.repeat(LONG)}"b"c`),
    'quotes in a list': () => splitList('"'.repeat(LONG + 1)),
    'commas in a list': () => splitList('a,'.repeat(LONG / 2)),
    'escaped quotes in a search': () => readSearch(`"${'\\" '.repeat(LONG / 3)}`),
    'quotes in a search': () => readSearch(`"'`.repeat(LONG / 2)),
    'commas in a search': () => readSearch(`${','.repeat(LONG)}a`),
  }
  for (const [title, split] of Object.entries(rows)) {
    try {
      split()
    } catch {}
    t.pass(title)
  }
})
