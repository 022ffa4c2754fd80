// The OpenAPI 3.1 document at /openapi.json.
import swagger from '@fastify/swagger'
import fp from 'fastify-plugin'
import packageJson from '../package.json' with { type: 'json' }
import { type OpenApiDocument, orderParameters, shareComponents } from '../src/openapi/components.ts'
import type { Resource } from '../src/query/resource.ts'

const DESCRIPTION = `A product catalogue. Lists take filters, \`search\`, \`ordering\`, \`page\` and \`page_size\`. Unknown, repeated and
ill-typed parameters are refused, and one response lists all faults. A URL works with and without its trailing slash, \`HEAD\` works wherever
\`GET\` does, and \`OPTIONS\` lists the methods of a URL. Reading needs no API key unless the service is configured so. Writing needs a key with
the role that the operation names. Requests are rate-limited: \`RateLimit\` has the remaining quota. Every error is problem+json (RFC 9457).`

/** The resource that the document lists first. */
const FIRST = 'products'

const buildTags = (resources: readonly Resource[]) =>
  resources.map(({ table, singular }) => ({ name: table, description: `List of ${table}, and a single ${singular}` }))

export default fp(
  async function openapi(app) {
    const { open = [], restricted = [] } = Object.groupBy(app.resources, ({ access }) => (access.read === 'admin' ? 'restricted' : 'open'))
    open.sort((a, b) => Number(b.table === FIRST) - Number(a.table === FIRST))
    await app.register(swagger, {
      openapi: {
        openapi: '3.1.0',
        info: {
          title: 'Stockroom',
          version: packageJson.version,
          description: DESCRIPTION,
          license: { name: 'MIT', identifier: 'MIT' },
        },
        servers: [{ url: app.config.PUBLIC_URL || '/' }],
        tags: [
          ...buildTags(open),
          { name: 'changes', description: 'Feed of changes' },
          ...buildTags(restricted),
          { name: 'jobs', description: 'Background jobs' },
          { name: 'service', description: 'Health, URLs and documentation' },
        ],
        // `plugins/auth.ts` declares at each operation whether it needs a key.
        components: {
          securitySchemes: {
            key: { type: 'http', scheme: 'bearer', description: 'API key: `stk_<id>_<secret>`. Administrators create them.' },
          },
        },
      },
      // Uses the id of a schema as its name. The default is def-0, def-1 and so on.
      refResolver: { buildLocalReference: (json, _base, _fragment, index) => String(json.$id ?? `def-${index}`) },
      // URLs work with and without a trailing slash. The documented form follows Django REST Framework.
      transform: ({ schema, url }) => ({ schema, url: url.replace(/\/$/, '') + (/^\/api(\/|$)/.test(url) ? '/' : '') }),
      transformObject(result) {
        const document = 'openapiObject' in result ? result.openapiObject : result.swaggerObject
        orderParameters(document as unknown as OpenApiDocument)
        shareComponents(document as unknown as OpenApiDocument)
        return document
      },
    })
  },
  { name: 'openapi', dependencies: ['schemas'] },
)
