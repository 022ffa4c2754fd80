// The reference page at /docs/: its parts, their headers and their compression.
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import t from 'tap'
import { DIALECTS, type Dialect } from '../dialects.ts'
import { build, get } from '../helper.ts'

const [embedded] = DIALECTS as [Dialect]

const TYPES: Record<string, string> = { css: 'text/css; charset=utf-8', js: 'text/javascript; charset=utf-8', svg: 'image/svg+xml' }

t.test('the page and its parts are served, and its policy allows no other source', async (t) => {
  const app = await build(t, embedded)
  for (const page of ['/docs', '/docs/']) {
    const { statusCode, headers, body } = await app.inject(page)
    t.strictSame([statusCode, headers['content-type'], headers['cache-control']], [200, 'text/html; charset=utf-8', 'no-store'], page)
    t.match(body, '<meta name="viewport" content="width=device-width, initial-scale=1">', 'phones show the page in their width')
    const [, nonce = ''] = /<meta property="csp-nonce" content="([\w-]{22})">/.exec(body) ?? []
    t.match(headers['content-security-policy'], `default-src 'none';script-src 'self';style-src 'self' 'nonce-${nonce}';`)
    t.notMatch(headers['content-security-policy'], /unsafe|upgrade-insecure-requests|https:/)
    t.notMatch((await app.inject(page)).body, nonce, 'each answer has a new nonce')
    t.notOk(headers['strict-transport-security'], 'plain HTTP works too')
    t.notMatch(body, /<script(?![^>]* src=)/, 'no script is inline')

    const parsePath = (url: string) => new URL(url, `http://a${page}`).pathname
    const parts = [...body.matchAll(/(?:src|href)="([^"]*static[^"]+)"/g)].map(([, url = '']) => parsePath(url))
    t.equal(parts.length, 4, `${page} has parts`)
    for (const part of parts) {
      const { statusCode, headers, rawPayload } = await app.inject(part)
      t.equal(statusCode, 200, part)
      t.equal(headers['content-type'], TYPES[part.split('.').at(-1) ?? ''], part)
      t.equal(headers['cache-control'], 'public, max-age=31536000, immutable', 'the name has a digest of the content')
      t.ok(rawPayload.length > 0, part)
    }
    const [, shown = ''] = /data-document="([^"]+)"/.exec(body) ?? []
    t.equal((await get(app, parsePath(shown))).body.openapi, '3.1.0', 'the page shows the document')
  }
  t.equal((await app.inject('/docs/static/nothing.js')).statusCode, 404)
})

t.test('the script is compressed as the client accepts', async (t) => {
  const app = await build(t, embedded)
  const [name] = /scalar\.[\w-]+\.js/.exec((await app.inject('/docs/')).body) ?? []
  const ask = (coding: string) => app.inject({ url: `/docs/static/${name}`, headers: { 'accept-encoding': coding } })
  const { rawPayload: plain, headers } = await ask('identity')
  t.equal(headers['content-encoding'], undefined)
  for (const [coding, decode] of [
    ['br', brotliDecompressSync],
    ['gzip', gunzipSync],
  ] as const) {
    const { rawPayload, headers } = await ask(coding)
    t.equal(headers['content-encoding'], coding)
    t.match(headers.vary, 'Accept-Encoding')
    t.ok(rawPayload.length < plain.length / 3, `${coding}: ${rawPayload.length} bytes of ${plain.length}`)
    t.ok(decode(rawPayload).equals(plain), coding)
  }
})
