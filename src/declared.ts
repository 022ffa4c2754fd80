// The resources that are declared, for whoever needs all of them.
import { readdir } from 'node:fs/promises'
import type { Resource } from './query/resource.ts'

const RESOURCES = new URL('./resources/', import.meta.url)

/** Every declaration in src/resources/, by the name of its file. */
export async function declaredResources(): Promise<Resource[]> {
  const files = (await readdir(RESOURCES)).filter((file) => file.endsWith('.ts')).sort()
  const modules = await Promise.all(files.map((file) => import(new URL(file, RESOURCES).href)))
  return modules.flatMap((module: Record<string, Resource>) => Object.values(module))
}
