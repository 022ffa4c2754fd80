// The reference page at /docs/: shows the OpenAPI document and lets users try operations.
import { randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import helmet from '@fastify/helmet'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { memoize } from '../drizzle/memoize.ts'
import { docsFiles, docsPage } from '../src/docs/files.ts'
import { Problem } from '../src/errors.ts'
import { negotiateCoding } from '../src/http/cached-response.ts'

/** Options of the page's routes, which OpenAPI omits. */
const OPTIONS = { schema: { hide: true }, config: { access: 'anyone' } } as const

/** Files never change: their names contain a digest of their content. */
const KEEP_FOR_EVER = 'public, max-age=31536000, immutable'

export default fp(
  async function docs(app) {
    // In a scope of its own: helmet only matters for pages, and would halve the speed of other routes.
    await app.register(addReferencePage)
  },
  { name: 'docs', dependencies: ['auth', 'errors'] },
)

async function addReferencePage(app: FastifyInstance) {
  await setHeaders(app)
  for (const url of ['/docs', '/docs/'])
    app.get(url, OPTIONS, async (_request, reply) => {
      const page = docsPage(url.endsWith('/') ? '' : 'docs/', await docsFiles(), getNonce(reply.raw))
      return reply.type('text/html; charset=utf-8').header('cache-control', 'no-store').send(page)
    })
  app.get<{ Params: { file: string } }>('/docs/static/:file', OPTIONS, async (request, reply) => {
    const file = Object.values(await docsFiles()).find(({ name }) => name === request.params.file)
    if (!file) throw new Problem('not-found', 'The documentation page has no such file.')
    const coding = negotiateCoding(request)
    const encoded = coding && file.encoded[coding]
    if (encoded) reply.header('content-encoding', coding)
    const vary = reply.getHeader('vary')
    reply.header('vary', vary === undefined ? 'Accept-Encoding' : `${vary}, Accept-Encoding`)
    return reply
      .type(file.type)
      .header('cache-control', KEEP_FOR_EVER)
      .send(encoded ?? file.body)
  })
}

/** The nonce of a response, for its page and its content security policy. */
const getNonce = memoize((_response: ServerResponse) => randomBytes(16).toString('base64url'))

async function setHeaders(app: FastifyInstance) {
  // `errors` sets a policy for every response, and helmet would keep it.
  app.addHook('onRequest', (_request, reply, done) => {
    reply.removeHeader('content-security-policy')
    done()
  })
  await app.register(helmet, {
    contentSecurityPolicy: {
      // Helmet's defaults contain `upgrade-insecure-requests`, which breaks plain HTTP on every host but localhost.
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"],
        scriptSrc: ["'self'"],
        // `src/docs/page.js` sets the nonce on the styles that Scalar creates.
        styleSrc: ["'self'", (_request, response) => `'nonce-${getNonce(response)}'`],
        imgSrc: ["'self'", 'data:'],
        // The page sends requests to the server that the OpenAPI document names.
        connectSrc: ["'self'", ...(app.config.PUBLIC_URL ? [app.config.PUBLIC_URL] : [])],
        formAction: ["'none'"],
        baseUri: ["'none'"],
        frameAncestors: ["'none'"],
      },
    },
    xFrameOptions: { action: 'deny' },
    // The proxy decides about TLS. Browsers warn about the other two headers on plain HTTP.
    strictTransportSecurity: false,
    crossOriginOpenerPolicy: false,
    originAgentCluster: false,
  })
}
