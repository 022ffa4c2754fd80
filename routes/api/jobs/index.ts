import type { App } from '../../../src/http/routes.ts'
import { handlers } from '../../../src/job-kinds.ts'
import { jobCursor, jobListSchema } from '../../../src/jobs/schemas.ts'
import { PAGE_TYPE, serialisePage } from '../../../src/query/page.ts'
import { DEFAULT_PAGE_SIZE } from '../../../src/query/params.ts'
import { codec } from '../../../src/query/querystring.ts'

export default async function (app: App) {
  app.get('/', { schema: jobListSchema(Object.keys(handlers)), config: { access: 'admin' } }, async ({ query, origin }, reply) => {
    const { status, kind, page_size = DEFAULT_PAGE_SIZE, cursor } = query
    const by = { ...(status && { status }), ...(kind && { kind }), ...(cursor && { before: cursor }) }
    // An additional job tells whether there is a next page.
    const jobs = await app.jobs.queue.list({ ...by, limit: page_size + 1 })
    const results = jobs.slice(0, page_size)
    const last = results.at(-1)
    const more = jobs.length > page_size && last
    const rest = { ...(status && { status }), ...(kind && { kind }), page_size: String(page_size) }
    const next = more ? `${origin}/api/jobs/?${new URLSearchParams({ ...rest, cursor: jobCursor[codec].write(last) })}` : null
    return reply.type(PAGE_TYPE).send(serialisePage({ next }, JSON.stringify(results)))
  })
}
