// The configuration: one schema, read from the environment once.
import { type Static, Type } from '@sinclair/typebox'
import { PROTOCOLS } from '../drizzle/open.ts'
import { SECRET } from './auth/token.ts'
import { countTypos } from './did-you-mean.ts'
import type { Fault } from './errors.ts'
import { isNetworkList } from './limits/address.ts'
import { compileTexts } from './validate.ts'

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']

/** Highest rate limit. Each counted request of a client takes memory. */
const MAX_RATE = 100_000

export const Config = Type.Object({
  HOST: Type.String({ default: '127.0.0.1', description: 'Address to listen on. `0.0.0.0` listens on all interfaces.' }),
  PORT: Type.Integer({ default: 3000, minimum: 0, maximum: 65535, description: 'Port to listen on. 0 picks a free port.' }),
  PUBLIC_URL: Type.String({
    default: '',
    description: 'Origin of the links in responses, such as `https://api.example.com`. Empty: the origin of the request.',
  }),
  LOG_LEVEL: Type.String({ default: 'info', enum: LOG_LEVELS, description: 'Lowest level that is logged.' }),
  TRUST_PROXY: Type.String({
    default: '',
    description:
      'Addresses and networks of trusted proxies, such as `10.0.0.0/8,127.0.0.1`. Only their `X-Forwarded-*` headers are used. Empty: none.',
  }),
  CORS_ORIGINS: Type.String({
    default: '',
    description:
      'Origins whose pages may call the API, such as `https://shop.example.com,https://admin.example.com`. `*`: all. Empty: none.',
  }),
  REQUIRE_KEY_TO_READ: Type.Boolean({ default: false, description: 'Whether read requests require an API key.' }),
  ADMIN_KEY: Type.String({
    default: '',
    description:
      'Admin key to create in a database without keys: `stk_1_` and 40 to 128 letters and digits. Empty: a key is generated and printed once.',
  }),
  RATE_LIMIT_ANONYMOUS: Type.Integer({
    default: 100,
    minimum: 0,
    maximum: MAX_RATE,
    description: 'Requests without a key that an address may make per window. 0: no limit.',
  }),
  RATE_LIMIT_AUTHENTICATED: Type.Integer({
    default: 1_000,
    minimum: 0,
    maximum: MAX_RATE,
    description: 'Requests that a key may make per window. 0: no limit.',
  }),
  RATE_LIMIT_WINDOW: Type.Integer({
    default: 60,
    minimum: 1,
    maximum: 3_600,
    description: 'Length of the rate-limit window, in seconds.',
  }),
  MAX_CONNECTIONS_PER_ADDRESS: Type.Integer({
    default: 256,
    minimum: 0,
    maximum: 65_535,
    description: 'Connections that an address may have open. Proxies in `TRUST_PROXY` are exempt. 0: no limit.',
  }),
  REDIS_URL: Type.String({
    default: '',
    description:
      'Redis where processes share rate limits and cached responses: `redis://user:password@host:6379/0`, or `rediss://…` for TLS. Empty: each process has its own.',
  }),
  CACHE_TTL: Type.Integer({
    default: 60,
    minimum: 0,
    maximum: 86_400,
    description: 'Seconds to cache a response. A change to its data invalidates it at once. 0: no cache.',
  }),
  CACHE_MAX_BYTES: Type.Integer({
    default: 67_108_864,
    minimum: 65_536,
    maximum: 17_179_869_184,
    description: 'Memory for cached responses, in bytes.',
  }),
  CACHE_SHARED_MAX_AGE: Type.Integer({
    default: 0,
    minimum: 0,
    maximum: 86_400,
    description:
      'Seconds that proxies and CDNs may serve public responses without revalidation. Requires `PUBLIC_URL`. 0: they revalidate every time.',
  }),
  REQUIRE_IF_MATCH: Type.Boolean({
    default: false,
    description: 'Whether PUT, PATCH and DELETE require `If-Match` with the `ETag` of the record.',
  }),
  DATABASE_URL: Type.String({
    default: 'file:./data/stockroom.db',
    description: 'SQLite file, such as `file:./data/stockroom.db`, or PostgreSQL: `postgres://user:password@host/database`.',
  }),
  QUERY_HANDLING: Type.String({
    default: 'strict',
    enum: ['strict', 'lenient'],
    description:
      'Handling of unknown parameters, unknown `ordering` fields and too large a `page_size`. `strict` rejects them, `lenient` does as Django REST Framework. A request overrides it with `Prefer: handling=…`.',
  }),
  QUERY_TIMEOUT: Type.Number({
    default: 2,
    minimum: 0.1,
    maximum: 60,
    description: 'Seconds that a list request may take, counted from its arrival.',
  }),
  COUNT_LIMIT: Type.Integer({
    default: 100_000,
    minimum: 1_000,
    maximum: 10_000_000,
    description: 'Matches up to which a list is counted exactly. `count=exact` counts all.',
  }),
  CHANGES_KEEP_DAYS: Type.Integer({
    default: 90,
    minimum: 0,
    maximum: 36_500,
    description: 'Days to keep the change log. 0: for ever.',
  }),
  WORKER: Type.Boolean({
    default: true,
    description: 'Whether the server also runs jobs. Set `false` if `stockroom worker` runs them.',
  }),
  JOBS_KEEP_DAYS: Type.Integer({
    default: 7,
    minimum: 1,
    maximum: 3_650,
    description: 'Days to keep finished jobs.',
  }),
  DELIVERIES_KEEP_DAYS: Type.Integer({
    default: 30,
    minimum: 1,
    maximum: 3_650,
    description: 'Days to keep webhook deliveries. They can be replayed for as long.',
  }),
  WEBHOOK_ALLOW_HTTP: Type.Boolean({ default: false, description: 'Whether webhooks may have `http://` URLs.' }),
  WEBHOOK_ALLOW_PRIVATE: Type.Boolean({
    default: false,
    description: 'Whether webhooks may use addresses that are not public. For development.',
  }),
  BODY_LIMIT: Type.Integer({
    default: 1_048_576,
    minimum: 1_024,
    maximum: 104_857_600,
    description: 'Largest request body, in bytes.',
  }),
  BULK_BODY_LIMIT: Type.Integer({
    default: 2_097_152,
    minimum: 1_024,
    maximum: 104_857_600,
    description: 'Largest request body of `/bulk/`, in bytes.',
  }),
})

