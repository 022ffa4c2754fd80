// Settings whose schema cannot tell whether a text is good.
import { isIP } from 'node:net'

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
    (text) => /^\d{1,2}$/.test(text) || text.split(',').every((address) => isAddress(address.trim())),
    'has something that is no address',
  ],
}

const isOrigin = (text: string) => /^https?:[^*]+$/.test(text) && URL.canParse(text) && new URL(text).origin === text

/** Names that the proxies of a machine or a site go by. */
const ADDRESS_NAMES = ['loopback', 'linklocal', 'uniquelocal']

/** An address, or a range of them: `10.0.0.0/8`. */
function isAddress(text: string): boolean {
  const [address = '', bits = '0', ...rest] = text.split('/')
  if (ADDRESS_NAMES.includes(text)) return true
  return rest.length === 0 && isIP(address) !== 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= (isIP(address) === 4 ? 32 : 128)
}
