// Generators of random requests as bytes for a socket. Each character stands for the byte of its code.
import fc from 'fast-check'
import { categories } from '../../src/resources/categories.ts'
import { products } from '../../src/resources/products.ts'

export interface Request {
  method: string
  target: string
  version: string
  headers: [name: string, value: string][]
  body?: string
  /** The request announces more bytes than it sends: the client closes the connection in the middle. */
  cut?: boolean
}

export function encodeRequest({ method, target, version, headers, body = '' }: Request): Buffer {
  const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`)
  return Buffer.from(`${method} ${target} ${version}\r\n${lines.join('')}\r\n${body}`, 'latin1')
}

const bytes = (text: string) => Buffer.from(text).toString('latin1')

/** Generates a word of lines that spaces separate. */
const word = (...lines: string[]) => fc.constantFrom(...lines.flatMap((line) => line.split(' ')))

/** Generates `rare` about once in `times`, and otherwise `often`. */
const mostly = <T>(often: fc.Arbitrary<T>, rare: fc.Arbitrary<T>, times: number) =>
  fc.oneof({ weight: times - 1, arbitrary: often }, { weight: 1, arbitrary: rare })

const sequence = (unit: fc.Arbitrary<string>, maxLength: number) => fc.array(unit, { maxLength }).map((units) => units.join(''))
const inARow = (...parts: fc.Arbitrary<string>[]) => fc.tuple(...parts).map((texts) => texts.join(''))

// URLs.

const printable = fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code))
const anyByte = fc.integer({ min: 0, max: 0xff }).map((code) => String.fromCharCode(code))
const escapedByte = fc.integer({ min: 0, max: 0xff }).map((code) => `%${code.toString(16).padStart(2, '0')}`)

/** Texts that have broken decoders, SQL, patterns and templates. */
const trap = word(
  '% %0 %zz %00 %ff %c3 %c0%80 %ed%a0%80 %ed%bf%bf %f4%90%80%80 %EF%BB%BF %u0041 %25 %0A %0D%0A %1f %7f %20 %2B %27%3B',
  `.. %2e%2e %2f / // \\ ? # & = ; + ! ~ * () [] {} <script> | ^ \` " ' "" '' '-- '+or+1=1+-- $1 :x ?1 {{7*7}} __proto__ constructor null NaN`,
  '%E9%BA%B5%E5%8C%85 %F0%9F%91%95 e%CC%81 Stra%C3%9Fe %C4%B0 %CE%A3 %EF%BC%91 %E2%80%AE %E2%80%8B',
)
const noise = sequence(
  fc.oneof({ weight: 4, arbitrary: printable }, { weight: 4, arbitrary: trap }, { weight: 1, arbitrary: escapedByte }),
  12,
)

const digits = fc
  .tuple(fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(300, 3_000)), word('9 0 1'))
  .map(([length, digit]) => digit.repeat(length))
const numbers = fc.oneof(
  fc.integer({ min: -3, max: 20 }).map(String),
  fc.double().map(String),
  fc.bigInt().map(String),
  digits,
  inARow(fc.constantFrom('', '-', '+', ' '), digits, fc.constantFrom('', '.', 'e', 'e-', ','), digits),
  word('. - -0 .5 5. 1e400 0x10 9007199254740993 9223372036854775808 2147483648 99999999.99 100000000 Infinity'),
)
const times = inARow(
  word('2026-01-31 2026-02-30 0000-01-01 0001-01-01 9999-12-31 10000-01-01 -0001-01-01 2026-1-1 20260131'),
  fc.oneof(
    fc.constantFrom('', ' ', `T12:00:00.${'9'.repeat(40)}`),
    word('T t %20 T12:00 T23:59:60 T24:00:00 T00:00:00 T23:59:59.999 T12:00:00.123456789'),
  ),
  fc.oneof(fc.constant(''), word('Z z +02:00 %2B02:00 -23:59 %2B23:59 -99:99 %2B24:00 [UTC]')),
)
const long = fc
  .tuple(word('a %F0%9F%91%95 %E9%BA%B5 , " %22 + _ %25 ( 1, a+'), fc.constantFrom(50, 500, 1_200))
  .map(([unit, times]) => unit.repeat(times))
const likely = word('red Red+shirt last true false 1 0 id -id price,-stock id,id -price,bogus acme food "" "a "a"b')

const oneValue = fc.oneof(numbers, times, likely, noise, trap, fc.constant(''))
const value = mostly(
  fc.oneof(
    oneValue,
    fc.array(oneValue, { maxLength: 5 }).map((items) => items.join(',')),
  ),
  long,
  12,
)

