// Classifies errors of PostgreSQL by SQLSTATE, by Node's code if there is no connection, or by the driver's message if it has no code.
import { DatabaseUnusable, type Failure, findFailure, listCauses } from '../database.ts'

/** Messages of errors that this folder throws. */
export const ALL_IN_USE = 'all connections are in use'
export const SILENT = 'the server does not respond on this connection'

const failures: Record<string, Failure> = {
  '23505': 'unique',
  '23503': 'reference',
  '23001': 'reference',
  '40001': 'busy',
  '40P01': 'busy',
  '55P03': 'locked',
  '57014': 'expensive',
  '25006': 'readOnly',
  '53100': 'full',
  '53300': 'exhausted',
  [ALL_IN_USE]: 'exhausted',
  '08000': 'unavailable',
  '08001': 'unavailable',
  '08003': 'unavailable',
  '08004': 'unavailable',
  '08006': 'unavailable',
  '08P01': 'unavailable',
  '28000': 'unavailable',
  '28P01': 'unavailable',
  '3D000': 'unavailable',
  '53200': 'unavailable',
  '57P01': 'unavailable',
  '57P02': 'unavailable',
  '57P03': 'unavailable',
  '57P04': 'unavailable',
  '58030': 'unavailable',
  EAI_AGAIN: 'unavailable',
  ECONNREFUSED: 'unavailable',
  ECONNRESET: 'unavailable',
  EHOSTUNREACH: 'unavailable',
  ENETUNREACH: 'unavailable',
  ENOTFOUND: 'unavailable',
  ETIMEDOUT: 'unavailable',
  EPIPE: 'unavailable',
  [SILENT]: 'unavailable',
  'Connection terminated': 'unavailable',
  'Connection terminated unexpectedly': 'unavailable',
  'Client has encountered a connection error and is not queryable': 'unavailable',
  'Client was closed and is not queryable': 'unavailable',
  'Connection terminated due to connection timeout': 'unavailable',
  'timeout expired': 'unavailable',
  'timeout exceeded when trying to connect': 'unavailable',
}

export const classifyFailure = (error: unknown): Failure | undefined => findFailure(error, failures)

/** Returns whether the server ended a statement because it took too long, or waited too long for a lock. */
export const isOutOfTime = (error: unknown): boolean => ['expensive', 'locked'].includes(classifyFailure(error) ?? '')

/** Codes and messages of a connection that the server ended. On an idle connection, only its next use shows them. */
const CONNECTION_ENDED = ['57P01', 'ECONNRESET', 'EPIPE', 'Connection terminated', 'Connection terminated unexpectedly']

/** Returns whether the server had ended the connection, so that nothing was done and another connection can be tried. */
export const hasConnectionEnded = (error: unknown): boolean =>
  listCauses(error).some(({ code, message }) => CONNECTION_ENDED.includes(String(code ?? message)))

/** Reasons why the service cannot start, and what to do. */
const reasons: Partial<Record<Failure, string>> = {
  unavailable: 'does not respond. Check DATABASE_URL, and that the server runs',
  exhausted: 'has no connection left. Raise max_connections, or end other programs',
  readOnly: 'is read-only, as a replica is, so its schema cannot be brought up to date. Set DATABASE_URL to the primary',
  full: 'has no space left on its disk, so its schema cannot be brought up to date',
  locked: 'is locked by another program, so its schema cannot be brought up to date. Try again',
}

const NO_LOGIN = 'refuses the user or the password. Check DATABASE_URL'

/** Explains failures whose SQLSTATE says more than the class of the failure. */
const refusals: Record<string, string> = {
  '42501': 'refuses this user. Let the user own the database',
  '28000': NO_LOGIN,
  '28P01': NO_LOGIN,
  '3D000': 'has no such database. Create it, or check DATABASE_URL',
}

/** Explains an error of the server to the operator. Returns other errors unchanged. */
export function explain(error: unknown, url: string): unknown {
  if (error instanceof DatabaseUnusable) return error
  const { host, pathname } = new URL(url)
  const cause = [...listCauses(error)].at(-1)
  const reason = refusals[String(cause?.code)] ?? reasons[classifyFailure(error) as Failure]
  if (!cause || !reason) return error
  return new DatabaseUnusable(`PostgreSQL at ${host}${pathname} ${reason} (${cause.message || cause.code}).`, { cause: error })
}
