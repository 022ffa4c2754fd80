// The streams of changes: how many there are, and that they end before the service does.
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
    // Before the server stops, which waits for its requests. Clients come again, to another process.
    app.addHook('preClose', () => streams.close())
  },
  { name: 'feed', dependencies: ['db'] },
)