const anyParameter = fc.constantFrom(...[products, categories].flatMap(({ list }) => Object.keys(list.querystring.properties)))
const name = fc.oneof(
  { weight: 8, arbitrary: anyParameter },
  { weight: 1, arbitrary: inARow(anyParameter, noise) },
  { weight: 1, arbitrary: noise },
)
const pair = inARow(name, fc.constantFrom('=', '=', '=', '=', '==', ''), value)
const query = fc.oneof(
  fc.constant(''),
  fc.array(pair, { minLength: 1, maxLength: 3 }).map((pairs) => `?${pairs.join('&')}`),
  noise.map((text) => `?${text}`),
)

const list = word('/api/products/ /api/categories/')
const id = mostly(fc.integer({ min: 0, max: 12 }).map(String), fc.oneof(numbers, noise), 4)
const path = fc.oneof(
  { weight: 6, arbitrary: word('/api/products/ /api/products /api/categories/') },
  { weight: 6, arbitrary: inARow(list, id, fc.constantFrom('', '/')) },
  { weight: 1, arbitrary: word('/ // /api /api/ /api//products/ /API/PRODUCTS/ /livez /readyz /openapi.json /docs/ /docs/static/x') },
  {
    weight: 1,
    arbitrary: word('* api/products/ http://localhost/api/products/ http:// x:80 /api/products/../livez /api/products/%2e%2e/ /%'),
  },
  { weight: 1, arbitrary: inARow(fc.constantFrom('/', '/', '/api/products/', '/docs/', '/api/', ''), noise) },
)
const target = mostly(inARow(path, query), sequence(anyByte, 20), 40)

const method = mostly(
  word('GET GET GET GET POST POST PUT PATCH PATCH DELETE HEAD OPTIONS'),
  fc.oneof(word('TRACE PROPFIND PURGE QUERY M-SEARCH get FOO PRI CONNECT'), fc.constantFrom('', 'G ET')),
  15,
)

// Bodies.

const members = Object.keys(products.contract)
const member = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...members, 'parent', 'slug') },
  { weight: 1, arbitrary: word('__proto__ constructor prototype toString NAME \\ud800 \\u0000 na\\u006de a/b~c colour') },
)

/** Values of members, some of which JSON does not allow. */
const LITERALS = [
  ...'"shirt" "" "29.90" 29.9 5 1 0 -1 null true false [] {} [null] {"a":1} ["x"] " "'.split(' '),
  ...'1e400 -1e400 1e-400 1E2 1.0 -0 -0.0 0.1 29.999 9007199254740993 99999999.99 100000000 2147483648'.split(' '),
  ...'"\\ud800" "\\udc00\\ud800" "\\u0000" "a\\u0000b" "\\u001f" "\\ufeff" "\\uffff" "NaN" "1e3" "5." ".5" "-0" "+5" "0x10"'.split(' '),
  ...`'a' undefined NaN Infinity 01 +1 .5 5. 0x10 1_000 "unclosed`.split(' '),
  ...['"\xff"', '"\xc3"', '"\xed\xa0\x80"', '"\x01"', '"\n"', `"${bytes('麵包 Straße')}"`, '" 5 "', '1'.repeat(400), `"${'9'.repeat(31)}"`],
  ...[65, 256, 10_001].map((length) => `"${'a'.repeat(length)}"`),
  ...[`"${bytes('👕').repeat(255)}"`, `"${'\\ud83d\\udc55'.repeat(64)}"`],
]
const literal = mostly(fc.constantFrom(...LITERALS), fc.json({ maxDepth: 2 }).map(bytes), 5)
const object = fc
  .array(fc.tuple(member, literal), { maxLength: 5 })
  .map((pairs) => `{${pairs.map(([name, is]) => `"${name}":${is}`).join(',')}}`)

const goodName = fc.constantFrom('Red shirt', 'Blue shirt', '麵包', 'Straße', '"', "'", '%', '!!!', 'ΌΣΟΣ')
const category = fc.option(fc.integer({ min: 1, max: 6 }))
const goodProduct = fc
  .record({ name: goodName, price: fc.constantFrom('1', '29.90', 5, 0.1), sku: fc.constantFrom('A', 'B', null), category })
  .map((body) => bytes(JSON.stringify(body)))
const goodCategory = fc.record({ name: goodName, parent: category }).map((body) => bytes(JSON.stringify(body)))

