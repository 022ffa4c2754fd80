// The configuration: one schema, read from the environment once.
import { type Static, Type } from '@sinclair/typebox'
import { PROTOCOLS } from '../drizzle/open.ts'
import { SECRET } from './auth/token.ts'
import { countSlips } from './did-you-mean.ts'
import type { Fault } from './errors.ts'
import { isNetworkList } from './limits/address.ts'
import { compileTexts } from './validate.ts'

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']

/** Requests of one client that are remembered. */
const MAX_RATE = 100_000

export const Config = Type.Object({
  HOST: Type.String({ default: '127.0.0.1', description: 'Address to listen on; `0.0.0.0` for every interface' }),
  PORT: Type.Integer({ default: 3000, minimum: 0, maximum: 65535, description: 'Port to listen on; 0 for any that is free' }),
  PUBLIC_URL: Type.String({
    default: '',
    description: 'Origin that links in answers begin with, such as `https://api.example.com`; empty: the request’s own',
  }),
  LOG_LEVEL: Type.String({ default: 'info', enum: LOG_LEVELS, description: 'Least severe log line that is written' }),
  TRUST_PROXY: Type.String({
    default: '',
    description:
      'Addresses and networks of proxies whose `X-Forwarded-*` headers are believed, such as `10.0.0.0/8,127.0.0.1`; empty: none',
  }),
  CORS_ORIGINS: Type.String({
    default: '',
    description:
      'Origins whose pages may call the service, such as `https://shop.example.com,https://admin.example.com`; `*`: all; empty: none',
  }),
  REQUIRE_KEY_TO_READ: Type.Boolean({ default: false, description: 'Whether reading needs an API key too' }),
  ADMIN_KEY: Type.String({
    default: '',
    description:
      'The admin key of a database that has no keys yet: `stk_1_` and 40 to 128 letters and digits; empty: one is made, and printed once',
  }),
  RATE_LIMIT_ANONYMOUS: Type.Integer({
    default: 100,
    minimum: 0,
    maximum: MAX_RATE,
    description: 'Requests without a key that an address may make in a window; 0: no limit',
  }),
  RATE_LIMIT_AUTHENTICATED: Type.Integer({
    default: 1_000,
    minimum: 0,
    maximum: MAX_RATE,
    description: 'Requests that a key may make in a window; 0: no limit',
  }),
  RATE_LIMIT_WINDOW: Type.Integer({ default: 60, minimum: 1, maximum: 3_600, description: 'Length of that window, in seconds' }),
  MAX_CONNECTIONS_PER_ADDRESS: Type.Integer({
    default: 256,
    minimum: 0,
    maximum: 65_535,
    description: 'Connections that an address may have at a time, but for those of `TRUST_PROXY`; 0: no limit',
  }),
  REDIS_URL: Type.String({
    default: '',
    description:
      'Where several processes count requests and keep answers together: `redis://user:password@host:6379/0`, `rediss://…` by TLS; empty: each does for itself',
  }),
  CACHE_TTL: Type.Integer({
    default: 60,
    minimum: 0,
    maximum: 86_400,
    description: 'Seconds for which an answer is kept, unless what it was read from changes before; 0: none is kept',
  }),
  CACHE_MAX_BYTES: Type.Integer({
    default: 67_108_864,
    minimum: 65_536,
    maximum: 17_179_869_184,
    description: 'Memory for them, in bytes',
  }),
  CACHE_SHARED_MAX_AGE: Type.Integer({
    default: 0,
    minimum: 0,
    maximum: 86_400,
    description:
      'Seconds for which proxies and CDNs may serve what anybody may read without asking; needs `PUBLIC_URL`; 0: they ask each time',
  }),
  REQUIRE_IF_MATCH: Type.Boolean({
    default: false,
    description: 'Whether PUT, PATCH and DELETE need an `If-Match` with the `ETag` of what they change',
  }),
  DATABASE_URL: Type.String({
    default: 'file:./data/stockroom.db',
    description: 'A file for SQLite, or `postgres://user:password@host/database`',
  }),
  QUERY_HANDLING: Type.String({
    default: 'strict',
    enum: ['strict', 'lenient'],
    description:
      'What is done with an unknown parameter, an unknown `ordering` field and a `page_size` above the maximum: `strict` refuses, `lenient` does as Django REST Framework; a request’s `Prefer: handling=…` goes first',
  }),
  QUERY_TIMEOUT: Type.Number({
    default: 2,
    minimum: 0.1,
    maximum: 60,
    description: 'Seconds after which a list is given up, counted from the arrival of its request',
  }),
  COUNT_LIMIT: Type.Integer({
    default: 100_000,
    minimum: 1_000,
    maximum: 10_000_000,
    description: 'Matches up to which a list is counted, unless it is asked for with `count=exact`',
  }),
  CHANGES_KEEP_DAYS: Type.Integer({
    default: 90,
    minimum: 0,
    maximum: 36_500,
    description: 'Days for which it is kept on record who changed what; 0: for ever',
  }),
  WORKER: Type.Boolean({
    default: true,
    description: 'Whether the server works through jobs itself; `false` where `stockroom worker` does',
  }),
  JOBS_KEEP_DAYS: Type.Integer({
    default: 7,
    minimum: 1,
    maximum: 3_650,
    description: 'Days for which jobs that have come to an end are kept',
  }),
  DELIVERIES_KEEP_DAYS: Type.Integer({
    default: 30,
    minimum: 1,
    maximum: 3_650,
    description: 'Days for which it is kept what was sent to webhooks; so long can it be sent again',
  }),
  WEBHOOK_ALLOW_HTTP: Type.Boolean({ default: false, description: 'Whether webhooks may have `http://` URLs' }),
  WEBHOOK_ALLOW_PRIVATE: Type.Boolean({
    default: false,
    description: 'Whether webhooks may lead to addresses that are not public, as in development',
  }),
  BODY_LIMIT: Type.Integer({
    default: 1_048_576,
    minimum: 1_024,
    maximum: 104_857_600,
    description: 'Largest body of a request, in bytes',
  }),
  BULK_BODY_LIMIT: Type.Integer({
    default: 2_097_152,
    minimum: 1_024,
    maximum: 104_857_600,
    description: 'The same for `/bulk/`',
  }),
})

