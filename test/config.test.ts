// The configuration: accepted settings, and the messages about faulty ones.
import t from 'tap'
import { type Config, ConfigError, loadConfig } from '../src/config.ts'
import { DIALECTS } from './dialects.ts'
import { ask, build } from './helper.ts'

const DEFAULTS: Config = {
  HOST: '127.0.0.1',
  PORT: 3000,
  PUBLIC_URL: '',
  LOG_LEVEL: 'info',
  TRUST_PROXY: '',
  CORS_ORIGINS: '',
  REQUIRE_KEY_TO_READ: false,
  ADMIN_KEY: '',
  RATE_LIMIT_ANONYMOUS: 100,
  MAX_CONNECTIONS_PER_ADDRESS: 256,
  RATE_LIMIT_AUTHENTICATED: 1_000,
  RATE_LIMIT_WINDOW: 60,
  REDIS_URL: '',
  CACHE_TTL: 60,
  CACHE_MAX_BYTES: 67_108_864,
  CACHE_SHARED_MAX_AGE: 0,
  REQUIRE_IF_MATCH: false,
  DATABASE_URL: 'file:./data/stockroom.db',
  QUERY_HANDLING: 'strict',
  QUERY_TIMEOUT: 2,
  COUNT_LIMIT: 100_000,
  CHANGES_KEEP_DAYS: 90,
  WORKER: true,
  JOBS_KEEP_DAYS: 7,
  DELIVERIES_KEEP_DAYS: 30,
  WEBHOOK_ALLOW_HTTP: false,
  WEBHOOK_ALLOW_PRIVATE: false,
  BODY_LIMIT: 1_048_576,
  BULK_BODY_LIMIT: 2_097_152,
}

t.test('every setting has a default', async (t) => {
  t.same(loadConfig({}), DEFAULTS)
  t.same(loadConfig(Object.fromEntries(Object.keys(DEFAULTS).map((name) => [name, '']))), DEFAULTS, 'an empty value means the default')
  t.throws(() => Object.assign(loadConfig({}), { PORT: 1 }), TypeError, 'the configuration is read-only')
})

const good: [name: keyof Config, text: string, value?: number | boolean][] = [
  ['HOST', '0.0.0.0'],
  ['HOST', '::'],
  ['PORT', '0', 0],
  ['PORT', '65535', 65_535],
  ['PUBLIC_URL', 'https://api.example.com'],
  ['PUBLIC_URL', 'http://localhost:8080'],
  ...['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'].map((level): ['LOG_LEVEL', string] => ['LOG_LEVEL', level]),
  ['CORS_ORIGINS', '*'],
  ['CORS_ORIGINS', 'https://shop.example.com'],
  ['CORS_ORIGINS', 'https://shop.example.com, http://localhost:5173,http://[::1]:8080'],
  ['REQUIRE_KEY_TO_READ', 'true', true],
  ['REQUIRE_KEY_TO_READ', 'false', false],
  ['ADMIN_KEY', `stk_1_${'aZ09'.repeat(10)}`],
  ['RATE_LIMIT_ANONYMOUS', '0', 0],
  ['MAX_CONNECTIONS_PER_ADDRESS', '0', 0],
  ['RATE_LIMIT_AUTHENTICATED', '100000', 100_000],
  ['RATE_LIMIT_WINDOW', '3600', 3_600],
  ['REDIS_URL', 'redis://user:secret@host:6380/2'],
  ['REDIS_URL', 'rediss://host'],
  ['DATABASE_URL', 'file:/var/lib/stockroom.db'],
  ['DATABASE_URL', 'postgres://user:secret@host:5433/stockroom?sslmode=require'],
  ['DATABASE_URL', 'postgresql:///stockroom'],
  ['QUERY_HANDLING', 'strict'],
  ['QUERY_HANDLING', 'lenient'],
  ['QUERY_TIMEOUT', '0.1', 0.1],
  ['QUERY_TIMEOUT', '2.5', 2.5],
  ['QUERY_TIMEOUT', '60', 60],
  ['COUNT_LIMIT', '1000', 1_000],
  ['COUNT_LIMIT', '10000000', 10_000_000],
  ['BODY_LIMIT', '1024', 1_024],
  ['BODY_LIMIT', '104857600', 104_857_600],
]
for (const [name, text, value = text] of good) {
  t.test(`${name}=${text}`, async (t) => t.same(loadConfig({ [name]: text }), { ...DEFAULTS, [name]: value }))
}