/** Generates a text with one part replaced. */
const spoilt = fc
  .tuple(fc.oneof(goodProduct, goodCategory, object), fc.nat({ max: 60 }), fc.nat({ max: 3 }), fc.oneof(anyByte, trap, literal))
  .map(([text, at, length, by]) => text.slice(0, at) + by + text.slice(at + length))

/** Bodies that are large or deep. */
const HEAVY = [
  '['.repeat(100_000),
  '['.repeat(100_000) + ']'.repeat(100_000),
  '{"a":'.repeat(50_000),
  `${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}`,
  `{"name":${'['.repeat(5_000)}${']'.repeat(5_000)}}`,
  `{"price":${'9'.repeat(100_000)}}`,
  `{"price":"0.${'0'.repeat(100_000)}1"}`,
  `{"name":"${'\\u0041'.repeat(100_000)}"}`,
  `{${Array.from({ length: 20_000 }, (_, index) => `"x${index}":1`).join(',')}}`,
  `[${'0,'.repeat(100_000)}0]`,
  ' '.repeat(1_100_000),
]

const body = mostly(
  fc.oneof(
    { weight: 3, arbitrary: fc.oneof(goodProduct, goodCategory) },
    { weight: 4, arbitrary: object },
    { weight: 2, arbitrary: spoilt },
    { weight: 1, arbitrary: fc.oneof(literal, noise, sequence(anyByte, 30)) },
  ),
  fc.constantFrom(...HEAVY),
  60,
)

const contentType = mostly(
  fc.constantFrom('application/json', 'application/json', 'application/json; charset=utf-8', 'application/merge-patch+json'),
  fc.oneof(
    word('text/plain application/x-www-form-urlencoded multipart/form-data;boundary=x application/json;charset=utf-16 json */* ;'),
    fc.constantFrom('', 'application/json,text/plain', 'a'.repeat(300)),
  ),
  8,
)

// Requests.

type Headers = Request['headers']

const host = mostly(
  fc.constant<string | undefined>('localhost'),
  fc.oneof(word('shop.example:8080 [::1]:3000 user@host ho/st host?x h# localhost:99999 xn-- \xff'), fc.constantFrom('a b', '', undefined)),
  20,
)

const moreHeaders = mostly(
  fc.constant<Headers>([]),
  fc
    .constantFrom<Headers[number]>(
      ['Expect', '100-continue'],
      ['Expect', 'tea'],
      ['Accept', 'text/html'],
      ['If-None-Match', '*'],
      ['If-None-Match', `"${'","'.repeat(3_000)}`],
      ['If-Match', '"x"'],
      ['If-Match', 'x'],
      ['If-Match', '*'],
      ['If-Match', `${'"'.repeat(4_001)}`],
      ['If-Modified-Since', 'Sun, 06 Nov 1994 08:49:37 GMT'],
      ['If-Modified-Since', 'Sun, 99 Nov 999999 08:49:37 GMT'],
      ['If-Unmodified-Since', 'Sun, 06 Nov 1994 08:49:37 GMT'],
      ['Accept-Encoding', 'br'],
      ['Accept-Encoding', 'gzip;q=0.5, *;q=0'],
      ['Accept-Encoding', `br;q=${'9'.repeat(500)},;;==,\xff`],
      ['Idempotency-Key', '"k"'],
      ['Idempotency-Key', 'k'],
      ['Idempotency-Key', '"\xff"'],
      ['Idempotency-Key', `"${'\\\\'.repeat(3_000)}"`],
      ['Range', 'bytes=0-1'],
      ['Content-Encoding', 'gzip'],
      ['Transfer-Encoding', 'gzip'],
      ['X-Forwarded-Host', 'evil.example"><'],
      ['X-Request-Id', 'x'.repeat(100)],
      ['Upgrade', 'websocket'],
      ['Cookie', '\x80'.repeat(50)],
      ['Content-Length', '5'],
      ['Host', 'twice'],
      ['X-Long', 'x'.repeat(20_000)],
      ['X Y', 'z'],
      ['', 'z'],
    )
    .map((header) => [header]),
  12,
)

type Content = Pick<Request, 'headers' | 'body' | 'cut'>

/** Ways to mark the end of a body. */
const framings: Record<string, (body: string) => Content> = {
  length: (body) => ({ headers: [['Content-Length', String(body.length)]], body }),
  chunked: (body) => ({
    headers: [['Transfer-Encoding', 'chunked']],
    body: `${body && `${body.length.toString(16)}\r\n${body}\r\n`}0\r\n\r\n`,
  }),
  none: (body) => ({ headers: [], body }),
  short: (body) => ({ headers: [['Content-Length', String(body.length + 10)]], body, cut: true }),
  broken: (body) => ({ headers: [['Transfer-Encoding', 'chunked']], body: `zz\r\n${body}` }),
}
const content = fc
  .tuple(mostly(word('length length chunked'), word('none short broken'), 25), contentType, body)
  .map(([framing, type, body]): Content => {
    const { headers, ...sent } = framings[framing]?.(body) ?? { headers: [] }
    return { headers: [['Content-Type', type], ...headers], ...sent }
  })

