// The log, and what never gets into it: keys, passwords and cookies, wherever they stand.
import type { FastifyServerOptions } from 'fastify'
import type { Config } from './config.ts'

/** Headers that say who somebody is. */
const SECRET_HEADERS = ['authorization', 'proxy-authorization', 'cookie', 'set-cookie']

const REDACTED = '[redacted]'

/** What has a secret in it as it stands in a line of JSON: a text without which it is not there, and what of it goes. */
const secrets: [sign: RegExp, pattern: RegExp, replacement: string][] = [
  // A key, with its underscores as a URL may have them too. Its number says which one it was.
  [/stk/, /(stk(?:_|%5f)\d+(?:_|%5f))[\da-z]+/gi, `$1${REDACTED}`],
  // The password of a URL. What is escaped belongs to it.
  [/:\/\//, /(:\/\/[^\s:@/"\\]*:)(?:[^\s@/"\\]|\\.)+(?=@)/g, `$1${REDACTED}`],
  // Headers at any depth: `redact` would take 2 µs a line to look for them.
  [
    /authorization|cookie/i,
    new RegExp(`("(?:${SECRET_HEADERS.join('|')})":)(?:"(?:[^"\\\\]|\\\\.)*"|\\[[^\\]]*\\])`, 'gi'),
    `$1"${REDACTED}"`,
  ],
]

/** Every line goes through here before it is written. */
export const maskSecrets = (line: string): string =>
  secrets.reduce((masked, [sign, pattern, replacement]) => (sign.test(masked) ? masked.replace(pattern, replacement) : masked), line)

/** Where lines go. */
export interface LogStream {
  write(line: string): void
}

export const createLoggerOptions = ({ LOG_LEVEL }: Config, stream?: LogStream): FastifyServerOptions['logger'] => ({
  level: LOG_LEVEL,
  redact: { paths: SECRET_HEADERS.map((name) => `headers["${name}"]`), censor: REDACTED },
  hooks: { streamWrite: maskSecrets },
  ...(stream && { stream }),
})
