// Casts PostgreSQL's columns to the canonical types, those of SQLite's columns.
import type { Kit } from '../served.ts'
import * as columns from './kit.ts'

/** PostgreSQL's kit. This is the only cast of its columns; a function that it lacks does not compile. */
export const kit = columns satisfies Record<keyof Kit, unknown> as unknown as Kit