const bad: [name: keyof Config, texts: string[], allowed: RegExp][] = [
  ['PORT', ['65536'], /65535/],
  [
    'CORS_ORIGINS',
    [
      'shop.example.com',
      'https://shop.example.com/',
      'https://shop.example.com/a',
      'https://Shop.example.com',
      'https://shop.example.com:443',
      'https://user:secret@shop.example.com',
      'https://*.example.com',
      'ftp://example.com',
      'null',
      '*,https://shop.example.com',
      'https://a,',
      'https://a https://b',
      'true',
    ],
    /https:\/\/shop\.example\.com/,
  ],
  ['REQUIRE_KEY_TO_READ', ['yes', '1', 'TRUE'], /^ {2}REQUIRE_KEY_TO_READ must be true or false\./m],
  [
    'ADMIN_KEY',
    ['secret', `stk_2_${'a'.repeat(48)}`, `stk_1_${'a'.repeat(39)}`, `stk_1_${'a'.repeat(129)}`, `stk_1_${'-'.repeat(48)}`],
    /40 to 128/,
  ],
  ['RATE_LIMIT_ANONYMOUS', ['-1', '1.5', '1e3', '100001', 'none'], /Requests without a key/],
  ['RATE_LIMIT_AUTHENTICATED', ['-1', '0x10', '100001'], /Requests that a key/],
  ['RATE_LIMIT_WINDOW', ['0', '3601', '1m'], /in seconds/],
  ['MAX_CONNECTIONS_PER_ADDRESS', ['-1', '1.5', '65536', 'many'], /Connections that an address may have/],
  ['REDIS_URL', ['localhost:6379', 'http://host', 'redis://'], /redis:\/\//],
  ['PORT', ['-1'], /must be at least 0/],
  ['PORT', ['http', '80.5', '1e3', '0x50', 'Infinity', 'true'], /must be a whole number\./],
  [
    'PUBLIC_URL',
    ['api.example.com', 'ftp://example.com', 'https://', 'https://a/', 'https://a/b', 'https://a?b', 'https://a b'],
    /https:\/\/api\.example\.com/,
  ],
  ['PUBLIC_URL', ['https://a:99999', 'https://[::1'], /https:\/\/api\.example\.com/],
  ['LOG_LEVEL', ['INFO', 'verbose', 'info '], /fatal, error, warn, info, debug, trace, silent/],
  ['TRUST_PROXY', ['yes', 'true', '-1', '1.5', '300.0.0.1', '10.0.0.0/33', '::/129', '127.0.0.1,proxy'], /addresses or networks/],
  ['TRUST_PROXY', ['0', '1', '2'], /A number of hops is not accepted.*such as `10\.0\.0\.0\/8/],
  ['DATABASE_URL', ['./stockroom.db', 'mysql://u:secret@h/d', 'file:', 'postgres:', 'File:x', 'sqlite:x'], /file:.*postgres:/],
  ['QUERY_HANDLING', ['Strict', 'loose', 'true'], /strict, lenient/],
  ['QUERY_TIMEOUT', ['0', '0.09', '-1'], /must be at least 0\.1/],
  ['QUERY_TIMEOUT', ['60.1', '1000'], /must be at most 60/],
  ['QUERY_TIMEOUT', ['2s', '1e1', '0x2', 'Infinity', 'NaN', 'true'], /number/],
  ['COUNT_LIMIT', ['999'], /must be at least 1000/],
  ['COUNT_LIMIT', ['10000001'], /must be at most 10000000/],
  ['COUNT_LIMIT', ['1000.5', '100_000', '1e4'], /integer|whole number/],
  ['BODY_LIMIT', ['1023'], /must be at least 1024/],
  ['BODY_LIMIT', ['104857601'], /must be at most 104857600/],
  ['BODY_LIMIT', ['1mb', '1_048_576'], /integer|whole number/],
]
for (const [name, texts, allowed] of bad) {
  for (const text of texts) {
    t.test(`not ${name}=${text}`, async (t) => {
      const message = readFaults({ [name]: text })
      t.match(message, new RegExp(`^The configuration is invalid:\\n {2}${name} `))
      t.match(message, allowed, 'the message says which values are allowed')
      t.notMatch(message, /secret/, 'the message repeats no password')
      t.notMatch(message, /pattern|\^|\$|boolean|integer/, 'the message has no regular expressions or type names')
    })
  }
}

function readFaults(env: Record<string, string>): string {
  try {
    return `accepted: ${JSON.stringify(loadConfig(env))}`
  } catch (error) {
    return error instanceof ConfigError ? error.message : `not a ConfigError: ${error}`
  }
}

t.test('the message names every fault', async (t) => {
  const lines = readFaults({ PORT: 'x', LOG_LEVEL: 'y', BODY_LIMIT: '0', PUBLIC_ULR: 'z', HOST: 'fine' }).split('\n')
  t.equal(lines.length, 5)
  t.match(lines.slice(1, 4), [/PORT/, /LOG_LEVEL/, /BODY_LIMIT/])
  for (const name of ['PORT', 'LOG_LEVEL', 'BODY_LIMIT', 'PUBLIC_ULR'])
    t.ok(
      lines.some((line) => line.startsWith(`  ${name} `)),
      name,
    )
})

const misspelt: Record<string, string> = {
  DATABSE_URL: 'DATABASE_URL',
  DATABASE_URI: 'DATABASE_URL',
  DATABASEURL: 'DATABASE_URL',
  database_url: 'DATABASE_URL',
  LOGLEVEL: 'LOG_LEVEL',
  LOG_LEVELS: 'LOG_LEVEL',
  TRUSTPROXY: 'TRUST_PROXY',
  BODY_LIMT: 'BODY_LIMIT',
  PUBLIC_ULR: 'PUBLIC_URL',
}
for (const [name, suggestion] of Object.entries(misspelt)) {
  t.test(`${name} is refused as a misspelling of ${suggestion}`, async (t) => {
    t.equal(readFaults({ [name]: 'x' }), `The configuration is invalid:\n  ${name} is not a setting; did you mean ${suggestion}?`)
  })
}

t.test('unrelated environment variables are ignored', async (t) => {
  const names = [
    'PATH',
    'HOSTNAME',
    'HOSTS',
    'PORTS',
    'POST',
    'DATABASE',
    'DATABASE_NAME',
    'DB_URL',
    'PUBLIC_KEY',
    'LOG',
    'LOG_FILE',
    'NODE_ENV',
    'BODY',
    'constructor',
    '__proto__',
  ]
  t.same(loadConfig(Object.fromEntries(names.map((name) => [name, 'x']))), DEFAULTS)
})

/** Values of TRUST_PROXY, and whether they trust 127.0.0.1, which sends the requests. */
const proxies: [trusted: string, believed: boolean][] = [
  ['', false],
  ['127.0.0.1', true],
  ['127.0.0.0/8', true],
  ['10.0.0.0/8', false],
  ['10.0.0.0/8,127.0.0.1', true],
  ['10.0.0.0/8, ::1, 127.0.0.1', true],
  ['::ffff:127.0.0.1', true],
  ['loopback', true],
  ['linklocal,uniquelocal', false],
]
t.test('forwarded headers count only from a trusted proxy', async (t) => {
  const [dialect] = DIALECTS
  if (!dialect) return
  for (const [TRUST_PROXY, believed] of proxies) {
    const app = await build(t, dialect, { env: { TRUST_PROXY } })
    const { headers } = await ask(app, 'GET', '/api/products/', undefined, {
      host: 'inside:3000',
      'x-forwarded-host': 'shop.example',
      'x-forwarded-proto': 'https',
    })
    t.match(headers.link, believed ? /^<https:\/\/shop\.example\/api/ : /^<http:\/\/inside:3000\/api/, `TRUST_PROXY=${TRUST_PROXY}`)
  }
})

t.test('answers for shared caches never link to a forwarded host', async (t) => {
  t.match(
    readFaults({ CACHE_SHARED_MAX_AGE: '30' }),
    /^The configuration is invalid:\n {2}PUBLIC_URL is required with CACHE_SHARED_MAX_AGE/,
  )
  const [dialect] = DIALECTS
  if (!dialect) return
  const forwarded = { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'https' }
  for (const url of ['/api/products/', '/openapi.json']) {
    const shared = { CACHE_SHARED_MAX_AGE: '30', PUBLIC_URL: 'https://api.example.com', TRUST_PROXY: '127.0.0.1' }
    const app = await build(t, dialect, { env: shared })
    const { headers, body } = await app.inject({ url, headers: forwarded })
    t.match(headers['cache-control'], /^public.*s-maxage/)
    t.notMatch(JSON.stringify(headers) + body, /evil/, url)
    t.notMatch(headers.vary, /forwarded/i)
    const asking = await build(t, dialect, { env: { TRUST_PROXY: '127.0.0.1' } })
    t.match((await asking.inject({ url, headers: forwarded })).headers.vary, /X-Forwarded-Host, X-Forwarded-Proto/, url)
  }
})

t.test('links begin with PUBLIC_URL, whatever a proxy forwards', async (t) => {
  const [dialect] = DIALECTS
  if (!dialect) return
  const app = await build(t, dialect, { env: { PUBLIC_URL: 'https://api.example.com', TRUST_PROXY: '127.0.0.1' } })
  const { headers } = await ask(app, 'GET', '/api/products/', undefined, { 'x-forwarded-host': 'shop.example' })
  t.match(headers.link, /^<https:\/\/api\.example\.com\/api\/products\/>/)
})
