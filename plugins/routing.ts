// Ends what no route answers, before any body is read: an unknown URL, a method that does not apply, a Host header that is none.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Problem } from '../src/errors.ts'
import { countHeaders, MAX_HEADERS, MAX_URL_LENGTH } from '../src/http/limits.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** What links in the answer begin with: PUBLIC_URL, or the scheme and the host that the client used. */
    origin: string
  }
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'] as const

export default fp(
  // After `auth`, which counts these requests too.
  async function routing(app: FastifyInstance) {
    /** The methods of each URL without parameters: `/api/products/bulk` is not the record whose id is `bulk`, whatever the method. */
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
      // What is sent to a URL that does not exist is of no interest. Only `cors` has a route for OPTIONS, which is every URL's.
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

/** A URL that no route has, or has for other methods only (RFC 9110, 15.5.6), or is asked for them. */
function sendUnrouted(methodsOf: (url: string) => readonly string[], request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const url = readPath(request.url)
  const methods = methodsOf(url)
  // A file of the documentation page that does not exist has a route, of all its files.
  if (methods.length === 0 || methods.some((method) => method === request.method))
    throw new Problem('not-found', `Nothing is at ${url.slice(0, 200)}.`)
  const allow = [...methods, 'OPTIONS'].join(', ')
  if (request.method === 'OPTIONS') return reply.code(204).header('allow', allow).send()
  throw new Problem('method-not-allowed', `${request.method} does not apply here.`, { headers: { allow } })
}

const readPath = (url: string): string => url.split('?', 1)[0] ?? ''

const withoutSlash = (path: string): string => path.replace(/(.)\/$/, '$1')

/** The router takes `/api/products/` for the record without an id. It is the list. */
function hasEmptySegment(params: unknown): boolean {
  for (const name in params as object) {
    if ((params as Record<string, string>)[name] === '') return true
  }
  return false
}

/** A name, an IPv4 or a bracketed IPv6 address, and a port. */
const HOST = /^(?:[\w.~-]+|\[[\da-f:.]+\])(?::\d{1,5})?$/i

/** What was found to be an origin last: nearly all requests come to the same. */
let lastOrigin = { protocol: '', host: '', origin: '' }

/** Links in answers begin with it, so it has to be a host and nothing more (RFC 9112, 3.2). Empty where a client of HTTP/1.0 names none. */
function readOrigin({ host, protocol, raw }: FastifyRequest): string {
  const detail = 'The Host header is not the name of a host.'
  if (countHeaders(raw.rawHeaders, 'host') > 1) throw new Problem('malformed-request', detail)
  if (host === lastOrigin.host && protocol === lastOrigin.protocol) return lastOrigin.origin
  const origin = `${protocol}://${host}`
  const old = raw.httpVersion === '1.0' && host === ''
  if (!/^https?$/.test(protocol) || !(old || (HOST.test(host) && URL.canParse(origin)))) throw new Problem('malformed-request', detail)
  if (old) return ''
  lastOrigin = { protocol, host, origin }
  return origin
}
