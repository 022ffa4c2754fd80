// Starts the reference page in the browser. It runs before Scalar's script, and begins to load the document meanwhile.
const { dataset } = document.currentScript
const nonce = document.querySelector('meta[property="csp-nonce"]').content
const loaded = fetch(dataset.document).then((response) => {
  if (!response.ok) throw new Error(`${dataset.document} answered ${response.status}`)
  return response.json()
})

// The content security policy forbids style attributes and style elements without the nonce. The same styles set by script are allowed.
const { setAttribute } = Element.prototype
Element.prototype.setAttribute = function (name, value) {
  if (name === 'style') this.style.cssText = value
  else setAttribute.call(this, name, value)
}
const { createElement } = Document.prototype
Document.prototype.createElement = function (...args) {
  const element = createElement.apply(this, args)
  if (element instanceof HTMLStyleElement) element.nonce = nonce
  return element
}
const innerHTML = Object.getOwnPropertyDescriptor(Element.prototype, 'innerHTML')
const CODE_STYLE = /^(<code[^>]*) style="([^"]*)"/
Object.defineProperty(HTMLPreElement.prototype, 'innerHTML', {
  ...innerHTML,
  // A string, or a TrustedHTML.
  set(html) {
    innerHTML.set.call(this, String(html).replace(CODE_STYLE, '$1'))
    const style = CODE_STYLE.exec(String(html))?.[2]
    if (style) this.firstElementChild.style.cssText = style
  },
})

/**
 * Simplifies the document for the page. Removes the negation of each filter, which the description of a list explains. Turns arrays
 * into text, because Scalar removes the quotes of their items.
 */
function compact(openapi) {
  for (const item of Object.values(openapi.paths))
    for (const operation of Object.values(item)) {
      operation.parameters = operation.parameters?.filter(({ name }) => !name.endsWith('!'))
      for (const parameter of operation.parameters ?? []) {
        const { type, items } = parameter.schema
        if (type === 'array' && !items.enum) parameter.schema = { type: 'string' }
      }
    }
  return openapi
}

document.addEventListener('DOMContentLoaded', async () => {
  const place = document.getElementById('reference')
  try {
    const content = compact(await loaded)
    place.textContent = ''
    globalThis.Scalar.createApiReference(place, {
      content,
      authentication: { preferredSecurityScheme: 'key' },
      // Without a key, send no header: the service refuses an empty key.
      onRequestBuilt({ request: { headers } }) {
        if (/^Bearer\s*$/.test(headers.get('authorization') ?? '')) headers.delete('authorization')
      },
      hideModels: true,
      documentDownloadType: 'none',
      // Nothing leaves the service: no fonts, no telemetry, no proxy, no assistants.
      withDefaultFonts: false,
      telemetry: false,
      externalUrls: { dashboardUrl: '', registryUrl: '', proxyUrl: '', apiBaseUrl: '' },
      hideClientButton: true,
      showDeveloperTools: 'never',
      agent: { disabled: true },
      mcp: { disabled: true },
    })
  } catch (error) {
    place.textContent = `The page could not be shown: ${error.message}`
  }
})
