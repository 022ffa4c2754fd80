// The registry of change streams. Closes them before the server stops.
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Streams } from '../src/feed/streams.ts'

declare module 'fastify' {
  interface FastifyInstance {
    streams: Streams
  }
}

export default fp(
  async function feed(app: FastifyInstance, { heartbeat }: { heartbeat?: number | undefined }) {
    const streams = new Streams(app.db, heartbeat)
    app.decorate('streams', streams)
    // The server waits for open requests, so streams must end first. Clients reconnect to another process.
    app.addHook('preClose', () => streams.close())
  },
  { name: 'feed', dependencies: ['db'] },
)