export type Config = Static<typeof Config>

/** Limits for taking an unknown name as a misspelt setting. Names shorter than `minLength` resemble too many other words. */
const MISSPELT = { minLength: 8, maxSlips: 2 }

/** Reads the configuration from an environment. Throws a ConfigError that lists every invalid setting and its allowed values. */
export function loadConfig(env: Record<string, string | undefined> = process.env): Readonly<Config> {
  const names = Object.keys(Config.properties)
  const set = Object.entries(env).filter(([name, value]) => names.includes(name) && value !== '')
  const config: Record<string, unknown> = Object.fromEntries(set)
  // The texts are checked first, because validate() fills in defaults and turns texts into numbers.
  const faults = [...checkTexts(config), ...validate(config), ...checkCombinations(config)]
  const lines = [...takeFirstPerSetting(faults).map(describe), ...findMisspelt(Object.keys(env), names)]
  if (lines.length > 0) throw new ConfigError(`The configuration is invalid:\n${lines.map((line) => `  ${line}`).join('\n')}`)
  return Object.freeze(config as Config)
}

export class ConfigError extends Error {}

const validate = compileTexts(Config)

const takeFirstPerSetting = (faults: readonly Fault[]): Fault[] =>
  [...Map.groupBy(faults, getPointer).values()].flatMap((group) => group.slice(0, 1))

