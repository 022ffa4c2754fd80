// What several operations of an OpenAPI document say alike, said once: programs that show or use it work through all of it.

/** The parts of an OpenAPI document that are looked at here. */
export interface Document {
  paths: Record<string, Record<string, { responses: Record<string, Response> }>>
  components: Record<string, object>
}

interface Response {
  description: string
  headers?: Record<string, object>
}

/** Moves responses and headers that occur more than once to `components`, and leaves a `$ref` wherever they were. */
export function shareComponents(document: Document): void {
  const operations = Object.values(document.paths).flatMap((item) => Object.values(item))
  const answers = operations.flatMap(({ responses }) => Object.entries(responses))
  const responses = shared(answers.map(([status, response]) => [nameOf(status, response), response]))
  const headers = shared(answers.flatMap(([, response]) => Object.entries(response.headers ?? {})))

  for (const operation of operations) operation.responses = referring('responses', operation.responses, responses)
  for (const [, response] of answers) if (response.headers) response.headers = referring('headers', response.headers, headers)
  const components = ({ byName }: Shared) => Object.fromEntries(byName)
  Object.assign(document.components, { responses: components(responses), headers: components(headers) })
}

/** A problem is known by its codes, which its description begins with. */
const nameOf = (status: string, { description }: Response) =>
  [...description.matchAll(/`([\w-]+)`: /g)].map(([, code]) => code).join('.') || status

interface Shared {
  byName: Map<string, object>
  names: Map<string, string>
}

/** What occurs more than once. Of two that differ and have the same name, the second is `name.2`. */
function shared(occurring: [name: string, value: object][]): Shared {
  const byName = new Map<string, object>()
  const names = new Map<string, string>()
  for (const [text, [first, ...others]] of Map.groupBy(occurring, ([, value]) => JSON.stringify(value))) {
    if (!first || others.length === 0) continue
    const [wanted, value] = first
    let name = wanted
    for (let number = 2; byName.has(name); number++) name = `${wanted}.${number}`
    byName.set(name, value)
    names.set(text, name)
  }
  return { byName, names }
}

const referring = <T extends object>(section: string, values: Record<string, T>, { names }: Shared): Record<string, T> =>
  Object.fromEntries(
    Object.entries(values).map(([key, value]) => {
      const name = names.get(JSON.stringify(value))
      return [key, name === undefined ? value : ({ $ref: `#/components/${section}/${name}` } as unknown as T)]
    }),
  )
