// Prepares the OpenAPI document for tools: shares repeated responses and headers, and sorts parameters.
import { STATUS_CODES } from 'node:http'
import { LIST_PARAMETERS } from '../query/params.ts'

/** The parts of an OpenAPI document that this file uses. */
export interface OpenApiDocument {
  paths: Record<string, Record<string, { parameters?: { name: string; in: string }[]; responses: Record<string, OpenApiResponse> }>>
  components: Record<string, object>
}

interface OpenApiResponse {
  description: string
  headers?: Record<string, OpenApiHeader>
  content?: Record<string, { schema?: { $ref?: string } }>
}

interface OpenApiHeader {
  schema?: { const?: unknown }
}

/**
 * Moves responses and headers that occur more than once to `components`, and replaces them by a `$ref`. Names are identifiers in
 * PascalCase, because client generators use them as type names.
 */
export function shareComponents(document: OpenApiDocument): void {
  const operations = Object.values(document.paths).flatMap((item) => Object.values(item))
  const answers = operations.flatMap(({ responses }) => Object.entries(responses))
  const responses = findShared<OpenApiResponse>(
    answers.map(([status, value]) => {
      const name = nameResponse(status, value)
      return { name, value, distinguish: (other) => `${name}With${pascalCase(listFurtherHeaders(value, other).join(' '))}` }
    }),
  )
  const headers = findShared<OpenApiHeader>(
    answers.flatMap(([status, response]) =>
      Object.entries(response.headers ?? {}).map(([key, value]) => {
        const name = nameHeader(key, value)
        return { name, value, distinguish: () => nameResponse(status, response) + name }
      }),
    ),
  )

  for (const operation of operations) operation.responses = replaceByReference('responses', operation.responses, responses)
  for (const [, response] of answers) if (response.headers) response.headers = replaceByReference('headers', response.headers, headers)
  const components = ({ byName }: SharedComponents) => Object.fromEntries(byName)
  Object.assign(document.components, { responses: components(responses), headers: components(headers) })
}

/** `not-unique` → `NotUnique` */
const pascalCase = (text: string) =>
  text
    .split(/[^A-Za-z0-9]+/)
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join('')

/** Names a problem by the codes in its description: `NotUniqueOrCycle`. Names other responses by schema and status: `JobAccepted`. */
function nameResponse(status: string, { description, content = {} }: OpenApiResponse): string {
  const codes = [...description.matchAll(/`([\w-]+)`: /g)].map(([, code = '']) => pascalCase(code))
  if (codes.length > 0) return codes.join('Or')
  const shown = Object.values(content)[0]?.schema?.$ref?.split('/').at(-1) ?? ''
  return shown + pascalCase(STATUS_CODES[status]?.toLowerCase() ?? `status ${status}`)
}

/** Names a header. The name of a header with one constant word includes that word: `CacheControlNoStore`. */
function nameHeader(name: string, { schema }: OpenApiHeader): string {
  const value = String(schema?.const ?? '')
  return pascalCase(/^[\w-]+$/.test(value) ? `${name} ${value}` : name)
}

/** Lists the headers that `response` has and `other` does not. */
const listFurtherHeaders = ({ headers = {} }: OpenApiResponse, other: OpenApiResponse): string[] =>
  Object.keys(headers).filter((name) => !(name in (other.headers ?? {})))

interface Occurrence<T> {
  name: string
  value: T
  /** Builds the name to use where `other` has `name` already. */
  distinguish(other: T): string
}

interface SharedComponents {
  byName: Map<string, object>
  names: Map<string, string>
}

/** Finds values that occur more than once, and names them. A third value with the same name gets a number. */
function findShared<T extends object>(occurrences: Occurrence<T>[]): SharedComponents {
  const byName = new Map<string, T>()
  const names = new Map<string, string>()
  for (const [text, [first, ...others]] of Map.groupBy(occurrences, ({ value }) => JSON.stringify(value))) {
    if (!first || others.length === 0) continue
    const other = byName.get(first.name)
    const wanted = other ? first.distinguish(other) : first.name
    let name = wanted
    for (let number = 2; byName.has(name); number++) name = `${wanted}${number}`
    byName.set(name, first.value)
    names.set(text, name)
  }
  return { byName, names }
}

/** The parameters that come first. Plain filters come next, then lookups, then negations, then headers. */
const COMMON_PARAMETERS = Object.keys(LIST_PARAMETERS)

/** Sorts the parameters of each operation by how often clients use them. */
export function orderParameters({ paths }: OpenApiDocument): void {
  for (const { parameters } of Object.values(paths).flatMap((item) => Object.values(item)))
    parameters?.sort((a, b) => rankParameter(a) - rankParameter(b))
}

function rankParameter({ name, in: place }: { name: string; in: string }): number {
  if (place === 'path') return -1
  if (place === 'header') return COMMON_PARAMETERS.length + 3
  if (name.endsWith('!')) return COMMON_PARAMETERS.length + 2
  if (name.includes('__')) return COMMON_PARAMETERS.length + 1
  const common = COMMON_PARAMETERS.indexOf(name)
  return common === -1 ? COMMON_PARAMETERS.length : common
}

const replaceByReference = <T extends object>(section: string, values: Record<string, T>, { names }: SharedComponents): Record<string, T> =>
  Object.fromEntries(
    Object.entries(values).map(([key, value]) => {
      const name = names.get(JSON.stringify(value))
      return [key, name === undefined ? value : ({ $ref: `#/components/${section}/${name}` } as unknown as T)]
    }),
  )
