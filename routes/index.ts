import { invalid } from '../src/errors.ts'
import type { App } from '../src/http/routes.ts'
import { NoParameters } from '../src/openapi/operations.ts'
import { compileQuerystring } from '../src/query/querystring.ts'

/** What browsers send where a person opens a page; programs ask for anything, or JSON. */
const HTML = /\btext\/html\b/i

export default async function (app: App) {
  const readParameters = compileQuerystring(NoParameters)
  app.get('/', { schema: { hide: true }, config: { access: 'anyone' } }, ({ headers: { accept = '' }, url }, reply) => {
    reply.header('vary', 'Accept')
    // A page that people open may have parameters of trackers.
    if (HTML.test(accept)) return reply.redirect('/docs/')
    const { faults } = readParameters(url.replace(/^[^?]*\??/, ''))
    if (faults.length > 0) throw invalid(faults)
    return reply.redirect('/api/')
  })
}
