// The response to a POST that starts a job.
import type { FastifyRequest } from 'fastify'
import type { Queries } from '../../drizzle/database.ts'
import type { PostResponse } from '../http/idempotency.ts'
import { readActor } from '../http/routes.ts'
import type { Handlers, JobKind, JobPayload } from './handler.ts'
import type { Jobs } from './jobs.ts'
import type { Job } from './queue.ts'

/** Enqueues a job in the transaction of a request. The response is 202 and shows the job as it is after the commit. */
export async function startJob<Services, H extends Handlers<Services>, K extends JobKind<H>>(
  jobs: Jobs<Services, H>,
  tx: Queries,
  request: FastifyRequest,
  kind: K,
  payload: JobPayload<H, K>,
): Promise<PostResponse> {
  const by = readActor(request)
  const id = await jobs.enqueue(tx, kind, payload, { by })
  if (id === undefined) throw new Error(`Job of kind ${kind} was not enqueued, though it has no key.`)
  const now = new Date().toISOString()
  const job: Job = {
    id,
    kind,
    status: 'waiting',
    payload,
    attempts: 0,
    error: null,
    result: null,
    run_at: now,
    key: by.key,
    request: by.request,
    created_at: now,
    started_at: null,
    finished_at: null,
  }
  return { status: 202, headers: { location: `${request.origin}/api/jobs/${id}/` }, body: { ...job } }
}
