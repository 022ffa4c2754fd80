// The files of the reference page. All are in memory: an answer that a client does not read holds no open file.
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import type { Coding } from '../cache/store.ts'
import { digest } from '../http/etags.ts'
import type { Script } from './script.ts'

interface DocsFile {
  /** Name with a digest of the content, such as `page.Xa3….js`: clients can cache the file for ever. */
  name: string
  type: string
  body: Buffer
  /** The compressed body, if compression saves bytes. */
  encoded: Partial<Record<Coding, Buffer>>
}

interface DocsFiles {
  page: DocsFile
  style: DocsFile
  icon: DocsFile
  scalar: DocsFile
}

const JAVASCRIPT = 'text/javascript; charset=utf-8'

function buildFile(name: string, type: string, body: Buffer, encoded: DocsFile['encoded'] = {}): DocsFile {
  return { name: name.replace('.', `.${digest(body)}.`), type, body, encoded }
}

const read = (name: string) => readFileSync(new URL(name, import.meta.url))

let files: Promise<DocsFiles> | undefined

/** Loads the files at the first call, once for the process. After a failure, the next call tries again. */
export function docsFiles(): Promise<DocsFiles> {
  files ??= loadFiles().catch((error) => {
    files = undefined
    throw error
  })
  return files
}

async function loadFiles(): Promise<DocsFiles> {
  const worker = new Worker(new URL('script.ts', import.meta.url))
  const [script] = (await once(worker, 'message')) as [Script]
  const buffer = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  const encoded = { br: buffer(script.br), gzip: buffer(script.gzip) }
  return {
    page: buildFile('page.js', JAVASCRIPT, read('page.js')),
    style: buildFile('page.css', 'text/css; charset=utf-8', read('page.css')),
    icon: buildFile('icon.svg', 'image/svg+xml', read('icon.svg')),
    scalar: buildFile('scalar.js', JAVASCRIPT, buffer(script.identity), encoded),
  }
}

/** Builds the HTML of the page. `base` is the relative URL of `/docs/`. The page sets `nonce` on the styles that it creates. */
export const docsPage = (base: string, { page, style, icon, scalar }: DocsFiles, nonce: string): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Stockroom API</title>
<meta property="csp-nonce" content="${nonce}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="${base}static/${icon.name}">
<link rel="stylesheet" href="${base}static/${style.name}">
<script src="${base}static/${page.name}" data-document="${base}../openapi.json"></script>
<script src="${base}static/${scalar.name}" defer></script>
</head>
<body>
<div id="reference"><p>Loading …</p></div>
<noscript><p>This page needs JavaScript. The document that it shows is <a href="${base}../openapi.json">openapi.json</a>.</p></noscript>
</body>
</html>
`
