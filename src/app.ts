// The table of contents: the plugins by name, in the order in which a request meets them, then the routes.
import { fileURLToPath } from 'node:url'
import autoload from '@fastify/autoload'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify from 'fastify'
import type { OpenOptions } from '../drizzle/engine.ts'
import auth from '../plugins/auth.ts'
import bodies from '../plugins/bodies.ts'
import caching from '../plugins/caching.ts'
import cors from '../plugins/cors.ts'
import db from '../plugins/db.ts'
import docs from '../plugins/docs.ts'
import problems, { clientErrorHandler, connectRefused, frameworkErrors, sendRaw, unmetExpectation } from '../plugins/errors.ts'
import feed from '../plugins/feed.ts'
import health from '../plugins/health.ts'
import jobs, { type WebhookOptions } from '../plugins/jobs.ts'
import openapi from '../plugins/openapi.ts'
import pressure, { type PressureOptions } from '../plugins/pressure.ts'
import rateLimit from '../plugins/rate-limit.ts'
import redis from '../plugins/redis.ts'
import routing from '../plugins/routing.ts'
import schemas from '../plugins/schemas.ts'
import type { Config } from './config.ts'
import { limitConnections } from './http/connections.ts'
import { MAX_HEADER_SIZE, readRequestId, TIMEOUTS } from './http/limits.ts'
import type { App } from './http/routes.ts'
import type { JobHandler } from './job-handlers.ts'
import { createNetworkTest } from './limits/address.ts'
import { createLoggerOptions, type LogStream } from './logger.ts'
import { loadResources } from './query/registry.ts'
import type { Resource } from './query/resource.ts'

declare module 'fastify' {
  interface FastifyInstance {
    config: Readonly<Config>
    resources: readonly Resource[]
  }
}

const ROUTES = fileURLToPath(new URL('../routes', import.meta.url))

export interface AppOptions {
  config: Readonly<Config>
  /** Other resources than those of src/resources/, other routes than those of routes/, other tables than those of drizzle/tables.ts. */
  resources?: readonly Resource[]
  routes?: string
  tables?: OpenOptions['tables']
  /** Kinds of jobs besides those of src/job-handlers.ts. */
  handlers?: Readonly<Record<string, JobHandler>>
  /** Other times and names for what is sent to webhooks. */
  webhooks?: WebhookOptions
  /** Another clock for the rate limits, in milliseconds: a test need not wait. */
  clock?: () => number
  /** Shorter ones than a client has in earnest. */
  timeouts?: Partial<typeof TIMEOUTS>
  /** Milliseconds between two signs of life of a stream, other than those of src/feed/streams.ts. */
  heartbeat?: number
  /** False where the event loop has no turn for long, as in a test that calls `inject` again and again: it would be taken for overloaded. */
  shedding?: PressureOptions['shedding']
  /** Other than the standard output. */
  log?: LogStream
}

/** Builds the application. `listen()` or `inject()` makes it ready, which opens and migrates the database. */
export async function buildApp({
  config,
  resources,
  routes = ROUTES,
  tables,
  handlers,
  webhooks,
  clock,
  timeouts,
  heartbeat,
  shedding,
  log,
}: AppOptions): Promise<App> {
  const { headers, request, idle, stalled, keepAlive, check } = { ...TIMEOUTS, ...timeouts }
  const isProxy = createNetworkTest(config.TRUST_PROXY)
  const app = Fastify({
    logger: createLoggerOptions(config, log),
    bodyLimit: config.BODY_LIMIT,
    trustProxy: config.TRUST_PROXY !== '' && isProxy,
    genReqId: readRequestId,
    // A Host header that is missing, and a request while stopping, are answered by plugins/routing.ts and plugins/health.ts.
    http: { requireHostHeader: false, maxHeaderSize: MAX_HEADER_SIZE, headersTimeout: headers, connectionsCheckingInterval: check },
    return503OnClosing: false,
    requestTimeout: request,
    connectionTimeout: idle,
    keepAliveTimeout: keepAlive,
    // A migration of a large database takes the time that it takes.
    pluginTimeout: 0,
    routerOptions: { querystringParser: (raw) => ({ raw }) },
    frameworkErrors,
    clientErrorHandler,
  }).withTypeProvider<TypeBoxTypeProvider>()
  limitConnections(app.server, {
    perAddress: config.MAX_CONNECTIONS_PER_ADDRESS,
    isProxy,
    stalled,
    check,
    onRefuse: (client) => app.log.warn({ client }, 'connections refused: the address has MAX_CONNECTIONS_PER_ADDRESS already'),
  })
  app.server.on('checkExpectation', (_request, { socket }) => socket && sendRaw(app, socket, unmetExpectation))
  app.server.on('connect', (_request, socket) => sendRaw(app, socket, connectRefused))
  app.addHttpMethod('DELETE', { hasBody: false, overrideExisting: true })
  app.decorate('config', config)
  app.decorate('resources', resources ?? (await loadResources()))

  await app.register(problems)
  await app.register(cors)
  await app.register(schemas)
  await app.register(db, { tables })
  await app.register(jobs, { handlers, webhooks })
  await app.register(pressure, { shedding })
  await app.register(redis)
  await app.register(caching)
  await app.register(rateLimit, { clock })
  await app.register(auth)
  await app.register(routing)
  await app.register(bodies, { timeouts })
  await app.register(openapi)
  await app.register(docs)
  await app.register(feed, { heartbeat })
  // The last to hear of `close`: the listener closes in the turn in which it says so.
  await app.register(health)
  await app.register(autoload, { dir: routes, routeParams: true })
  return app
}
