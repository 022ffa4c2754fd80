// The log, and what never gets into it: keys, passwords and cookies, wherever they stand.
import type { FastifyServerOptions } from 'fastify'
import type { Config } from './config.ts'

/** Headers that say who somebody is, in an object of headers or one level below. */
const SECRET_HEADERS = ['authorization', 'proxy-authorization', 'cookie', 'set-cookie']
const PLACES = ['headers', '*.headers']

/** A key, with its underscores as a URL may have them too. Its number says which one it was. */
const KEY = /(stk(?:_|%5f)\d+(?:_|%5f))[\da-z]+/gi
/** The password of a URL. What is escaped in JSON belongs to it. */
const PASSWORD = /(:\/\/[^\s:@/"\\]*:)(?:[^\s@/"\\]|\\.)+(?=@)/g

const REDACTED = '[redacted]'

/** Every line that is written comes through here, as JSON. */
export function mask(line: string): string {
  const masked = /stk/i.test(line) ? line.replace(KEY, `$1${REDACTED}`) : line
  return masked.includes('://') ? masked.replace(PASSWORD, `$1${REDACTED}`) : masked
}

/** Where lines go. */
export interface LogStream {
  write(line: string): void
}

export const logger = ({ LOG_LEVEL }: Config, stream?: LogStream): FastifyServerOptions['logger'] => ({
  level: LOG_LEVEL,
  redact: {
    paths: PLACES.flatMap((place) => SECRET_HEADERS.map((name) => `${place}["${name}"]`)),
    censor: REDACTED,
  },
  hooks: { streamWrite: mask },
  ...(stream && { stream }),
})
