// The resources that are declared, for whoever needs all of them.
import { readdir } from 'node:fs/promises'
import { isResource, type Resource } from './resource.ts'

const RESOURCES = new URL('../resources/', import.meta.url)

/** Returns every declaration that a file of the folder exports, by the name of the file. Throws a TypeError for two of one table. */
export async function loadResources(folder = RESOURCES): Promise<Resource[]> {
  const files = (await readdir(folder)).filter((file) => file.endsWith('.ts')).sort()
  const modules: object[] = await Promise.all(files.map((file) => import(new URL(file, folder).href)))
  const resources = [...new Set(modules.flatMap((module) => Object.values(module)).filter(isResource))]
  const repeated = resources.find(({ table }, index) => resources.findIndex((other) => other.table === table) < index)
  if (repeated) throw new TypeError(`two resources of src/resources/ are of the table ${repeated.table}: leave one of them out`)
  return resources
}
