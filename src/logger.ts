// The log. Keys, passwords and cookies are masked wherever they occur.
import type { FastifyServerOptions } from 'fastify'
import type { Config } from './config.ts'

/** Headers with credentials. */
const SECRET_HEADERS = ['authorization', 'proxy-authorization', 'cookie', 'set-cookie']

const REDACTED = '[redacted]'

/** Secrets in a line of JSON: a quick test, the pattern of the secret, and its replacement. */
const secrets: [quickTest: RegExp, pattern: RegExp, replacement: string][] = [
  // An API key, whose underscores a URL may encode. Its id stays readable.
  [/stk/, /(stk(?:_|%5f)\d+(?:_|%5f))[\da-z]+/gi, `$1${REDACTED}`],
  // The password of a URL, including escaped characters.
  [/:\/\//, /(:\/\/[^\s:@/"\\]*:)(?:[^\s@/"\\]|\\.)+(?=@)/g, `$1${REDACTED}`],
  // Headers at any depth. The `redact` option would take 2 µs per line.
  [
    /authorization|cookie/i,
    new RegExp(`("(?:${SECRET_HEADERS.join('|')})":)(?:"(?:[^"\\\\]|\\\\.)*"|\\[[^\\]]*\\])`, 'gi'),
    `$1"${REDACTED}"`,
  ],
]

/** Masks the secrets in a log line. */
export const maskSecrets = (line: string): string =>
  secrets.reduce(
    (masked, [quickTest, pattern, replacement]) => (quickTest.test(masked) ? masked.replace(pattern, replacement) : masked),
    line,
  )

/** Destination of log lines. */
export interface LogStream {
  write(line: string): void
}

/** Creates Fastify's logger options. Logs to the standard output by default. */
export const createLoggerOptions = ({ LOG_LEVEL }: Config, stream?: LogStream): FastifyServerOptions['logger'] => ({
  level: LOG_LEVEL,
  redact: { paths: SECRET_HEADERS.map((name) => `headers["${name}"]`), censor: REDACTED },
  hooks: { streamWrite: maskSecrets },
  ...(stream && { stream }),
})
