// Settings whose schema cannot tell whether a text is good.
import type { Fault } from './errors.ts'
import { isNetworkList } from './limits/address.ts'

/** For every setting that is a whole number: Ajv also takes 1e3 and 0x50 for one. */
export const WHOLE: [(text: string) => boolean, string] = [(text) => /^\d+$/.test(text), 'must be a whole number']

/** What a schema cannot tell of a text, and what to say of one that does not pass. */
export const checks: Readonly<Record<string, [(text: string) => boolean, string]>> = {
  QUERY_TIMEOUT: [(text) => /^\d+(\.\d+)?$/.test(text), 'must be a number of seconds'],
  PUBLIC_URL: [(text) => URL.canParse(text), 'is no origin'],
  CORS_ORIGINS: [
    (text) => text === '*' || text.split(',').every((origin) => isOrigin(origin.trim())),
    'has something that is no origin as browsers send it: scheme, host in lower case, and a port that is not the usual one',
  ],
  REDIS_URL: [(text) => URL.canParse(text), 'is no URL'],
  DATABASE_URL: [(text) => URL.canParse(text), 'is no URL'],
  TRUST_PROXY: [
    isNetworkList,
    'must be addresses or networks of proxies. A number of hops is not accepted: it believes clients that connect directly (CVE-2026-16732)',
  ],
}

const isOrigin = (text: string) => /^https?:[^*]+$/.test(text) && URL.canParse(text) && new URL(text).origin === text

/** Returns the faults of settings that do not go together. */
export const combined = ({ CACHE_SHARED_MAX_AGE: age, PUBLIC_URL: url }: Record<string, unknown>): Fault[] =>
  Number(age) > 0 && url === ''
    ? [{ pointer: '/PUBLIC_URL', detail: 'is required with CACHE_SHARED_MAX_AGE, or headers of one client would make links for all' }]
    : []
