// Runs visits.ts on SQLite. Each database has a separate file, to use both cores.
import t from 'tap'
import { DIALECTS } from '../dialects.ts'
import { checkVisits } from './visits.ts'

for (const dialect of DIALECTS.filter(({ name }) => name === 'sqlite'))
  t.test('a list visits few rows', { skip: dialect.skip }, (t) => checkVisits(t, dialect))
