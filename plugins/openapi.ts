// The OpenAPI 3.1 document at /openapi.json.
import swagger from '@fastify/swagger'
import fp from 'fastify-plugin'
import packageJson from '../package.json' with { type: 'json' }
import { type OpenApiDocument, orderParameters, shareComponents } from '../src/openapi/components.ts'
import type { Resource } from '../src/query/resource.ts'

const DESCRIPTION = `A product catalogue. Lists take filters, \`search\`, \`ordering\`, \`page\` and \`page_size\`; what is unknown, repeated or
ill-typed is refused, with every fault named. A URL works with and without its last slash, \`HEAD\` wherever \`GET\` does, and
\`OPTIONS\` names the methods of a URL. Reading needs no key unless the service is set up so; writing needs one, whose role is named at each
operation. How often a client may ask is limited: \`RateLimit\` says what is left. Every error is problem+json (RFC 9457).`

/** The resource that readers meet first. */
const FIRST = 'products'

const buildTags = (resources: readonly Resource[]) =>
  resources.map(({ table, singular }) => ({ name: table, description: `The list of ${table}, and one ${singular}` }))

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
          { name: 'changes', description: 'The feed of what was created, changed and deleted' },
          ...buildTags(restricted),
          { name: 'jobs', description: 'Work that is done behind the requests' },
          { name: 'service', description: 'The service itself' },
        ],
        // Which operation needs what is said at each, by `plugins/auth.ts`.
        components: {
          securitySchemes: {
            key: { type: 'http', scheme: 'bearer', description: 'An API key: `stk_<id>_<secret>`. An administrator makes them.' },
          },
        },
      },
      // Fastify names a schema def-0 unless it is told that its id is its name.
      refResolver: { buildLocalReference: (json, _base, _fragment, index) => String(json.$id ?? `def-${index}`) },
      // Both forms of a URL are routes; the documented one ends in a slash where Django REST Framework's does.
      transform: ({ schema, url }) => ({ schema, url: url.replace(/\/$/, '') + (/^\/api(\/|$)/.test(url) ? '/' : '') }),
      transformObject(made) {
        const document = 'openapiObject' in made ? made.openapiObject : made.swaggerObject
        orderParameters(document as unknown as OpenApiDocument)
        shareComponents(document as unknown as OpenApiDocument)
        return document
      },
    })
  },
  { name: 'openapi', dependencies: ['schemas'] },
)