export type Config = Static<typeof Config>

/** A name this close to one of ours is a slip that would leave a setting without effect. Shorter names of ours are near too many words. */
const MISSPELT = { minLength: 8, maxSlips: 2 }

/** Reads the configuration from an environment. Throws a ConfigError that names every bad value and what is allowed. */
export function loadConfig(env: Record<string, string | undefined> = process.env): Readonly<Config> {
  const names = Object.keys(Config.properties)
  const set = Object.entries(env).filter(([name, value]) => names.includes(name) && value !== '')
  const config: Record<string, unknown> = Object.fromEntries(set)
  // The schema fills in what is absent and turns texts into numbers, so the texts are checked first. One fault a setting is enough, the first.
  const found = [...unusable(config), ...validate(config), ...combined(config)]
  const faults = [...firstFaults(found).map(describe), ...misspelt(Object.keys(env), names)]
  if (faults.length > 0) throw new ConfigError(`The configuration has faults:\n${faults.map((fault) => `  ${fault}`).join('\n')}`)
  return Object.freeze(config as Config)
}

export class ConfigError extends Error {}

const validate = compileTexts(Config)

const firstFaults = (faults: readonly Fault[]): Fault[] => [...Map.groupBy(faults, pointerOf).values()].flatMap((some) => some.slice(0, 1))

const pointerOf = (fault: Fault) => ('pointer' in fault ? fault.pointer : '')

function describe(fault: Fault): string {
  const name = pointerOf(fault).slice(1)
  const { description } = Config.properties[name as keyof Config]
  return `${name} ${fault.detail}${fault.allowed ? ` (${fault.allowed.join(', ')})` : ''}. ${description}`
}

const unusable = (config: Record<string, unknown>): Fault[] =>
  Object.entries(Config.properties).flatMap(([name, { type }]) => {
    const check = findCheck(name, type)
    const text = config[name]
    if (text === undefined || !check) return []
    const [isGood, detail] = check
    return isGood(String(text)) ? [] : [{ pointer: `/${name}`, detail }]
  })

const misspelt = (given: string[], names: string[]) =>
  given
    .filter((name) => !names.includes(name))
    .flatMap((name) => {
      const meant = names.find((known) => known.length >= MISSPELT.minLength && countSlips(name.toUpperCase(), known) <= MISSPELT.maxSlips)
      return meant ? [`${name} is not known; did you mean ${meant}?`] : []
    })

/** A test of the text of a setting, and what is said of a text that does not pass. */
type Check = [test: (text: string) => boolean, detail: string]

/** Checks by the type of a setting: Ajv also takes 1e3 and 0x50 for a whole number. */
const byType: Readonly<Record<string, Check>> = {
  integer: [(text) => /^-?\d+$/.test(text), 'must be a whole number'],
  number: [(text) => /^-?\d+(\.\d+)?$/.test(text), 'must be a number, such as 2 or 0.5'],
  boolean: [(text) => text === 'true' || text === 'false', 'must be true or false'],
}

/** Checks by the name of a setting. */
const byName: Readonly<Record<string, Check>> = {
  ADMIN_KEY: [matches(`stk_1_${SECRET}`), 'must be stk_1_ followed by 40 to 128 letters and digits'],
  PUBLIC_URL: [
    (text) => matches('https?://[^/?#\\s]+')(text) && URL.canParse(text),
    'must be an origin: http:// or https://, a host and perhaps a port, without a slash at the end',
  ],
  CORS_ORIGINS: [
    (text) => text === '*' || text.split(',').every((origin) => isOrigin(origin.trim())),
    'has something that is no origin as browsers send it: scheme, host in lower case, and a port that is not the usual one',
  ],
  REDIS_URL: [(text) => matches('rediss?://.+')(text) && URL.canParse(text), 'must be a URL that begins with redis:// or rediss://'],
  DATABASE_URL: [(text) => matches(`(${PROTOCOLS.join('|')}).+`)(text) && URL.canParse(text), `must begin with ${PROTOCOLS.join(' or ')}`],
  TRUST_PROXY: [
    isNetworkList,
    'must be addresses or networks of proxies. A number of hops is not accepted: it believes clients that connect directly (CVE-2026-16732)',
  ],
}

/** Returns the check of a setting; undefined where the schema says all. */
const findCheck = (name: string, type: unknown): Check | undefined => byName[name] ?? byType[String(type)]

function matches(pattern: string): (text: string) => boolean {
  const whole = new RegExp(`^(?:${pattern})$`)
  return (text) => whole.test(text)
}

const isOrigin = (text: string) => /^https?:[^*]+$/.test(text) && URL.canParse(text) && new URL(text).origin === text

/** Returns the faults of settings that do not go together. */
const combined = ({ CACHE_SHARED_MAX_AGE: age, PUBLIC_URL: url }: Record<string, unknown>): Fault[] =>
  Number(age) > 0 && url === ''
    ? [{ pointer: '/PUBLIC_URL', detail: 'is required with CACHE_SHARED_MAX_AGE, or headers of one client would make links for all' }]
    : []
