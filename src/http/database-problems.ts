// What a failure of the database is to a client: the code of a problem, and what to say.
import type { Failure } from '../../drizzle/database.ts'
import type { ErrorCode } from '../errors.ts'

/** The first two are found before the database has to refuse them, unless a declaration does not name a constraint of its table. */
export const databaseProblems: Record<Failure, [ErrorCode, string]> = {
  unique: ['not-unique', 'Another record has a value of this one.'],
  reference: ['in-use', 'Another record refers to this one, or this one to none.'],
  busy: ['database-busy', 'Others are writing to the database at the same time. Try again.'],
  locked: ['database-busy', 'Another program has locked what this request needs. Try again.'],
  exhausted: ['database-busy', 'All connections to the database are in use. Try again.'],
  expensive: [
    'query-too-expensive',
    'The request takes longer than it may, or too many that take long are under way. Ask for fewer records, or try again.',
  ],
  readOnly: ['database-unavailable', 'The database is read-only at present. Try again.'],
  full: ['database-unavailable', 'The disk of the database is full.'],
  unavailable: ['database-unavailable', 'The database does not answer. Try again.'],
}
