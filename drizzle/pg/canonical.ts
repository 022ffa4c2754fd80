// PostgreSQL's columns with the types of SQLite's, which are the canonical ones.
import type { Kit } from '../served.ts'
import * as columns from './kit.ts'

/** The one place where PostgreSQL's columns become SQLite's in the types. A name that this kit lacks does not compile. */
export const kit = columns satisfies Record<keyof Kit, unknown> as unknown as Kit
