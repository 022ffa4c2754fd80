import { invalid } from '../src/errors.ts'
import type { App } from '../src/http/routes.ts'
import { NoParameters } from '../src/openapi/operations.ts'
import { compileQuerystring } from '../src/query/querystring.ts'

/** Browsers accept HTML when a user opens a page. Programs accept anything or JSON. */
const HTML = /\btext\/html\b/i

export default async function (app: App) {
  const readParameters = compileQuerystring(NoParameters)
  app.get('/', { schema: { hide: true }, config: { access: 'anyone' } }, ({ headers: { accept = '' }, url }, reply) => {
    reply.header('vary', 'Accept')
    // A link that users open may carry tracking parameters, so they are not refused.
    if (HTML.test(accept)) return reply.redirect('/docs/')
    const { faults } = readParameters(url.replace(/^[^?]*\??/, ''))
    if (faults.length > 0) throw invalid(faults)
    return reply.redirect('/api/')
  })
}
