// Settings whose schema cannot tell whether a text is good.
import { PROTOCOLS } from '../drizzle/open.ts'
import { SECRET } from './auth/token.ts'
import type { Fault } from './errors.ts'
import { isNetworkList } from './limits/address.ts'

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
export const findCheck = (name: string, type: unknown): Check | undefined => byName[name] ?? byType[String(type)]

function matches(pattern: string): (text: string) => boolean {
  const whole = new RegExp(`^(?:${pattern})$`)
  return (text) => whole.test(text)
}

const isOrigin = (text: string) => /^https?:[^*]+$/.test(text) && URL.canParse(text) && new URL(text).origin === text

/** Returns the faults of settings that do not go together. */
export const combined = ({ CACHE_SHARED_MAX_AGE: age, PUBLIC_URL: url }: Record<string, unknown>): Fault[] =>
  Number(age) > 0 && url === ''
    ? [{ pointer: '/PUBLIC_URL', detail: 'is required with CACHE_SHARED_MAX_AGE, or headers of one client would make links for all' }]
    : []
