// Entity tags (RFC 9110, section 8.8.3): what tells one state of a record, or of a list, from all others.
import { hash } from 'node:crypto'
import { memoize } from '../../drizzle/memoize.ts'
import type { Resource } from '../query/resource.ts'
import type { Row } from '../query/rows.ts'
import type { Validators } from './preconditions.ts'

/** Characters of base64url: 96 bits. */
const LENGTH = 16

export const digest = (content: string | Buffer): string => hash('sha256', content, 'base64url').slice(0, LENGTH)

/**
 * Of a record: its version and its bytes. They are the same again only where everything that it shows is, whatever backup was restored
 * and whoever wrote, so it needs nothing of the database but the row.
 */
export const computeRecordTag = (row: Row, json = JSON.stringify(row)): string => `${row.version}-${digest(json)}`

export const computeValidators = (row: Row): Validators => ({ tag: computeRecordTag(row), modified: new Date(String(row.updated_at)) })

/** As `Last-Modified` has it. */
export const formatHttpDate = (time: unknown): string => new Date(String(time)).toUTCString()

/** Digest of the schema of a resource's records. Part of cache keys, so that versions of the service with other fields share no entries. */
export const computeSchemaDigest = memoize((resource: Resource) => digest(JSON.stringify(resource.schemas.record)))
