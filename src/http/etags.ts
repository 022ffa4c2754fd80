// Entity tags (RFC 9110, section 8.8.3): what tells one state of a record, or of a list, from all others.
import { hash } from 'node:crypto'
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

const forms = new WeakMap<Resource, string>()

/** How a resource is shown. What is kept elsewhere, by another version of the service, is told apart by it. */
export function computeSchemaDigest(resource: Resource): string {
  const form = forms.get(resource) ?? digest(JSON.stringify(resource.schemas.record))
  forms.set(resource, form)
  return form
}