const getPointer = (fault: Fault) => ('pointer' in fault ? fault.pointer : '')

function describe(fault: Fault): string {
  const name = getPointer(fault).slice(1)
  const { description } = Config.properties[name as keyof Config]
  return `${name} ${fault.detail}${fault.allowed ? ` (${fault.allowed.join(', ')})` : ''}. ${description}`
}

const checkTexts = (config: Record<string, unknown>): Fault[] =>
  Object.entries(Config.properties).flatMap(([name, { type }]) => {
    const check = CHECKS_BY_NAME[name] ?? CHECKS_BY_TYPE[String(type)]
    const text = config[name]
    if (text === undefined || !check) return []
    const [isValid, detail] = check
    return isValid(String(text)) ? [] : [{ pointer: `/${name}`, detail }]
  })

const findMisspelt = (variables: string[], names: string[]) =>
  variables
    .filter((variable) => !names.includes(variable))
    .flatMap((variable) => {
      const suggestion = names.find(
        (name) => name.length >= MISSPELT.minLength && countTypos(variable.toUpperCase(), name) <= MISSPELT.maxSlips,
      )
      return suggestion ? [`${variable} is not a setting; did you mean ${suggestion}?`] : []
    })

/** Returns the faults of settings that exclude or require each other. */
const checkCombinations = ({ CACHE_SHARED_MAX_AGE: age, PUBLIC_URL: url }: Record<string, unknown>): Fault[] =>
  Number(age) > 0 && url === ''
    ? [
        {
          pointer: '/PUBLIC_URL',
          detail: 'is required with CACHE_SHARED_MAX_AGE: otherwise one client’s headers decide the links in responses for all',
        },
      ]
    : []

/** A check of a setting's text, and the detail of the fault if it fails. For settings that JSON Schema cannot check alone. */
type Check = [isValid: (text: string) => boolean, detail: string]

/** Checks by the type of a setting. Without them, Ajv accepts 1e3 and 0x50 as integers. */
const CHECKS_BY_TYPE: Readonly<Record<string, Check>> = {
  integer: [(text) => /^-?\d+$/.test(text), 'must be a whole number'],
  number: [(text) => /^-?\d+(\.\d+)?$/.test(text), 'must be a number, such as 2 or 0.5'],
  boolean: [(text) => text === 'true' || text === 'false', 'must be true or false'],
}

/** Checks by the name of a setting. */
const CHECKS_BY_NAME: Readonly<Record<string, Check>> = {
  ADMIN_KEY: [matches(`stk_1_${SECRET}`), 'must be stk_1_ followed by 40 to 128 letters and digits'],
  PUBLIC_URL: [
    (text) => matches('https?://[^/?#\\s]+')(text) && URL.canParse(text),
    'must be an origin: http:// or https://, a host and an optional port, without a trailing slash',
  ],
  CORS_ORIGINS: [
    (text) => text === '*' || text.split(',').every((origin) => isOrigin(origin.trim())),
    'must list origins as browsers send them: scheme, host in lower case, and the port unless it is the default',
  ],
  REDIS_URL: [(text) => matches('rediss?://.+')(text) && URL.canParse(text), 'must be a URL that begins with redis:// or rediss://'],
  DATABASE_URL: [(text) => matches(`(${PROTOCOLS.join('|')}).+`)(text) && URL.canParse(text), `must begin with ${PROTOCOLS.join(' or ')}`],
  TRUST_PROXY: [
    isNetworkList,
    'must be addresses or networks of proxies. A number of hops is not accepted: it trusts clients that connect directly (CVE-2026-16732)',
  ],
}

function matches(pattern: string): (text: string) => boolean {
  const whole = new RegExp(`^(?:${pattern})$`)
  return (text) => whole.test(text)
}

const isOrigin = (text: string) => /^https?:[^*]+$/.test(text) && URL.canParse(text) && new URL(text).origin === text