const wild: fc.Arbitrary<Request> = fc
  .record({
    method,
    target,
    version: mostly(fc.constant('HTTP/1.1'), fc.oneof(word('HTTP/1.0 HTTP/2.0 HTTP/9.9 HTTX/1.1'), fc.constant('')), 40),
    host,
    moreHeaders,
    content,
    /** Bodies of methods without one are rare. */
    needless: fc.nat({ max: 9 }),
  })
  .map(({ method, target, version, host, moreHeaders, content, needless }) => {
    const { headers, ...sent }: Content = /^(GET|HEAD|DELETE|OPTIONS)$/.test(method) && needless > 0 ? { headers: [] } : content
    const hostHeaders: Headers = host === undefined ? [] : [['Host', host]]
    return { method, target, version, headers: [...hostHeaders, ['Connection', 'close'], ...moreHeaders, ...headers], ...sent }
  })

function plain(method: string, target: string, body?: string): Request {
  const { headers, ...sent }: Content = body === undefined ? { headers: [] } : (framings.length?.(body) ?? { headers: [] })
  const fixed: Headers = [
    ['Host', 'localhost'],
    ['Connection', 'close'],
    ['Content-Type', 'application/json'],
  ]
  return { method, target, version: 'HTTP/1.1', headers: [...fixed, ...headers], ...sent }
}

/** Generates an operation of a bulk request. */
const operation = fc.oneof(
  goodProduct.map((body) => `{"op":"create","body":${body}}`),
  fc
    .tuple(id, fc.oneof(goodProduct, object))
    .map(([id, body]) => `{"op":"update","id":${/^\d+$/.test(id) ? Number(id) : 0},"body":${body}}`),
  fc.oneof(goodProduct, object).map((body) => `{"op":"upsert","body":${body}}`),
  id.map((id) => `{"op":"delete","id":${/^\d+$/.test(id) ? Number(id) : 0}}`),
  literal,
)

/** Requests that pass the first checks, so that records exist and later code is reached. */
const plausible: fc.Arbitrary<Request> = fc.oneof(
  goodProduct.map((body) => plain('POST', '/api/products/', body)),
  goodCategory.map((body) => plain('POST', '/api/categories/', body)),
  fc.tuple(word('PATCH PUT'), id, fc.oneof(goodProduct, object)).map(([method, id, body]) => plain(method, `/api/products/${id}/`, body)),
  fc
    .tuple(word('PATCH PUT'), id, fc.oneof(goodCategory, object))
    .map(([method, id, body]) => plain(method, `/api/categories/${id}/`, body)),
  fc.tuple(id, object).map(([id, body]) => plain('POST', `/api/products/${id}/stock/`, body)),
  fc
    .tuple(id, fc.integer({ min: -9, max: 9 }))
    .map(([id, delta]) => plain('POST', `/api/products/${id}/stock/`, JSON.stringify({ delta, reason: 'counted' }))),
  fc
    .tuple(fc.array(operation, { maxLength: 6 }), fc.boolean())
    .map(([operations, atomic]) => plain('POST', '/api/products/bulk/', `{"operations":[${operations.join(',')}],"atomic":${atomic}}`)),
  id.map((id) => plain('GET', `/api/products/${id}/cached_detail/`)),
  inARow(list, id).map((path) => plain('DELETE', `${path}/`)),
  inARow(list, query).map((target) => plain('GET', target)),
)

export const anyRequest: fc.Arbitrary<Request> = fc.oneof({ weight: 2, arbitrary: plausible }, { weight: 3, arbitrary: wild })

/** Requests that are always included: every heavy body, and every member with every value. */
export const certainRequests: Request[] = [
  ...members.flatMap((name) => LITERALS.map((is) => plain('PATCH', '/api/products/1/', `{"${name}":${is}}`))),
  ...['name', 'parent'].flatMap((name) => LITERALS.map((is) => plain('PATCH', '/api/categories/1/', `{"${name}":${is}}`))),
  ...HEAVY.flatMap((body) => [plain('POST', '/api/products/', body), plain('PATCH', '/api/categories/1/', body)]),
]
