// Entity tags (RFC 9110, section 8.8.3) identify one state of a record or a list.
import { hash } from 'node:crypto'
import { memoize } from '../../drizzle/memoize.ts'
import type { Resource } from '../query/resource.ts'
import type { Row } from '../query/rows.ts'
import type { Validators } from './preconditions.ts'

/** Characters of base64url in a digest: 96 bits. */
const LENGTH = 16

export const digest = (content: string | Buffer): string => hash('sha256', content, 'base64url').slice(0, LENGTH)

/**
 * Computes the entity tag of a record from its version and its JSON. It needs only the row, and stays correct after a restored backup and
 * after writes by other programs.
 */
export const computeRecordTag = (row: Row, json = JSON.stringify(row)): string => `${row.version}-${digest(json)}`

export const computeValidators = (row: Row): Validators => ({ tag: computeRecordTag(row), modified: new Date(String(row.updated_at)) })

/** Formats a time as in `Last-Modified`. */
export const formatHttpDate = (time: unknown): string => new Date(String(time)).toUTCString()

/** Computes a digest of a resource's schema. As a part of cache keys it separates versions of the service with different fields. */
export const computeSchemaDigest = memoize((resource: Resource) => digest(JSON.stringify(resource.schemas.record)))
