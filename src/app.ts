// Builds the application: plugins in the order in which a request passes them, then routes.
import { fileURLToPath } from 'node:url'
import autoload from '@fastify/autoload'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify from 'fastify'
import type { OpenOptions } from '../drizzle/open-options.ts'
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
import type { JobHandler } from './job-kinds.ts'
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
  /** Replace the resources of src/resources/, the folder routes/, and the tables of drizzle/tables.ts. */
  resources?: readonly Resource[]
  routes?: string
  tables?: OpenOptions['tables']
  /** Kinds of jobs in addition to those of src/job-kinds.ts. */
  handlers?: Readonly<Record<string, JobHandler>>
  /** Replacements for the times and the name resolution of webhook deliveries. */
  webhooks?: WebhookOptions
  /** Replaces the clock of the rate limits, in milliseconds. */
  clock?: () => number
  /** Replace TIMEOUTS. */
  timeouts?: Partial<typeof TIMEOUTS>
  /** Milliseconds between two heartbeats of a stream. The default is HEARTBEAT of src/feed/streams.ts. */
  heartbeat?: number
  /** False in tests that call `inject` repeatedly: they block the event loop, which would count as overload. */
  shedding?: PressureOptions['shedding']
  /** Destination of the log. The default is the standard output. */
  log?: LogStream
}

/** Builds the application. `listen()`, `inject()` or `ready()` opens and migrates the database. */
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
    // plugins/routing.ts handles a missing Host header, and plugins/health.ts requests during a stop.
    http: { requireHostHeader: false, maxHeaderSize: MAX_HEADER_SIZE, headersTimeout: headers, connectionsCheckingInterval: check },
    return503OnClosing: false,
    requestTimeout: request,
    connectionTimeout: idle,
    keepAliveTimeout: keepAlive,
    // No limit: migrating a large database may take long.
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
    onRefuse: (client) => app.log.warn({ client }, 'connections refused: the address has reached MAX_CONNECTIONS_PER_ADDRESS'),
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
  // Its `preClose` hook must run last: the listener has to close in the same turn.
  await app.register(health)
  await app.register(autoload, { dir: routes, routeParams: true })
  return app
}
