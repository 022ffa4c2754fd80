// Maps failures of the database to problems: an error code and the detail for the client.
import type { Failure } from '../../drizzle/database.ts'
import type { ErrorCode } from '../errors.ts'

/** `unique` and `reference` are fallbacks: constraints that a resource declares are checked before the write. */
export const databaseProblems: Record<Failure, [ErrorCode, string]> = {
  unique: ['not-unique', 'A value of this record is taken by another record.'],
  reference: ['in-use', 'Another record refers to this one, or this one refers to a missing record.'],
  busy: ['database-busy', 'The database is busy with other writes. Retry later.'],
  locked: ['database-busy', 'Another program has locked the data that this request needs. Retry later.'],
  exhausted: ['database-busy', 'All database connections are in use. Retry later.'],
  expensive: [
    'query-too-expensive',
    'The request exceeds its time limit, or too many slow requests are running. Narrow the filters, or retry later.',
  ],
  readOnly: ['database-unavailable', 'The database is read-only. Retry later.'],
  full: ['database-unavailable', 'The disk of the database is full.'],
  unavailable: ['database-unavailable', 'The database does not respond. Retry later.'],
}
