// Loads the declarations of all resources.
import { readdir } from 'node:fs/promises'
import { isResource, type Resource } from './resource.ts'

const RESOURCES = new URL('../resources/', import.meta.url)

/** Imports every file of the folder, sorted by name, and returns the resources that they export. Throws a TypeError if two have one table. */
export async function loadResources(folder = RESOURCES): Promise<Resource[]> {
  const files = (await readdir(folder)).filter((file) => file.endsWith('.ts')).sort()
  const modules: object[] = await Promise.all(files.map((file) => import(new URL(file, folder).href)))
  const resources = [...new Set(modules.flatMap((module) => Object.values(module)).filter(isResource))]
  const repeated = resources.find(({ table }, index) => resources.findIndex((other) => other.table === table) < index)
  if (repeated) throw new TypeError(`src/resources/ declares two resources of the table ${repeated.table}: remove one`)
  return resources
}
