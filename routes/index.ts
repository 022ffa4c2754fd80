import type { App } from '../src/routes.ts'

/** What browsers send where a person opens a page; programs ask for anything, or JSON. */
const HTML = /\btext\/html\b/i

export default async function (app: App) {
  app.get('/', { schema: { hide: true }, config: { access: 'anyone' } }, ({ headers: { accept = '' } }, reply) =>
    reply.header('vary', 'Accept').redirect(HTML.test(accept) ? '/docs/' : '/api/'),
  )
}
