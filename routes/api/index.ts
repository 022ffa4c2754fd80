import { Type } from '@sinclair/typebox'
import type { CacheEntry } from '../../src/cache/store.ts'
import { sendEntry } from '../../src/http/cached-response.ts'
import { digest } from '../../src/http/etags.ts'
import type { App } from '../../src/http/routes.ts'
import { buildHeadersSchema, buildNotModified, buildResponses, IF_NONE_MATCH, listAccessErrors } from '../../src/openapi/responses.ts'

/** Returns the paths of all lists and of the documentation, by name. */
const listPaths = ({ resources }: App): Record<string, string> => ({
  ...Object.fromEntries([...resources.map(({ table }) => table), 'changes', 'jobs'].map((name) => [name, `/api/${name}/`])),
  docs: '/docs/',
  openapi: '/openapi.json',
})

export default async function (app: App) {
  const paths = Object.entries(listPaths(app))
  const links = Type.Object(
    Object.fromEntries(
      paths.map(([name, path]) => [name, Type.String({ format: 'uri', examples: [`https://api.example.com${path}`], description: path })]),
    ),
  )
  const schema = {
    tags: ['service'],
    operationId: 'service.root',
    summary: 'URLs of all lists and of the documentation',
    headers: buildHeadersSchema(IF_NONE_MATCH),
    response: buildResponses(200, { description: 'URLs by name', schema: links, cached: true, others: buildNotModified() }, [
      ...listAccessErrors('anyone'),
      'precondition-failed',
    ]),
  }

  // Nearly all requests have the same origin.
  let last: { origin: string; entry: CacheEntry } | undefined
  const renderRoot = (origin: string) => {
    const body = JSON.stringify(Object.fromEntries(paths.map(([name, path]) => [name, origin + path])))
    return { origin, entry: app.responseCache.createEntry({ state: '', tag: digest(body), headers: {}, body }) }
  }
  app.get('/', { schema, config: { access: 'anyone' } }, ({ origin }, reply) => {
    if (last?.origin !== origin) last = renderRoot(origin)
    return sendEntry(reply.request, reply, '', { entry: last.entry, source: 'bypass' })
  })
}
