// The table of contents: the plugins by name, in the order in which a request meets them, then the routes.
import { randomUUID } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import autoload from '@fastify/autoload'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify from 'fastify'
import type { OpenOptions } from '../drizzle/open.ts'
import db from '../plugins/db.ts'
import problems, { clientErrorHandler, frameworkErrors, noProxy, rawResponse, unmetExpectation } from '../plugins/errors.ts'
import health from '../plugins/health.ts'
import openapi from '../plugins/openapi.ts'
import schemas from '../plugins/schemas.ts'
import type { Config } from './config.ts'
import type { Resource } from './query/resource.ts'
import type { App } from './routes.ts'

declare module 'fastify' {
  interface FastifyInstance {
    config: Readonly<Config>
    resources: readonly Resource[]
  }
}

const ROUTES = fileURLToPath(new URL('../routes', import.meta.url))
/** Milliseconds in which a request has to arrive, its body included. */
const REQUEST_TIMEOUT = 60_000

const RESOURCES = new URL('./resources/', import.meta.url)

export interface AppOptions {
  config: Readonly<Config>
  /** Other resources than those of src/resources/, other routes than those of routes/, other tables than those of drizzle/tables.ts. */
  resources?: readonly Resource[]
  routes?: string
  tables?: OpenOptions['tables']
}

/** Builds the application. `listen()` or `inject()` makes it ready, which opens and migrates the database. */
export async function buildApp({ config, resources, routes = ROUTES, tables }: AppOptions): Promise<App> {
  const app = Fastify({
    logger: { level: config.LOG_LEVEL },
    bodyLimit: config.BODY_LIMIT,
    trustProxy: trustProxy(config.TRUST_PROXY),
    genReqId: () => randomUUID(),
    // A Host header that is missing, and a request while stopping, are answered by plugins/errors.ts and plugins/health.ts.
    http: { requireHostHeader: false },
    return503OnClosing: false,
    requestTimeout: REQUEST_TIMEOUT,
    // A migration of a large database takes the time that it takes.
    pluginTimeout: 0,
    routerOptions: { querystringParser: (raw) => ({ raw }) },
    frameworkErrors,
    clientErrorHandler,
  }).withTypeProvider<TypeBoxTypeProvider>()
  app.server.on('checkExpectation', (_request, response) => response.socket?.end(rawResponse(unmetExpectation)))
  app.server.on('connect', (_request, socket) => socket.end(rawResponse(noProxy)))
  app.addHttpMethod('DELETE', { hasBody: false, overrideExisting: true })
  app.decorate('config', config)
  app.decorate('resources', resources ?? (await declaredResources()))

  await app.register(problems)
  await app.register(schemas)
  await app.register(db, { tables })
  await app.register(openapi)
  await app.register(health)
  await app.register(autoload, { dir: routes, routeParams: true })
  return app
}

/** Every declaration in src/resources/, by the name of its file. */
export async function declaredResources(): Promise<Resource[]> {
  const files = (await readdir(RESOURCES)).filter((file) => file.endsWith('.ts')).sort()
  const modules = await Promise.all(files.map((file) => import(new URL(file, RESOURCES).href)))
  return modules.flatMap((module: Record<string, Resource>) => Object.values(module))
}

/** A number of proxies, or their addresses; without either, the address of a client is that of its socket. */
function trustProxy(text: string) {
  if (text === '') return false
  return /^\d+$/.test(text) ? (_address: string, hop: number) => hop < Number(text) : text
}
