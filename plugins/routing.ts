// Answers requests without a route before their body is read: unknown URLs, wrong methods and invalid Host headers.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Problem } from '../src/errors.ts'
import { countHeaders, MAX_HEADERS, MAX_URL_LENGTH } from '../src/http/limits.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Origin of links in the response: PUBLIC_URL, or the scheme and host of the request. */
    origin: string
  }
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'] as const

export default fp(
  // Registered after `auth`, which counts these requests too.
  async function routing(app: FastifyInstance) {
    /** Methods of each URL without parameters. `/api/products/bulk` is never the record with the id `bulk`, whatever the method. */
    const fixedUrls = new Map<string, Set<string>>()
    app.addHook('onRoute', ({ url, method }) => {
      if (/[:*]/.test(url)) return
      const methods = fixedUrls.get(withoutSlash(url)) ?? new Set()
      for (const one of [method].flat()) methods.add(one)
      fixedUrls.set(withoutSlash(url), methods)
    })
    const listMethods = (url: string): readonly string[] => {
      const own = fixedUrls.get(withoutSlash(url))
      if (own) return METHODS.filter((method) => own.has(method))
      return METHODS.filter((method) => {
        const route = app.findRoute({ method, url })
        return route && !hasEmptySegment(route.params)
      })
    }
    const isMistaken = ({ url, method, params }: FastifyRequest): boolean => {
      for (const _ in params as object) return fixedUrls.get(withoutSlash(readPath(url)))?.has(method) === false
      return false
    }
    app.decorateRequest('origin', '')
    app.addHook('onRequest', (request, reply, done) => {
      if (request.raw.rawHeaders.length > 2 * MAX_HEADERS)
        throw new Problem('headers-too-large', `The request has more than ${MAX_HEADERS} headers.`)
      const origin = readOrigin(request)
      request.origin = app.config.PUBLIC_URL || origin
      // Checked first, because a 404 needs no valid request. `cors` adds an OPTIONS route for every URL.
      const { is404, method, params } = request
      if (is404 || method === 'OPTIONS' || hasEmptySegment(params) || isMistaken(request)) sendUnrouted(listMethods, request, reply)
      else if (request.url.length > MAX_URL_LENGTH)
        throw new Problem('headers-too-large', `The URL is longer than ${MAX_URL_LENGTH} characters.`)
      else done()
    })
    app.setNotFoundHandler((request, reply) => sendUnrouted(listMethods, request, reply))
  },
  { name: 'routing', dependencies: ['errors', 'auth'] },
)

/** Answers 404, 405 (RFC 9110, section 15.5.6) or OPTIONS. */
function sendUnrouted(listMethods: (url: string) => readonly string[], request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const url = readPath(request.url)
  const methods = listMethods(url)
  // A missing file of the documentation page matches the route of all its files.
  if (methods.length === 0 || methods.some((method) => method === request.method))
    throw new Problem('not-found', `Nothing is at ${url.slice(0, 200)}.`)
  const allow = [...methods, 'OPTIONS'].join(', ')
  if (request.method === 'OPTIONS') return reply.code(204).header('allow', allow).send()
  throw new Problem('method-not-allowed', `${request.method} does not apply here.`, { headers: { allow } })
}

const readPath = (url: string): string => url.split('?', 1)[0] ?? ''

const withoutSlash = (path: string): string => path.replace(/(.)\/$/, '$1')

/** Whether a parameter is empty. The router matches `/api/products/` as a record with an empty id, but it is the list. */
function hasEmptySegment(params: unknown): boolean {
  for (const name in params as object) {
    if ((params as Record<string, string>)[name] === '') return true
  }
  return false
}

/** A host name, an IPv4 address or a bracketed IPv6 address, and an optional port. */
const HOST = /^(?:[\w.~-]+|\[[\da-f:.]+\])(?::\d{1,5})?$/i

/** The last valid origin. Nearly all requests have the same. */
let lastOrigin = { protocol: '', host: '', origin: '' }

/**
 * Reads the origin of a request. Links begin with it, so the Host header must be valid (RFC 9112, section 3.2). Returns an empty text for an
 * HTTP/1.0 request without a host. Throws `malformed-request`.
 */
function readOrigin({ host, protocol, raw }: FastifyRequest): string {
  const detail = 'The Host header is invalid.'
  if (countHeaders(raw.rawHeaders, 'host') > 1) throw new Problem('malformed-request', detail)
  if (host === lastOrigin.host && protocol === lastOrigin.protocol) return lastOrigin.origin
  const origin = `${protocol}://${host}`
  const old = raw.httpVersion === '1.0' && host === ''
  if (!/^https?$/.test(protocol) || !(old || (HOST.test(host) && URL.canParse(origin)))) throw new Problem('malformed-request', detail)
  if (old) return ''
  lastOrigin = { protocol, host, origin }
  return origin
}
