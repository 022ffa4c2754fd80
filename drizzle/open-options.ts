// Options that an engine is opened with.
import type { ServedResource } from './database.ts'
import type { Kit } from './served.ts'
import type { Tables } from './tables.ts'

export interface OpenOptions {
  served: readonly ServedResource[]
  /** Defines the tables, in place of this project's own. */
  tables?: ((kit: Kit) => Tables) | undefined
  /** Milliseconds after which a list is given up. */
  queryTimeout?: number
  /** Called once when committed data may be lost: the disk has failed. End the process without closing the database. */
  onFatal?: (error: Error) => void
}

/** The options with their defaults filled in. */
export type EngineOptions = { [O in keyof OpenOptions]-?: Exclude<OpenOptions[O], undefined> }
